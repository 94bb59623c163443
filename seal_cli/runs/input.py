"""The input of a run: its lines with their places, the shard that is read, and the lines that are rejected."""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from seal_cli.runs.rejects import SAID, Rejects
from seal_cli.runs.summary import Counts
from seal_cli.terminal.console import note
from seal_cli.terminal.progress import ProgressMeter
from stages.errors import BadConfig, BadInput, BadLine, one_line
from stages.merge import parse_shard
from stages.records.adapter_paths import remove_path
from stages.records.frozen import content_id
from stages.records.jsonl import Lines, Reject, encode_line
from stages.records.record import Record
from stages.records.schema import FilterLine
from stages.records.stored.lines import InputReader, StoredRecords
from stages.sources.training_pairs import TrainingPair
from stages.work import Facts

Item = TypeVar("Item", bound=Record | FilterLine | TrainingPair)
_BEFORE = {
    "quiz": "the stage before (`seal tasks`)",
    "generate": "the stage before (`seal tasks`)",
    "adapt": "the stage before (`seal generate`)",
    "eval": "the stage before (`seal adapt`, or `seal tasks`)",
    "rate": "the stage before (`seal generate`)",
    "judge": "the stage before (`seal eval`)",
    "filter": "the stage before (`seal eval`, or `seal rate`)",
    "sft": "the stage before (`seal filter`; if it kept nothing, loosen --keep)",
    "merge": "the stage that made the shards",
}


