"""The batches in which an engine completes requests, as HFEngine makes them, and what each costs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from stages.planning.rates import Features


@dataclass(frozen=True)
class SizedRequest:
    """A request in tokens: of its prompt and of its completion, its end token included; 0 where none is written."""

    prompt: int
    written: int
    adapter: Path | None = None
    drawn: bool = False  # not greedy


def make_row_batches(rows: Sequence[SizedRequest], size: int) -> Iterator[Sequence[SizedRequest]]:
    """Yield the batches of one call: those without an adapter first, then as many adapters together as fit in one."""
    groups: dict[Path | None, list[SizedRequest]] = {None: []}
    for row in rows:
        groups.setdefault(row.adapter, []).append(row)
    yield from _cut(groups.pop(None), size)
    batch: list[SizedRequest] = []
    for group in groups.values():
        for piece in _cut(group, size):
            if len(batch) + len(piece) > size:
                yield batch
                batch = []
            batch += piece
    if batch:
        yield batch


def _cut(rows: Iterable[SizedRequest], size: int) -> Iterator[list[SizedRequest]]:
    waiting = iter(rows)
    while piece := list(islice(waiting, size)):
        yield piece


def describe_batch(rows: Sequence[SizedRequest]) -> Features:
    """Return what a batch's time follows from.

    Every row is padded to the longest prompt, and is computed until the last one has ended; with an adapter in the
    batch these are other features, since its layers take more.
    """
    count, longest = len(rows), max(row.prompt for row in rows)
    steps = max(max(row.written for row in rows) - 1, 0)  # the first token comes with the prompts
    adapters = {row.adapter for row in rows if row.adapter}
    found = {
        "batches": 1.0,
        "prompt cells": float(count * longest),
        "prompt squares": float(count * longest**2),
        "steps": float(steps),
        "step rows": float(count * steps),
        "step cells": float(count * steps * (longest + steps / 2)),
        "drawn rows": float(sum(row.drawn for row in rows) * (steps + 1)),
    }
    if not adapters:
        return found
    return {f"adapted {name}": value for name, value in found.items()} | {"adapters": float(len(adapters))}


def describe_calls(rows: Sequence[SizedRequest], at_once: int) -> Features:
    """Return what the time of calls to a server follows from, of which so many are open at once."""
    rounds = -(-len(rows) // at_once)
    tokens = sum(row.written for row in rows) / min(at_once, len(rows))
    return {"rounds": float(rounds), "calls": float(len(rows)), "tokens in turn": tokens}


def describe_batch_memory(rows: Sequence[SizedRequest]) -> Mapping[str, float]:
    """Return what a batch's memory follows from: its rows, and the positions that it keeps and computes at once."""
    count, longest = len(rows), max(row.prompt for row in rows)
    most = longest + max(row.written for row in rows)
    adapters = {row.adapter for row in rows if row.adapter}
    return {
        "rows": float(count),
        "kept cells": float(count * most),
        "prompt cells": float(count * longest),
        "adapters": float(len(adapters)),
    }
