"""Where a driver works, and the proof that its workers see the same folders there.

In each folder the driver has a file with its own text, whose lock says that it lives. A worker reads it and writes one
of its own, which the driver reads.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from platform import node

from stages.errors import BadConfig, Locked
from stages.files import open_locked, open_own, write_all, write_file

_PROOF = re.compile(r"(\.seal-[0-9a-f]{16})(-\d+)?")  # a driver's, or a worker's


@dataclass(frozen=True)
class Place:
    """Where a driver works, and what its workers must see: the same folders, by the same names.

    `proof`: the name and the text of the driver's file. `environment`: variables of the workers, such as servers' keys.
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

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Have the driver's files there meanwhile, and remove those of drivers that were killed."""
        with ExitStack() as held:
            for folder in self.folders:
                _remove_left(folder)
                held.callback(self._clear, folder)
                descriptor = _open_locked_file(folder / self.proof)
                held.callback(os.close, descriptor)
                write_all(descriptor, self.proof.encode())
                os.fsync(descriptor)
            yield

    def check(self, worker: str, host: str) -> None:
        """Raise BadConfig if what the worker has written is not here."""
        for folder in self.folders:
            with suppress(FileNotFoundError):
                file = folder / f"{self.proof}-{worker}"
                if file.read_text() == self.proof:
                    file.unlink(missing_ok=True)
                    continue
            raise BadConfig(_explain(host, folder, "what it writes there is not seen here"))

    def _clear(self, folder: Path) -> None:
        for file in folder.glob(f"{self.proof}*"):
            file.unlink(missing_ok=True)


def _open_locked_file(path: Path) -> int:
    while True:
        with suppress(Locked):  # one who tidies up just then has taken it for a leftover
            return open_own(path, busy="its run has just begun")


def _remove_left(folder: Path) -> None:
    """Remove the files of drivers that do not live any more, and of their workers."""
    for file in list_left_proofs(folder):
        with suppress(OSError):  # it is gone by now, or somebody else's
            file.unlink()


def list_left_proofs(folder: Path) -> list[Path]:
    """Return the files of drivers that do not live any more, and of their workers, each driver's first."""
    found = [match for path in folder.glob(".seal-*") if (match := _PROOF.fullmatch(path.name))]
    left = list[Path]()
    for match in sorted(found, key=lambda match: match[0]):  # a driver's before those of its workers
        file, driver = folder / match[0], folder / match[1]
        if not match[2]:
            with suppress(Locked, OSError):  # it lives, or it is somebody else's
                os.close(open_locked(file, fcntl.LOCK_EX, os.O_RDWR, without_locks=_keep))
                left.append(file)
        elif driver in left or not driver.exists():
            left.append(file)
    return left


def _keep() -> None:
    """Raise Locked: without locks nobody knows whether the driver lives."""
    raise Locked("no locks here")


def _explain(host: str, folder: Path, why: str | None) -> str:
    return (
        f"{folder}: the worker on {host} does not share it ({why}); run from, and write to, a folder that all nodes "
        "have under one name, such as a network file system"
    )
