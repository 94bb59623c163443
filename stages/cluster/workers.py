"""What runs on a node: one process, with the model loaded, that makes the lines of its leases.

It knows nothing of Ray, which only carries its deliveries.
"""

import os
import pickle
import queue
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from platform import node
from typing import Any, Protocol

from stages.errors import BadConfig
from stages.files import write_file
from stages.interfaces import NullProgress, Progress

_MOST_WAITING = 1024  # deliveries that nobody has fetched yet; more would only fill memory
_PASSED_ON = ("begin_work", "end_work", "add_trained", "add_written", "note")  # of Progress: what adds up over workers


class LineMaker(Protocol):
    """The Worker of stages.work, as far as it is needed here."""

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Any]: ...
    def report(self) -> Iterable[str]: ...


@dataclass(frozen=True)
class Place:
    """Where a driver works, and what its workers must see: the same folder, by the same name.

    `proof`: a name of no other run's file; in each of `folders` the driver has written its own text under it.
    `environment`: variables that servers' keys are in.
    """

    folder: Path
    folders: tuple[Path, ...]
    proof: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def enter(self, worker: str) -> str:
        """Work in this folder from now on, and return the machine's name. Raises BadConfig where it is not shared."""
        host = node()
        os.environ.update(self.environment)
        for folder in (self.folder, *self.folders):
            try:
                os.chdir(folder)
            except OSError as error:
                raise BadConfig(_explain(host, folder, error.strerror)) from None
        os.chdir(self.folder)
        for folder in self.folders:
            try:
                found = (folder / self.proof).read_text()
                write_file(folder / f"{self.proof}-{worker}", self.proof.encode())
            except FileNotFoundError:
                raise BadConfig(_explain(host, folder, "it holds other files there")) from None
            except OSError as error:
                raise BadConfig(_explain(host, folder, error.strerror)) from None
            if found != self.proof:
                raise BadConfig(_explain(host, folder, "it holds other files there"))
        return host

    def prepare(self) -> None:
        """Write the driver's proofs."""
        for folder in self.folders:
            write_file(folder / self.proof, self.proof.encode())

    def check(self, worker: str, host: str) -> None:
        """Raise BadConfig if what the worker has written is not here."""
        for folder in self.folders:
            with suppress(FileNotFoundError):
                if (folder / f"{self.proof}-{worker}").read_text() == self.proof:
                    continue
            raise BadConfig(_explain(host, folder, "what it writes there is not seen here"))

    def clear(self) -> None:
        """Remove all proofs."""
        for folder in self.folders:
            for file in folder.glob(f"{self.proof}*"):
                file.unlink(missing_ok=True)


def _explain(host: str, folder: Path, why: str | None) -> str:
    return (
        f"{folder}: the worker on {host} does not share it ({why}); run from, and write to, a folder that all nodes "
        "have under one name, such as a network file system"
    )


@dataclass
class Delivery:
    """What has happened since the last one."""

    lines: list[Any] = field(default_factory=list)
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)  # of the driver's Progress
    error: Exception | None = None


class LeaseServer:
    """Makes the lines of one lease after the other. The model is loaded at the first one."""

    def __init__(self, open_worker: Callable[[], LineMaker], place: Place, name: str) -> None:
        self.open_worker, self.place, self.name = open_worker, place, name
        self.worker: LineMaker | None = None
        self.host = ""

    def greet(self) -> str:
        """Enter the run's place and return the machine's name."""
        self.host = self.host or self.place.enter(self.name)
        return self.host

    def serve(self, keys: Collection[str]) -> Iterator[Delivery]:
        """Yield deliveries until the lines of these keys are made. The first comes when the model is there."""
        waiting: queue.Queue[tuple[str, Any]] = queue.Queue(_MOST_WAITING)
        threading.Thread(target=self._work, args=(keys, waiting), daemon=True).start()
        ended = False
        while not ended:
            found = [waiting.get()]
            with suppress(queue.Empty):
                while len(found) < _MOST_WAITING:
                    found.append(waiting.get_nowait())
            ended = found[-1][0] == "end"
            delivery = Delivery()
            for kind, value in found:
                if kind == "line":
                    delivery.lines.append(value)
                elif kind == "call":
                    delivery.calls.append(value)
                elif kind == "error":
                    delivery.error = value
            yield delivery

    def _work(self, keys: Collection[str], waiting: "queue.Queue[tuple[str, Any]]") -> None:
        try:
            self.greet()
            self.worker = self.worker or self.open_worker()
            waiting.put(("open", None))
            for line in self.worker.make(keys, _Forwarder(waiting)):
                waiting.put(("line", line))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the driver tells it
            waiting.put(("error", _make_portable(error)))
        waiting.put(("end", None))

    def report(self) -> list[str]:
        """Return what there is to say of the work so far."""
        return list(self.worker.report()) if self.worker else []


class _Forwarder(NullProgress):
    """A Progress whose calls become deliveries."""

    def __init__(self, waiting: "queue.Queue[tuple[str, Any]]") -> None:
        for name in _PASSED_ON:
            setattr(self, name, _Call(name, waiting))


@dataclass(frozen=True)
class _Call:
    name: str
    waiting: "queue.Queue[tuple[str, Any]]"

    def __call__(self, *values: Any) -> None:
        plain = tuple(value if isinstance(value, str | int) else list(value) for value in values)
        self.waiting.put(("call", (self.name, plain)))


def _make_portable(error: BaseException) -> Exception:
    """Return the error, or where it cannot travel one that says the same."""
    try:
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - what was pickled here
    except Exception:  # noqa: BLE001 - anything can go wrong in a class of someone else
        copy = None
    if isinstance(copy, Exception) and str(copy) == str(error):
        return copy
    return RuntimeError(f"{type(error).__name__}: {error}")
