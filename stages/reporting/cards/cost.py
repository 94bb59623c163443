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
    written: int | None = None  # tokens of self-edits
    trained: int | None = None  # tokens, of all epochs
    steps: int | None = None


@dataclass(frozen=True)
class Cost:
    """What all files took together. `joules` None: no file says; `joules_of`: how many of the files do."""

    files: int
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


def sum_costs(files: Sequence[FileCost], *, measures: bool) -> Cost:
    """Add up what the adapter took, or what was asked for the card."""
    own = [each for each in files if each.measures == measures]
    told = [each for each in own if each.joules]
    return Cost(
        files=len(own),
        written=sum(each.written or 0 for each in own),
        trained=sum(each.trained or 0 for each in own),
        steps=sum(each.steps or 0 for each in own),
        seconds=round(sum(each.seconds or 0.0 for each in own), 3),
        joules=round(sum(sum(each.joules.values()) for each in told), 1) if told else None,
        joules_of=len(told),
    )


def _read_file(path: Path, name: str, manifest: Mapping[str, Any]) -> FileCost:
    stage, seconds, joules = str(manifest.get("stage")), manifest.get("seconds"), manifest.get("joules")
    counted: dict[str, int] = {}
    if stage == "generate":
        counted = {"written": sum(_list_written(path))}
    elif stage == "adapt":
        counted = _count_trained(path)
    return FileCost(
        name,
        stage,
        name.split("/")[0] in MEASURED,
        float(seconds) if isinstance(seconds, int | float) else None,
        {str(key): float(each) for key, each in joules.items()} if isinstance(joules, dict) else {},
        **counted,
    )


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
