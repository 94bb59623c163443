"""What runs on a node: one process, with the model loaded, that makes the lines of its leases.

It knows nothing of Ray, which only carries its deliveries.
"""

import pickle
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from stages.interfaces import NullProgress, Progress
from stages.records.stored.by_key import Portion

_MOST_WAITING = 1024  # deliveries that nobody has fetched yet; more would only fill memory
_TOGETHER_S = 0.05  # lines that come so soon after another go with it: a delivery costs the driver 1 ms
_EVERY_S = 1.0  # between two counts of tokens: each costs the driver as much as a line


class LineMaker(Protocol):
    """The Worker of stages.work, as far as it is needed here."""

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Any]: ...
    def report(self) -> Iterable[str]: ...


class LineCodec(Protocol):
    """How lines travel: encoded by whoever has made them, so that the driver need not look into them."""

    def key_of(self, line: Any) -> str: ...
    def encode(self, line: Any) -> Any: ...
    def decode(self, encoded: Any) -> Any: ...


@dataclass(frozen=True)
class Opening:
    """What a worker is opened with. `portion`: what it makes lines of; a lease's part of it comes with the lease."""

    open_worker: Callable[[Sequence[Any]], LineMaker]
    codec: LineCodec
    portion: Portion[Any] | None = None


@dataclass
class Delivery:
    """What has happened since the last one: lines, and what the driver's Progress is told."""

    lines: list[tuple[str, Any]] = field(default_factory=list)  # key, encoded
    notes: list[str] = field(default_factory=list)
    trained: int = 0  # tokens
    written: int = 0  # tokens
    error: Exception | None = None


class LeaseServer:
    """Loads the model once, then makes the lines of one lease after the other."""

    def __init__(self, fetch: Callable[[], Opening]) -> None:
        self.fetch = fetch
        self.finished: list[Any] = []  # the worker holds the same list
        self.opening: Opening | None = None
        self.worker: LineMaker | None = None

    def load(self) -> Exception | None:
        """Load the model. Returns what went wrong."""
        try:
            self.opening = self.fetch()
            self.worker = self.opening.open_worker(self.finished)
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver tells it
            return _make_portable(error)
        return None

    def serve(self, keys: Collection[str], finished: Sequence[Any] = (), packed: Any = None) -> Iterator[Delivery]:
        """Yield deliveries until the lines of these keys are made.

        `finished`: lines of their units that others have made, encoded. `packed`: what they are made of, if it is not
        here since the worker was opened.
        """
        if self.opening:
            self.finished[:] = map(self.opening.codec.decode, finished)
            if self.opening.portion is not None:
                self.opening.portion.unpack(packed)
        waiting: queue.Queue[tuple[str, Any]] = queue.Queue(_MOST_WAITING)
        threading.Thread(target=self._work, args=(keys, waiting), daemon=True).start()
        ended = False
        while not ended:
            found = [waiting.get()]
            until = time.monotonic() + _TOGETHER_S
            with suppress(queue.Empty):
                while found[-1][0] != "end" and len(found) < _MOST_WAITING:
                    found.append(waiting.get(timeout=max(0.0, until - time.monotonic())))
            ended = found[-1][0] == "end"
            delivery = Delivery()
            for kind, value in found:
                if kind == "line":
                    delivery.lines.append(value)
                elif kind == "note":
                    delivery.notes.append(value)
                elif kind == "error":
                    delivery.error = value
                elif kind == "tokens":
                    delivery.trained += value[0]
                    delivery.written += value[1]
            yield delivery

    def _work(self, keys: Collection[str], waiting: "queue.Queue[tuple[str, Any]]") -> None:
        told = _Forwarder(waiting)
        try:
            if self.worker is None or self.opening is None:
                raise RuntimeError("the model is not loaded")
            codec = self.opening.codec
            for line in self.worker.make(dict.fromkeys(keys), told):
                waiting.put(("line", (codec.key_of(line), codec.encode(line))))
            told.tell_tokens()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the driver tells it
            waiting.put(("error", _make_portable(error)))
        waiting.put(("end", None))

    def report(self) -> list[str]:
        """Return what there is to say of the work so far."""
        return list(self.worker.report()) if self.worker else []


class _Forwarder(NullProgress):
    """A Progress whose notes and tokens become deliveries; what is in work, leases know."""

    def __init__(self, waiting: "queue.Queue[tuple[str, Any]]") -> None:
        self.waiting, self.told = waiting, time.monotonic()
        self.trained = self.written = 0

    def note(self, text: str) -> None:
        self.waiting.put(("note", text))

    def add_trained(self, tokens: int) -> None:
        self.trained += tokens
        self._tell_sometimes()

    def add_written(self, tokens: int, ended: int = 0) -> None:
        self.written += tokens
        self._tell_sometimes()

    def _tell_sometimes(self) -> None:
        if time.monotonic() - self.told > _EVERY_S:
            self.tell_tokens()

    def tell_tokens(self) -> None:
        """Pass on what has been counted since the last time."""
        self.waiting.put(("tokens", (self.trained, self.written)))
        self.trained = self.written = 0
        self.told = time.monotonic()


def _make_portable(error: BaseException) -> Exception:
    """Return the error, or where it cannot travel one that says the same."""
    try:
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - what was pickled here
    except Exception:  # noqa: BLE001 - anything can go wrong in a class of someone else
        copy = None
    if isinstance(copy, Exception) and str(copy) == str(error):
        return copy
    return RuntimeError(f"{type(error).__name__}: {error}")
