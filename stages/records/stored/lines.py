"""Records that stay in their file: each is read when it is asked for, as they may be more than memory holds.

A line takes 24 bytes then, where its record takes 4,000 and more. Read again it is the same: its checksum says so.
"""

import os
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from zlib import crc32

from stages.errors import BadInput
from stages.files import write_all
from stages.plugins import ALLOWED
from stages.records.adapter_paths import get_base_folders, locate_adapter
from stages.records.jsonl import parse_object, validate
from stages.records.parser import RecordParser, parse_record
from stages.records.record import Record


class LineReader:
    """Reads lines of a file that seal wrote as records. They share the tasks and self-edits that are the same."""

    def __init__(self, file: Path) -> None:
        self.parse, self.folders = RecordParser().parse, get_base_folders(file)

    def __call__(self, line: bytes) -> Record:
        found = self.parse(line.decode().removesuffix("\n"))
        return locate_adapter(found if isinstance(found, Record) else validate(Record, found), self.folders)


class InputReader:
    """Reads good lines of an input once more, just as they were read when they came.

    `name`: the input's, from whose folder paths on its lines may be told. It travels to other processes, which may read
    the domains that this one may.
    """

    def __init__(self, name: str, folders: Sequence[Path], allowed: Iterable[str] = ()) -> None:
        self.name, self.folders = name, tuple(folders)
        self.parse, self.lock = RecordParser().parse, Lock()
        ALLOWED.update(allowed)

    def __call__(self, line: bytes) -> Record:
        with self.lock:  # the parser remembers the line before
            found = parse_object(line, len(line), self.parse)
        return locate_adapter(
            found if isinstance(found, Record) else parse_record(found, Path(self.name).parent), self.folders
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.folders, sorted(ALLOWED))


class _LineFile:
    """The bytes of an input: a file's where they lie, those of a pipe, which come only once, copied to memory."""

    def __init__(self, path: Path | None) -> None:
        self.is_copy = path is None or not path.is_file()
        self.end = 0  # of the copy
        if path and not self.is_copy:
            self.file: Any = path.open("rb", buffering=0)
        elif sys.platform == "linux":
            self.file = os.fdopen(os.memfd_create("seal"), "w+b", buffering=0)
        else:
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    def keep(self, line: bytes, offset: int) -> int:
        """Return where the line can be read again."""
        if not self.is_copy:
            return offset
        write_all(self.file.fileno(), line)
        self.end += len(line)
        return self.end - len(line)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.file.fileno(), length, offset)


class StoredRecords(Sequence[Record]):
    """The records of an input's lines, of which only their places are held. `path` None: the input is a pipe."""

    def __init__(self, path: Path | None, read: InputReader, file: _LineFile | None = None) -> None:
        self.path, self.read, self.file = path, read, file or _LineFile(path)
        self.numbers, self.offsets = array("q"), array("q")  # of the lines, from 1; bytes before them
        self.lengths, self.sums = array("I"), array("I")

    def add(self, number: int, offset: int, line: bytes) -> None:
        """Add the line of this number, which has so many bytes before it."""
        self.numbers.append(number)
        self.offsets.append(self.file.keep(line, offset))
        self.lengths.append(len(line))
        self.sums.append(crc32(line))

    def select(self, places: Iterable[int]) -> "StoredRecords":
        """Return the records in these places."""
        found = StoredRecords(self.path, self.read, self.file)
        for place in places:
            for name in ("numbers", "offsets", "lengths", "sums"):
                getattr(found, name).append(getattr(self, name)[place])
        return found

    def get_line(self, place: int) -> bytes:
        """Return the line in a place. Raises BadInput where it is another one now."""
        line = self.file.read(self.offsets[place], self.lengths[place])
        if crc32(line) != self.sums[place]:
            raise BadInput(
                f"{self.read.name}:{self.numbers[place]}: was changed while this run works on it; "
                "put it back as it was, and the same command goes on"
            )
        return line

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return self.read(self.get_line(range(len(self))[place]))

    def __iter__(self) -> Iterator[Record]:
        return map(self.__getitem__, range(len(self)))