class Input:
    """The lines of one run. It is the Source that a stage is given: `read` them all, then `sift` out what is of use."""

    def __init__(self, stage: str, rejects: Rejects, counts: Counts, progress: ProgressMeter) -> None:
        self.stage, self.refuse, self.counts, self.progress = stage, rejects, counts, progress
        self.places = _Places()  # of the items that were read
        self.facts = Facts()  # of all lines that came in, whatever their shard
        self.folders: tuple[Path, ...] = ()
        self.digest = hashlib.sha256()
        self.whole = hashlib.sha256()  # of all lines, which shards share out
        self.is_shard = False  # of the whole

    def read(
        self,
        items: Iterable[Item],
        *,
        limit: int | None = None,
        shard: str | None = None,
        allow_empty: bool = False,
        name: str = "",
    ) -> list[Item]:
        """Return all lines that this run works on. All is read before a model is loaded: the stage before is done.

        Raises BadInput where none came, unless that is allowed; `name` is that of an input that is no file of lines.
        """
        found = []
        for item, place in self._locate(items, limit, shard, allow_empty=allow_empty, name=name):
            found.append(item)
            self.places.add(*place)
            self.digest.update(encode_portably(item))
        self.refuse.check(self.facts.lines)
        return found

    def store(
        self, lines: Lines[Record], file: Path | None, *, limit: int | None, shard: str | None, allow_empty: bool
    ) -> StoredRecords:
        """Return what `read` does of a file, or of stdin (None, `-`), whose records are read again when asked for."""
        is_pipe = file is None or str(file) == "-"
        found = StoredRecords(None if is_pipe else file, InputReader(lines.name, self.folders))
        for item, place in self._locate(lines, limit, shard, allow_empty=allow_empty):
            found.add(lines.number, lines.offset, lines.raw)
            self.places.add(*place)
            self.digest.update(encode_portably(item))
        self.refuse.check(self.facts.lines)
        return found

    def stream(
        self,
        items: Iterable[Item],
        check: Callable[[Item], object],
        *,
        limit: int | None = None,
        shard: str | None = None,
        allow_empty: bool = False,
        name: str = "",
        encode: Callable[[Item], bytes] = encode_line,
    ) -> Iterator[Item]:
        """Yield what `read` and `sift` return, as it comes, for a stage that need not hold it; `encode` to digest."""
        good = 0
        for item, place in self._locate(items, limit, shard, allow_empty=allow_empty, name=name):
            if self._accepts(item, place, check):
                good += 1
                self.digest.update(encode(item))
                yield item
        self.refuse.check(good if self.counts.read else self.facts.lines)
        self.counts.read = good

    def _locate(
        self, items: Iterable[Item], limit: int | None, shard: str | None, *, allow_empty: bool, name: str = ""
    ) -> Iterator[tuple[Item, tuple[str, int, int]]]:
        """Yield the lines of this run, each with its file, line and offset there."""
        seen = self._count(items)
        self.is_shard = shard is not None and limit is None
        chosen = in_shard(self._digest(seen), shard) if shard else seen
        for item in islice(chosen, limit):
            self.counts.read += 1
            yield item, (items.name, *items.place) if isinstance(items, Lines) else (name, 0, 0)
        if not self.facts.lines:
            self.refuse.check(0)
            if not allow_empty:
                raise BadInput(_explain_no_input(self.stage, items.name if isinstance(items, Lines) else name))
        self.progress.set_phase("planning")

    def _count(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.facts.lines += 1
            self.progress.read()
            if isinstance(item, Record):
                self.facts.add(item)
            yield item

    def _digest(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.whole.update(encode_portably(item))
            yield item

    @property
    def digests(self) -> dict[str, str]:
        """What tells the lines that were read from others, and of a shard those of all shards together."""
        found = {"input": self.digest.hexdigest()}
        return {**found, "whole": self.whole.hexdigest()} if self.is_shard else found

    def sift(self, records: Sequence[Record], check: Callable[[Record], object]) -> Sequence[Record]:
        """Return those of the read items for which `check` raises no BadLine; the others are rejected.

        Raises BadInput where there are none.
        """
        places, self.places, good = self.places, _Places(), array("I")
        for number, (item, place) in enumerate(zip(records, places, strict=True)):
            if self._accepts(item, place, check):
                good.append(number)
                self.places.add(*place)
        self.counts.read = len(good)
        if records:
            self.refuse.check(len(good))
        if len(good) == len(records):  # what `read` has noted of them holds
            return records
        left = records.select(good) if isinstance(records, StoredRecords) else [records[number] for number in good]
        self.digest = hashlib.sha256()
        for item in left:
            self.digest.update(encode_portably(item))
        return left

    def _accepts(self, item: Item, place: tuple[str, int, int], check: Callable[[Item], object]) -> bool:
        try:
            check(item)
        except BadLine as error:
            self.refuse(Reject(*place, one_line(str(error)), encode_line(item).rstrip(b"\n")))
            return False
        return True

    def tell_unscored(self, reasons: Sequence[str | None]) -> None:
        """Name the lines that cannot be worked on, each with the reason."""
        found = [(place, why) for why, place in zip(reasons, self.places, strict=True) if why]
        for (name, line, _), why in found[:SAID]:
            note(f"seal {self.stage}: {name}:{line}: {why} (it stays unscored)")
        if len(found) > SAID:
            note(f"seal {self.stage}: {len(found) - SAID} more lines stay unscored; their answers say why")


class _Places:
    """Where the items of an input are: each as (name, line, bytes before it)."""

    def __init__(self) -> None:
        self.name, self.numbers, self.offsets = "", array("q"), array("q")

    def add(self, name: str, number: int, offset: int) -> None:
        self.name = name
        self.numbers.append(number)
        self.offsets.append(offset)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        return ((self.name, *place) for place in zip(self.numbers, self.offsets, strict=True))


def encode_portably(item: Item) -> bytes:
    """Encode what an input line says, wherever its adapter lies."""
    return encode_line(remove_path(item) if isinstance(item, Record) else item)


def in_shard(items: Iterable[Item], shard: str) -> Iterator[Item]:
    """Return the lines whose task falls to shard i of n by its id. All lines of a task stay together."""
    place = parse_shard(shard)
    if place is None:
        raise BadConfig(f"--shard {shard}: take i/n with 1 ≤ i ≤ n, for example 1/4")
    part, count = place
    return (item for item in items if int(content_id("shard", _task_id(item)), 16) % count == part - 1)


def _task_id(item: Record | FilterLine | TrainingPair) -> str:
    return item.task.id if isinstance(item, Record) else item.task_id


def _explain_no_input(stage: str, name: str) -> str:
    """Say that an input has no lines, and where to look: at the stage before, which has said more."""
    if stage == "tasks":
        return f"{name}: no task in it; give another source, or --allow-empty where none is right"
    before = _BEFORE[stage]
    told = f"no lines came; see what {before} says" if name == "stdin" else f"no lines in it; run {before} again"
    return f"{name}: {told}, or give --allow-empty where none is right"
