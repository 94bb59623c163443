"""A disk that loses what was not synced: what a folder would hold after a power loss.

Simplified to the two worst cases that POSIX allows. `durable`: a name is there only if its folder was synced since it
changed, and a file holds what it held at its last sync. `named`: all names are there, contents only as last synced,
and zero bytes where a file never was. What was there at the start is durable.
"""

import os
import pickle
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from tests.fault_injection.ledger import Ledger
from tests.fault_injection.operations import Operation

REMOVING = ("unlink", "remove", "rmdir")
MOVING = ("rename", "replace")


class Disk:
    """Files and folders have identities: an inode's number is given away again when it is free.

    What is known lies in `store`, where all processes of a command see it.
    """

    def __init__(self, root: Path, store: Path, ledger: Ledger) -> None:
        self.root, self.store, self.ledger = root, store, ledger
        self.version, self._next = 0, 0
        self.identities: dict[int, int] = {}  # of the inodes in use
        self.contents: dict[int, bytes] = {}
        self.listings: dict[int, dict[str, tuple[int, bool]]] = {}  # name → identity, is a folder
        self.top = self._identity(root.stat())
        for path in (root, *root.rglob("*")):
            self.sync(path)

    def _identity(self, status: os.stat_result) -> int:
        if status.st_ino not in self.identities:
            self.identities[status.st_ino] = self._next
            self._next += 1
        return self.identities[status.st_ino]

    def sync(self, path: Path) -> None:
        """The file's content, or the names in the folder, are durable from here on."""
        status = path.stat()
        if S_ISDIR(status.st_mode):
            below = [(entry.name, entry.stat()) for entry in path.iterdir()]
            names = {name: (self._identity(of), S_ISDIR(of.st_mode)) for name, of in below}
            self.listings[self._identity(status)] = names
        else:
            self.contents[self._identity(status)] = path.read_bytes()

    def perform(self, operation: Operation) -> Any:
        """The operation, and what it means for the disk. The ledger's lock must be held."""
        self.refresh()
        doomed = self._doomed(operation)
        result = operation.perform()
        if doomed is not None:
            self.identities.pop(doomed, None)
        if operation.kind in ("fsync", "fdatasync"):
            self.sync(Path(f"/proc/self/fd/{operation.arguments[0]}"))
        if doomed is not None or operation.kind in ("fsync", "fdatasync"):
            self._keep()
        return result

    def refresh(self) -> None:
        """What another process has come to know."""
        if self.version != self.ledger.get("version"):
            self.version = self.ledger.get("version")
            known = pickle.loads(self.store.read_bytes())  # noqa: S301 (our own file)
            self._next, self.identities, self.contents, self.listings = known

    def _keep(self) -> None:
        self.store.write_bytes(pickle.dumps((self._next, self.identities, self.contents, self.listings)))
        self.version = self.ledger.add("version")

    def _doomed(self, operation: Operation) -> int | None:
        """The inode that the operation frees if it succeeds."""
        place = 0 if operation.kind in REMOVING else 1 if operation.kind in MOVING else None
        if place is None:
            return None
        try:
            status = operation.paths[place].lstat()
        except OSError:
            return None
        return status.st_ino if status.st_nlink == 1 or S_ISDIR(status.st_mode) else None

    def dump_durable(self, target: Path) -> None:
        """The worst case of names and contents, as a tree in `target`."""
        self._dump(self.top, True, target)

    def _dump(self, identity: int, is_folder: bool, target: Path) -> None:
        if not is_folder:
            target.write_bytes(self.contents.get(identity, b""))
            return
        target.mkdir()
        for name, (inner, folder) in self.listings.get(identity, {}).items():
            self._dump(inner, folder, target / name)

    def dump_named(self, target: Path) -> None:
        """All names as they are now, contents only as last synced."""
        target.mkdir()
        for path in sorted(self.root.rglob("*")):
            copy, status = target / path.relative_to(self.root), path.stat()
            if S_ISDIR(status.st_mode):
                copy.mkdir()
            else:
                identity = self.identities.get(status.st_ino, -1)
                copy.write_bytes(self.contents.get(identity, bytes(status.st_size)))
