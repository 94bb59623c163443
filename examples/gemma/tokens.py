"""How many tokens lines took: `python -m examples.gemma.tokens edits.jsonl|adapters.jsonl`.

Three whole numbers on stdout: tokens written about a task, tokens of an epoch of an adapter, and of all its epochs,
each the mean over those that say it, 0 where none does. So rows can be made of equal length.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from stages.records.jsonl import read_bounded_lines
from stages.records.parser import read_records
from stages.records.record import Record


def count_tokens(lines: Iterable[Record]) -> tuple[int, int, int]:
    """Return (written of a task, of an epoch, of all epochs); the lines of a pool share their adapter."""
    written: dict[str, int] = {}
    trained: dict[str, tuple[int, int]] = {}
    for line in lines:
        if line.edit and line.edit.tokens:
            written[line.task.id] = written.get(line.task.id, 0) + line.edit.tokens
        if line.adapter and line.adapter.train:
            tokens = line.adapter.train.tokens
            trained[line.adapter.id] = tokens, tokens * int(line.adapter.fit.get("epochs", 1))
    return (
        _mean([*written.values()]),
        _mean([each[0] for each in trained.values()]),
        _mean([each[1] for each in trained.values()]),
    )


def _mean(values: Sequence[int]) -> int:
    return round(fmean(values)) if values else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Say how many tokens lines took: written, of an epoch, of all epochs.")
    parser.add_argument("lines", type=Path)
    path = parser.parse_args().lines
    with path.open("rb") as file:
        print(*count_tokens(read_records(read_bounded_lines(file), str(path))))


if __name__ == "__main__":
    main()
