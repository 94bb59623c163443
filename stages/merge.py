"""shards → the whole: put the outputs of `--shard i/n` together, if every shard is there exactly once."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.records.record import Record
from stages.records.schema import FilterLine, PreferencePair, SftExample

_IGNORED = ("shard", "out")  # settings in which the shards of one run differ


@dataclass(frozen=True)
class Shard:
    """One finished output: its name for messages, the settings that made it (as its manifest says), and its lines.

    `whole`: a digest of all lines that the shards of its run share out; None: its manifest does not say.
    """

    name: str
    settings: Mapping[str, Any]
    lines: Iterable[Record | FilterLine]
    whole: str | None = None

    @property
    def place(self) -> tuple[int, int]:
        """The shard's (i, n). Raises BadInput for a file that is no shard."""
        place = parse_shard(str(self.settings.get("shard")))
        if place is None:
            raise BadInput(f"{self.name}: was not made with --shard; there is nothing to merge it with")
        return place

    @property
    def common(self) -> dict[str, Any]:
        """The settings that all shards of a run share."""
        known = _IGNORED if not self.settings.get("weights") else (*_IGNORED, "model")  # it may lie elsewhere
        return {key: value for key, value in self.settings.items() if key not in known}


def parse_shard(text: str) -> tuple[int, int] | None:
    """Read `I/N` with 1 ≤ I ≤ N < 1,000,000; None for anything else."""
    found = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", text)
    place = (int(found[1]), int(found[2])) if found else (0, 0)
    return place if 1 <= place[0] <= place[1] else None


def run(shards: Sequence[Shard]) -> Iterator[Record | FilterLine]:
    """Yield all lines, shard 1 first. Raises MissingInput for gaps, BadInput for repeated or foreign shards."""
    check(shards)
    absent = list_missing(shards)
    if absent:
        count = shards[0].place[1]
        raise MissingInput(
            f"shards {format_array(absent)} of {count} are missing: run these (sbatch --array={format_array(absent)})"
        )
    seen: dict[tuple[str, ...], str] = {}
    for shard in sorted(shards, key=lambda shard: shard.place):
        for line in shard.lines:
            other = seen.get(_identity(line))
            if other is not None:
                where = "there twice" if other == shard.name else f"in {other} too"
                raise BadInput(f"{shard.name}: has a line of task {_task_of(line)} that is {where}")
            seen[_identity(line)] = shard.name
            yield line


def check(shards: Sequence[Shard]) -> None:
    """Raise BadConfig for shards of different runs, BadInput for one that is there twice.

    A shard without any lines knows few settings, so that each is compared with what all before it know together.
    """
    found: dict[int, Shard] = {}
    known: dict[str, Shard] = {}  # the first that has this setting
    first = next((shard for shard in shards if shard.whole), None)
    for shard in shards:
        part, count = shard.place
        if count != shards[0].place[1]:
            raise BadConfig(f"{shard.name}: is of {count} shards, but {shards[0].name} of {shards[0].place[1]}")
        for key, value in sorted(shard.common.items()):
            other = known.setdefault(key, shard)
            if other.common[key] != value:
                raise BadConfig(f"{shard.name}: was made with another {key} than {other.name}")
        if first and shard.whole not in (None, first.whole):
            raise BadInput(f"{shard.name}: was made of other input than {first.name}; run both commands again")
        if part in found:
            raise BadInput(f"{shard.name}: is shard {part}, and so is {found[part].name}; give each once")
        found[part] = shard


def merge_settings(shards: Sequence[Shard]) -> dict[str, Any]:
    """Return the settings of the whole run, whatever the order of its shards."""
    found: dict[str, Any] = {}
    for shard in sorted(shards, key=lambda shard: shard.place):
        found = shard.common | found
    return found


def list_missing(shards: Sequence[Shard]) -> list[int]:
    """Return the numbers of the missing shards."""
    there = {shard.place[0] for shard in shards}
    return [part for part in range(1, shards[0].place[1] + 1) if part not in there] if shards else []


def format_array(numbers: Sequence[int]) -> str:
    """Write numbers as job arrays take them: `3,5-7`."""
    runs = [[number for _, number in group] for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _identity(line: Record | FilterLine) -> tuple[str, ...]:
    """What no other line of a run has."""
    if isinstance(line, SftExample):
        return line.task_id, line.edit_id
    if isinstance(line, PreferencePair):
        return line.task_id, line.chosen_id, line.rejected_id
    return line.task.id, line.edit.id if line.edit else "", line.adapter.id if line.adapter else ""


def _task_of(line: Record | FilterLine) -> str:
    return line.task.id if isinstance(line, Record) else line.task_id
