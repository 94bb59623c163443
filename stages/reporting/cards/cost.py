"""What a run took, from its lines and the manifests beside them: tokens, seconds, joules."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.records.jsonl import read_bounded_lines
from stages.records.parser import read_records

MEASURED = ("rows", "probes")  # folders of what is asked for the card alone
_MANIFEST = ".manifest.json"


@dataclass(frozen=True)
class FileCost:
    """What one file of a run took. None: its manifest or its lines do not say."""

    file: str
    stage: str
    measures: bool  # made for the card alone, not for the adapter
    seconds: float | None
    joules: Mapping[str, float] = field(default_factory=dict)  # by device
    read: int | None = None  # tokens of prompts
    written: int | None = None  # tokens that the model wrote: self-edits, questions, answers
    trained: int | None = None  # tokens, of all epochs
    steps: int | None = None
    continued: bool = False  # an earlier try made some of the lines: the seconds are of the last one alone


@dataclass(frozen=True)
class Cost:
    """What all files took together. `joules` None: no file says; `joules_of`: how many of the files do."""

    files: int
    read: int
    written: int
    trained: int
    steps: int
    seconds: float
    joules: float | None
    joules_of: int


def list_costs(run: Path) -> list[FileCost]:
    """Read every file of lines in a run's folder that has a manifest beside it."""
    found = []
    for path in sorted(run.rglob(f"*{_MANIFEST}")):
        lines = path.with_name(path.name.removesuffix(_MANIFEST))
        manifest = read_manifest_of(lines)
        if manifest and lines.is_file():
            found.append(_read_file(lines, lines.relative_to(run).as_posix(), manifest))
    return found


def read_manifest_of(file: Path) -> Mapping[str, Any]:
    """Read the manifest beside a file; empty where there is none that can be read."""
    try:
        found = json.loads(file.with_name(file.name + _MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_settings_of(file: Path, stage: str | None = None) -> Mapping[str, Any]:
    """Read the settings in the manifest beside a file; empty where it tells none, or those of another stage."""
    found = read_manifest_of(file).get("settings")
    return found if isinstance(found, dict) and stage in (None, found.get("stage")) else {}


def sum_costs(files: Sequence[FileCost], *, measures: bool) -> Cost:
    """Add up what the adapter took, or what was asked for the card."""
    own = [each for each in files if each.measures == measures]
    told = [each for each in own if each.joules]
    return Cost(
        files=len(own),
        read=sum(each.read or 0 for each in own),
        written=sum(each.written or 0 for each in own),
        trained=sum(each.trained or 0 for each in own),
        steps=sum(each.steps or 0 for each in own),
        seconds=round(sum(each.seconds or 0.0 for each in own), 3),
        joules=round(sum(sum(each.joules.values()) for each in told), 1) if told else None,
        joules_of=len(told),
    )


def _read_file(path: Path, name: str, manifest: Mapping[str, Any]) -> FileCost:
    stage, seconds, actual = str(manifest.get("stage")), manifest.get("seconds"), _get_actual(manifest)
    joules, counted = actual.get("joules"), dict[str, int]()
    for key, theirs in (("read", "tokens_in"), ("written", "tokens_out")):
        if (told := _get_count(actual, theirs)) is not None:
            counted[key] = told
    if stage == "generate":  # of all lines, also of those that an earlier try had made
        counted["written"] = sum(_list_written(path))
    elif stage == "adapt":
        counted |= _count_trained(path)
    return FileCost(
        name,
        stage,
        name.split("/")[0] in MEASURED,
        float(seconds) if isinstance(seconds, int | float) else None,
        {str(key): float(each) for key, each in joules.items()} if isinstance(joules, dict) else {},
        **counted,
        continued=bool(_get_count(actual, "lines_before")),
    )


def read_usage(file: Path) -> tuple[float | None, float | None]:
    """Return the mean tokens of a question's prompt, and of its answer, as the manifest tells; None: it does not.

    They are of every completion of the run, so of anchors and of the plain model's answers, too.
    """
    actual = _get_actual(read_manifest_of(file))
    asked, read, said = (_get_count(actual, name) for name in ("requests", "tokens_in", "tokens_out"))
    return (read / asked if asked and read else None), (said / asked if asked and said is not None else None)


def _get_actual(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    actual = manifest.get("actual")
    return actual if isinstance(actual, dict) else {}


def _get_count(actual: Mapping[str, Any], name: str) -> int | None:
    count = actual.get(name)
    return count if type(count) is int and count >= 0 else None


def _list_written(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        for record in read_records(read_bounded_lines(file), str(path)):
            yield (record.edit.tokens or 0) if record.edit else 0


def _count_trained(path: Path) -> dict[str, int]:
    """Count what was trained: the lines of a pool share their adapter, which was trained once."""
    trained: dict[str, tuple[int, int]] = {}
    with path.open("rb") as file:
        for record in read_records(read_bounded_lines(file), str(path)):
            stats = record.adapter.train if record.adapter else None
            if record.adapter and stats:
                epochs = record.adapter.fit.get("epochs", 1)
                trained[record.adapter.id] = (stats.tokens * int(epochs), stats.steps)
    return {"trained": sum(each[0] for each in trained.values()), "steps": sum(each[1] for each in trained.values())}
