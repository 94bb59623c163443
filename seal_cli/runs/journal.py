"""The journal of a run: finished lines, appended whole and synced, with the settings they were made with.

The journal of `-o FILE` is FILE.part, which becomes FILE when the run is complete; that of `--journal DIR` is
DIR/STAGE.jsonl and stays. One process holds it at a time, by a lock that ends with the process, however it ends.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seal_cli.runs.manifest import are_alike, describe_differences, get_manifest_path, to_bytes
from seal_cli.terminal.console import note
from stages.errors import ExistingOutput
from stages.files import PART, add_filename, make_folder, open_locked, open_own, rename, replace_file, write_all

_BLOCK = 2**20  # bytes that are read at once to count lines
_LENGTH_BITS = 32  # of a line's length, in bytes


def get_part_path(file: Path) -> Path:
    """Return the path that is written to before it becomes the file."""
    return Path(f"{file}{PART}")


def list_own_files(file: Path) -> list[Path]:
    """Return an output and what lies beside it, while it is written and after."""
    part = get_part_path(file)
    return [file, part, Path(f"{part}.json"), get_manifest_path(file)]


def check_place(output: Path | None, needed: Iterable[Path | None], folder: Path | None = None) -> None:
    """Raise ExistingOutput where FILE, or what lies beside it, is a file that the run needs, or in its new folder."""
    if output is None:
        return
    mine = {os.path.realpath(path) for path in list_own_files(output)}
    for path in needed:
        if path and os.path.realpath(path) in mine:
            raise ExistingOutput(f"-o {output}: would take the place of {path}, which the run needs; give another file")
    real = Path(os.path.realpath(output))
    if folder and Path(os.path.realpath(folder)) in (real, *real.parents):
        raise ExistingOutput(f"-o {output}: is, or lies in, the folder of --out {folder}; give a file beside it")


class Journal:
    """The lines of one run, by key. Opening it takes the lock."""

    def __init__(self, path: Path, settings: Path) -> None:
        self.path, self.settings = path, settings
        self.spans = _Spans()  # key → (start, length) of its line
        self.end = self.safe = 0  # bytes that are there; that are on the disk
        make_folder(path.parent)
        self.descriptor = lock(path)

    # ---- at the start

    def begin(self, settings: Mapping[str, Any], *, anew: bool, ways: str) -> None:
        """Check that the journal's lines were made with these settings. Raises ExistingOutput naming those that differ.

        `anew` throws away what was made with others instead, and so does a stage without a plan, whose lines cost
        nothing. `ways` are the ways out that the message names.
        """
        there = self.read_settings()
        if are_alike(there, settings):
            return
        if os.fstat(self.descriptor).st_size:
            cheap = isinstance(there, dict) and not there.get("resumes", True) and not settings.get("resumes", True)
            if not anew and not (cheap and there.get("stage") == settings.get("stage")):
                raise ExistingOutput(f"{self.path}: {describe_differences(there, settings)}; {ways}")
            self.clear()
        replace_file(self.settings, to_bytes(settings))

    def read_settings(self) -> Any:
        """Return the settings of what is there; None if there are none."""
        try:
            return json.loads(self.settings.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            return {"settings": "unreadable"}

    def clear(self) -> None:
        """Remove all lines."""
        os.ftruncate(self.descriptor, 0)
        self.spans, self.end, self.safe = _Spans(), 0, 0

    def load(self, key_of: Callable[[bytes], str | None]) -> None:
        """Find the lines with a key that have come since the last time, and cut off what a crash tore.

        Of two with one key the later counts.
        """
        good = self.end
        with self.path.open("rb") as file:
            file.seek(self.end)
            for line in file:
                key = key_of(line)
                if key is not None:
                    good = self.end + len(line)
                    self.spans.add(key, self.end, len(line))
                self.end += len(line)
        if good < self.end:
            self._cut(good)
        elif self.safe < self.end:
            os.fsync(self.descriptor)  # who wrote them may have died before
        self.safe = self.end

    def keep(self, keys: Collection[str]) -> None:
        """Count only these lines of the journal."""
        self.spans = _Spans((key, span) for key, span in self.spans.items() if key in keys)

    def _cut(self, end: int) -> None:
        """Remove what lies behind the last whole line: a crash tore it, or a disk lost it."""
        os.ftruncate(self.descriptor, end)
        os.fsync(self.descriptor)
        self.end = end

    # ---- lines

    def append(self, key: str | None, line: bytes, *, synced: bool = True) -> None:
        """Append a line; it is on the disk when this returns, or not there at all. One not synced is so at the next.

        One without a key has to be found by `load`.
        """
        try:
            write_all(self.descriptor, line)
        except OSError as error:
            self._take_back(self.end)
            raise add_filename(error, self.path) from None
        if key is not None:
            self.spans.add(key, self.end, len(line))
        self.end += len(line)
        if synced:
            self.sync()

    def sync(self) -> None:
        """Sync all lines to the disk. Those that cannot be are removed: they would look as if they were there."""
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            self._take_back(self.safe)
            raise add_filename(error, self.path) from None
        self.safe = self.end

    def _take_back(self, end: int) -> None:
        self.spans = _Spans((key, span) for key, span in self.spans.items() if span[0] < end)
        self.end = end
        with suppress(OSError):
            os.ftruncate(self.descriptor, end)

    def whole_lines(self, start: int) -> bytes:
        """Return what was appended from `start` on, up to the last whole line; also by another process."""
        size = os.fstat(self.descriptor).st_size
        data = os.pread(self.descriptor, max(0, size - start), start)
        return data[: data.rfind(b"\n") + 1]

    def count(self, keys: Iterable[str]) -> int:
        """Count the lines of these keys that were loaded, and the whole lines that have come since."""
        found, start = sum(key in self.spans for key in keys), self.end
        while data := os.pread(self.descriptor, _BLOCK, start):
            found, start = found + data.count(b"\n"), start + len(data)
        return found

    def lines(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Read the lines of these keys."""
        for start, length in (self.spans[key] for key in keys):
            yield os.pread(self.descriptor, length, start)

    # ---- at the end

    def arrange(self, keys: Collection[str]) -> str:
        """Leave the lines of these keys alone, in this order, synced to the disk. Returns their sha256."""
        found = hashlib.sha256()
        for line in self.lines(keys):
            found.update(line)
        if not self._is_arranged(keys):
            self._write_sorted(keys)
        self.sync()
        return found.hexdigest()

    def _is_arranged(self, keys: Iterable[str]) -> bool:
        """Return True if the journal holds just these lines, in this order."""
        end = 0
        for key in keys:
            start, length = self.spans[key]
            if start != end:
                return False
            end += length
        return end == self.end

    def _write_sorted(self, keys: Collection[str]) -> None:
        """Replace the journal by its lines in this order: one file or the other is there, whole."""
        part = self.path.with_name(f"{self.path.name}.sorted{PART}")
        descriptor = open_locked(part, fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        spans, end = _Spans(), 0
        try:
            for key, line in zip(keys, self.lines(keys), strict=True):
                write_all(descriptor, line)
                spans.add(key, end, len(line))
                end += len(line)
            os.fsync(descriptor)
            rename(part, self.path)
        except OSError as error:
            os.close(descriptor)
            raise add_filename(error, part) from None
        os.close(self.descriptor)
        self.descriptor, self.spans, self.end, self.safe = descriptor, spans, end, end

    def publish(self, path: Path) -> None:
        """Turn the journal into a finished file."""
        rename(self.path, path)
        self.settings.unlink(missing_ok=True)
        os.close(self.descriptor)

    def close(self) -> None:
        """Leave the lines for the next run of the same command; remove an empty journal."""
        if not os.fstat(self.descriptor).st_size:
            self.settings.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        elif self.safe < os.fstat(self.descriptor).st_size:
            with suppress(OSError):  # a worker that was ended may not have synced its last lines
                os.fsync(self.descriptor)
        os.close(self.descriptor)


class _Spans(Mapping[str, tuple[int, int]]):
    """Where lines begin and how long they are, by key. Each pair is one number: a third of the memory."""

    def __init__(self, items: Iterable[tuple[str, tuple[int, int]]] = ()) -> None:
        self.packed: dict[str, int] = {}
        for key, (start, length) in items:
            self.add(key, start, length)

    def add(self, key: str, start: int, length: int) -> None:
        self.packed[key] = start << _LENGTH_BITS | length

    def __getitem__(self, key: str) -> tuple[int, int]:
        packed = self.packed[key]
        return packed >> _LENGTH_BITS, packed & ((1 << _LENGTH_BITS) - 1)

    def __contains__(self, key: object) -> bool:
        return key in self.packed

    def __iter__(self) -> Iterator[str]:
        return iter(self.packed)

    def __len__(self) -> int:
        return len(self.packed)


def lock(path: Path) -> int:
    """Open the file, made if need be, with an exclusive lock. Raises Locked if another process has it."""
    told = f"seal: note: {path} is on a file system without locks; see that no other process writes it"
    busy = "another process is writing it; wait for its end, or give another file"
    return open_own(path, busy=busy, without_locks=lambda: note(told))
