"""The file operations of a process under one folder: counted, written down, and open to a fault at any one of them.

An operation is one call that changes names or content, or makes them safe: os.open for writing, os.write, os.fsync,
os.rename and so on, and open() for writing. What a file object writes later belongs to its open().
"""

import builtins
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fault_injection.ledger import Ledger

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
BY_PATH = ("mkdir", "rmdir", "unlink", "remove", "truncate", "rename", "replace", "link")
BY_DESCRIPTOR = ("write", "fsync", "fdatasync", "ftruncate")
RANDOM = re.compile(r"\.[a-z0-9_]{8}(?=\.(?:old\.)?part)")  # what mkdtemp puts into a name


@dataclass
class Operation:
    """One call: its kind, the paths that it works on (of a rename both), and how to perform it."""

    kind: str
    paths: tuple[Path, ...]
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    number: int = 0

    def perform(self) -> Any:
        return self.call(*self.arguments, **self.options)


class Tap:
    """Sits on the os module of this process and its children, and calls `happen` for each operation under `root`.

    It is never taken off. The operations of all these processes and their threads are numbered as one.
    """

    def __init__(self, root: Path, trace: Path, ledger: Ledger, happen: Callable[[Operation], Any]) -> None:
        self.root, self.ledger, self.happen = root, ledger, happen
        self.trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.write = os.write
        for kind in BY_PATH:
            setattr(os, kind, self._by_path(kind, getattr(os, kind)))
        for kind in BY_DESCRIPTOR:
            setattr(os, kind, self._by_descriptor(kind, getattr(os, kind)))
        os.open = self._os_open(os.open)
        io.open = builtins.open = self._file_open(io.open)

    def say(self, text: str) -> None:
        """A line of the trace, which outlives a killed process."""
        self.write(self.trace, f"{text}\n".encode())

    def _meet(self, kind: str, paths: list[Path], call: Callable[..., Any], arguments: Any, options: Any) -> Any:
        """Lets the operation happen if it is ours; else it is just performed."""
        operation = Operation(kind, tuple(paths), call, arguments, options)
        if not any(path.is_relative_to(self.root) for path in paths):
            return operation.perform()
        with self.ledger.alone():
            operation.number = self.ledger.add("count")
            name = RANDOM.sub(".*", os.path.relpath(paths[-1], self.root))
            self.say(f"{operation.number} {kind} {name}")
            return self.happen(operation)

    def _path(self, path: Any, folder: int | None = None) -> Path:
        """In full; `folder` is a descriptor that a relative path starts from."""
        if isinstance(path, int):
            return Path(f"/proc/self/fd/{path}").readlink()
        start = self.root if folder is None else self._path(folder)
        return Path(os.path.normpath(start / os.fsdecode(path)))

    def _by_path(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        places = 2 if kind in ("rename", "replace", "link") else 1

        def tapped(*arguments: Any, **options: Any) -> Any:
            given = (*arguments, *options.values())[:places]  # nobody gives these by name and in another order
            paths = [self._path(path, options.get("dir_fd")) for path in given]
            return self._meet(kind, paths, call, arguments, options)

        return tapped

    def _by_descriptor(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def tapped(descriptor: Any, *arguments: Any) -> Any:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            paths = [self._path(number)]
            return self._meet(kind, paths, call, (number, *arguments), {})

        return tapped

    def _os_open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def tapped(path: Any, flags: int, *rest: Any, **options: Any) -> Any:
            paths = [self._path(path, options.get("dir_fd"))] if flags & WRITING else []
            return self._meet("open", paths, call, (path, flags, *rest), options)

        return tapped

    def _file_open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def tapped(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            writes = set(mode) & set("wax+") and not isinstance(file, int)
            paths = [self._path(file)] if writes else []
            return self._meet("open", paths, call, (file, mode, *rest), options)

        return tapped
