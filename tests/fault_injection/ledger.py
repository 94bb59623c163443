"""What the processes of one command share: the count of their operations, and whose turn it is."""

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = ("count", "fired", "version")
EACH = struct.Struct("q")


class Ledger:
    """Numbers in memory that forked children share, and a lock that a killed process leaves behind open."""

    def __init__(self, path: Path) -> None:
        self.numbers = mmap.mmap(-1, EACH.size * len(PLACES))
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.turn, self.depth = threading.RLock(), 0

    def get(self, name: str) -> int:
        return int(EACH.unpack_from(self.numbers, EACH.size * PLACES.index(name))[0])

    def put(self, name: str, value: int) -> None:
        EACH.pack_into(self.numbers, EACH.size * PLACES.index(name), value)

    def add(self, name: str) -> int:
        """One more; returns the new value."""
        self.put(name, self.get(name) + 1)
        return self.get(name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One thread of one process at a time. A signal's handler may come in again."""
        with self.turn:
            if self.depth == 0:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX)  # of this process alone, unlike flock's
            self.depth += 1
            try:
                yield
            finally:
                self.depth -= 1
                if self.depth == 0:
                    fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
