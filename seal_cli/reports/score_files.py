"""The files that `seal report` compares: their labels, and their usable lines."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seal_cli.terminal.console import note, say
from stages.errors import BadConfig, BadLine

if TYPE_CHECKING:
    from seal_cli.runs.rejects import Rejects
    from stages.records.record import Record

_KINDS = ("adapter", "edit", "task")  # what a line is about: the last section that it has


def split_labels(texts: Sequence[str]) -> list[tuple[str, Path]]:
    """Return (label, path) of `LABEL=FILE`, or of `FILE`: its name without the ending, or its path if not unique."""
    named = [("", "", text) if Path(text).is_file() else text.rpartition("=") for text in texts]
    stems = [Path(path).stem for label, _, path in named if not label]
    return [
        (label or (Path(path).stem if stems.count(Path(path).stem) == 1 else path), Path(path))
        for label, _, path in named
    ]


def note_repeated(named: Sequence[tuple[str, Path]]) -> None:
    """Say which file is given twice. Raises BadConfig for one that would count as two runs of one row."""
    labels: dict[Path, list[str]] = {}
    for label, path in named:
        labels.setdefault(path.resolve(), []).append(label)
    for path, own in labels.items():
        if len(set(own)) < len(own):
            raise BadConfig(f"{path.name}: given twice as {own[0]!r}: a file is not two runs; leave one out")
        if len(own) > 1:
            say(f"seal report: note: {' and '.join(own)} are the same file, {path.name}")


def note_empty(named: Sequence[tuple[str, Path]], labels: Collection[str]) -> None:
    """Say which files gave none of the rows with these labels."""
    for label in dict.fromkeys(label for label, _ in named if label not in labels):
        note(f"seal report: {label}: no lines in it; left out")


def note_ways(named: Sequence[tuple[str, Path]]) -> None:
    """Say in what the rows were asked differently, as far as the manifests beside their files tell."""
    from stages.reporting.cards.baselines import WAYS, list_ways
    from stages.reporting.cards.cost import read_settings_of

    found: dict[str, dict[str, str]] = {way: {} for way in WAYS}  # the first label of each value
    for label, path in named:
        ways = list_ways(read_settings_of(path, "eval"))
        for way in WAYS:
            if ways[way] is not None:
                found[way].setdefault(f"{ways[way]}", label)
    told = [
        ", ".join(f"{way} {value} ({label})" for value, label in own.items())
        for way, own in found.items()
        if len(own) > 1
    ]
    if told:
        note(f"seal report: note: rows were asked in different ways: {'; '.join(told)}")


def read_good_lines(path: Path, bad: "Rejects", needs_score: bool) -> Iterator["Record"]:
    """Yield the usable lines of a file, each once. Raises BadInput for the first bad one where none is good.

    Lines without a score will do where they are only shown.
    """
    from seal_cli.runs.stdio import input_records
    from stages.records.jsonl import Reject, encode_line
    from stages.scoring.grading import get_owner_id
    from stages.sources.repeats import UniqueLines

    before, good, distinct = bad.count, 0, UniqueLines()
    records = input_records(path, ("score",) if needs_score else (), bad)
    for record in records:
        kind, known = next((name, part.id) for name in _KINDS if (part := getattr(record, name)))
        try:
            owner = get_owner_id(record) if record.adapter else known  # the lines of a pool share their adapter
            distinct.add(record.task, (record.task.id, owner), f"{kind} {known} occurs twice")
        except BadLine as error:
            bad(Reject(records.name, *records.place, str(error), encode_line(record).rstrip(b"\n")))
            continue
        good += 1
        yield record
    if bad.count > before:
        bad.check(good)
