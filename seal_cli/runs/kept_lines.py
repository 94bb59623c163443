"""Lines that are there already, read as records."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seal_cli.runs.journal import Journal
from stages.records.record import Record
from stages.records.stored.lines import LineReader


def read_file(file: Path) -> Iterator[Record]:
    """Yield the lines of a finished file."""
    with file.open("rb") as lines:
        yield from map(LineReader(file), lines)


class KeptLines(Sequence[Record]):
    """The lines of a journal, each read when it is asked for: they may be more than memory holds."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.keys, self.read = journal, list(journal.spans), LineReader(journal.path)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, place: Any) -> Any:
        keys = self.keys[place]
        found = map(self.read, self.journal.lines(keys if isinstance(place, slice) else [keys]))
        return list(found) if isinstance(place, slice) else next(found)

    def __iter__(self) -> Iterator[Record]:
        return map(self.read, self.journal.lines(self.keys))
