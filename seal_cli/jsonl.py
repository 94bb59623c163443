"""Records in and out of the process: files, pipes, and a stdout that carries data only."""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stages.disk import write_all
from stages.failures import BadInput, ExistingOutput, MissingInput
from stages.lines import read_objects, read_records, validate
from stages.records import Frozen, Record, Section, SftExample, to_json


class UsageError(Exception):
    """A command line that cannot be run as it is; the text is shown with exit code 2."""


def claim_stdout() -> int:
    """A private copy of stdout for records; fd 1 itself then points at stderr, where libraries may print."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def open_lines(path: Path | None) -> tuple[Iterator[bytes], str]:
    """(lines, name for messages) of a file, or of stdin for None and `-`."""
    if path is None or str(path) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("reads JSON lines: give a file, or pipe them in (`seal tasks FILE | seal generate …`)")
        return iter(sys.stdin.buffer), "stdin"
    if path.is_dir():
        raise BadInput(f"{path}: a folder; give a file of JSON lines")
    if not path.exists():
        raise MissingInput(f"{path}: no such file")
    return _lines_of(path), str(path)


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def input_records(path: Path | None, needs: tuple[Section, ...] = ()) -> Iterator[Record]:
    """Records of a file or of stdin that have every section in `needs`."""
    lines, name = open_lines(path)
    return read_records(lines, name, needs)


def input_examples(path: Path | None) -> Iterator[SftExample]:
    """The lines that `seal filter` wrote. Raises BadInput for records and anything else."""
    lines, name = open_lines(path)
    for where, value in read_objects(lines, name):
        if "task" in value:
            raise BadInput(f"{where}: a record, but `seal sft` reads training pairs (run `seal filter` first)")
        yield validate(SftExample, value, where)


class Sink(Protocol):
    def write(self, line: Frozen) -> None: ...


class StdoutSink:
    """One line per write, straight to the claimed descriptor: whoever reads sees each record at once."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write(self, line: Frozen) -> None:
        write_all(self.descriptor, encode(line))


class FileSink:
    """Lines to FILE.part; `publish` renames it to FILE. An existing FILE is refused unless `overwrite`."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        if path.exists() and not overwrite:
            raise ExistingOutput(f"{path}: exists already; give --overwrite, or another file with -o")
        if path.is_dir():
            raise ExistingOutput(f"{path}: a folder; give a file with -o")
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.digest = hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def write(self, line: Frozen) -> None:
        data = encode(line)
        self.digest.update(data)
        write_all(self.descriptor, data)

    def publish(self) -> None:
        """The finished file under its own name, on the disk before its name is."""
        os.fsync(self.descriptor)
        os.close(self.descriptor)
        self.part.rename(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def close(self, *, complete: bool) -> None:
        """Publishes when all went well; otherwise what is there stays in FILE.part."""
        if complete:
            self.publish()
        else:
            os.close(self.descriptor)


def encode(line: Frozen) -> bytes:
    return to_json(line).encode("utf-8", "replace") + b"\n"
