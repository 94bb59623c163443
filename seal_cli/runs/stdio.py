"""Records in and out of the process: files, pipes, and a stdout that carries data only."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from seal_cli.exit_codes import ClosedPipe, UsageError
from stages.errors import BadInput, MissingInput
from stages.file_kinds import check_lines, detect_folder
from stages.files import add_filename, write_all
from stages.records.adapter_paths import get_base_folders, locate_adapter
from stages.records.jsonl import Lines, OnReject, raise_on_reject, read_bounded_lines, validate
from stages.records.parser import read_records
from stages.records.record import Record, Section
from stages.records.schema import FilterLine, PreferencePair, SftExample
from stages.settings import OuterLoss
from stages.sources.datasets.folders import suggest_paths
from stages.sources.training_pairs import TrainingPair, read_pair


def claim_stdout() -> int:
    """Return a private copy of stdout for records, and point fd 1 at stderr, where libraries may print."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def _open_lines(path: Path | None) -> tuple[Iterator[bytes], str]:
    """(lines, name for messages) of a file, or of stdin for None and `-`.

    Raises BadInput for what is no file of lines, with what it is: a folder at once, a file when it is read.
    """
    if path is None or str(path) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("reads JSON lines: give a file, or pipe them in (`seal tasks FILE | seal generate …`)")
        return check_lines(read_bounded_lines(sys.stdin.buffer), "stdin"), "stdin"
    if path.is_dir():
        kind = detect_folder(path)
        what = f" ({kind.tell(str(path))})" if kind else f", or make some: seal tasks {path}"
        raise BadInput(f"{path}: a folder; give a file of JSON lines{what}")
    if not path.exists():
        raise MissingInput(f"{path}: no such file{suggest_paths(path)}")
    return check_lines(_lines_of(path), str(path)), str(path)


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from read_bounded_lines(file)


def input_records(
    path: Path | None, needs: tuple[Section, ...] = (), refuse: OnReject = raise_on_reject
) -> Lines[Record]:
    """Read records of a file or stdin that have every section in `needs`. Other lines go to `refuse`."""
    lines, name = _open_lines(path)
    return read_records(lines, name, needs, refuse)


def input_examples(path: Path, refuse: OnReject = raise_on_reject) -> Lines[FilterLine]:
    """Read the lines that `seal filter` wrote. Anything else goes to `refuse`."""
    lines, name = _open_lines(path)

    def read(value: dict[str, Any]) -> FilterLine:
        return validate(PreferencePair, value) if "chosen" in value else validate(SftExample, value)

    return Lines(lines, name, read, refuse)


def input_pairs(
    path: Path | None,
    refuse: OnReject = raise_on_reject,
    check: Callable[[TrainingPair], object] = bool,
    loss: OuterLoss = "sft",
) -> Lines[TrainingPair]:
    """Read what `seal sft` learns from, for a loss. `check` may raise BadLine for a pair that cannot be learned."""
    lines, name = _open_lines(path)

    def read_checked(value: dict[str, Any]) -> TrainingPair:
        pair = read_pair(value, loss)
        check(pair)
        return pair

    return Lines(lines, name, read_checked, refuse)


def with_places(records: Iterable[Record], file: Path | None) -> Iterator[Record]:
    """Yield the lines of a file with the paths to their adapters relative to here."""
    folders = get_base_folders(file)
    return (locate_adapter(record, folders) for record in records)


def write_stdout(descriptor: int, data: bytes) -> None:
    """Write to stdout. Raises ClosedPipe, which is silent, unlike the broken pipe of a server."""
    try:
        write_all(descriptor, data)
    except BrokenPipeError:
        raise ClosedPipe from None
    except OSError as error:
        raise add_filename(error, Path("standard output")) from None
