"""One pool: the self-edits that are trained on together, in their order, within a budget, and its training jobs.

A pool's sequences are those of its self-edits, in the order of the tasks' ids and the samples, so that the order of
lines changes nothing. A budget of tokens is shared in turns: the first self-edit of every task, then the second. What
is replayed comes before them, and is in no budget.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

from stages.domains.jobs import identify_example
from stages.errors import BadConfig
from stages.interfaces import Example, FitJob, TrainingSet
from stages.records.frozen import content_id, derive_seed
from stages.records.record import SelfEdit
from stages.records.task import Task
from stages.settings import FitConfig, Pooling


@dataclass(frozen=True)
class PooledEdit:
    """A self-edit in a pool, and its sequences."""

    task: Task
    edit: SelfEdit
    examples: tuple[Example, ...]

    @property
    def content(self) -> str:
        """Identifies what it says, whoever wrote it."""
        return self.edit.get_content_id(self.task.id)


@dataclass(frozen=True)
class Pool:
    """The self-edits that are trained on together, each with the sequences that are learned of it, and the rest."""

    edits: tuple[PooledEdit, ...]
    left_out: int = 0  # sequences beyond the budget
    tokens: int | None = None  # of an epoch; None: not counted
    replayed: tuple[Example, ...] = ()

    @cached_property
    def lesson(self) -> TrainingSet:
        """All sequences as one training set."""
        own = chain.from_iterable(each.examples for each in self.edits)
        return TrainingSet((*self.replayed, *own), replayed=len(self.replayed))

    @property
    def content(self) -> str:
        """Identifies what all of its self-edits say."""
        return content_id("pool", [each.content for each in self.edits])

    def make_jobs(
        self, base: str, config: FitConfig, pooling: Pooling, run_seed: int, seeds: int, out: Path
    ) -> Iterator[FitJob]:
        """Make one job per seed; id and seed follow from what all of the pool's self-edits say."""
        content, lesson = self.content, self.lesson
        rows = content_id([identify_example(example) for example in lesson.examples])
        for replica in range(seeds):
            seed = derive_seed(run_seed, content, replica)
            job_id = content_id(content, base, seed, config.settings, rows)
            yield FitJob(job_id, lesson, config, seed, out / job_id, {"pool": self.describe(pooling)})

    def describe(self, pooling: Pooling) -> Mapping[str, object]:
        """Say on each line what it was trained with."""
        return {**pooling.settings, "edits": len(self.taught)}

    @property
    def taught(self) -> Sequence[PooledEdit]:
        """The self-edits of which something is learned."""
        return [each for each in self.edits if each.examples]

    @property
    def untaught(self) -> int:
        """Tasks of which nothing is learned."""
        return len({each.task.id for each in self.edits}) - len({each.task.id for each in self.taught})


def make_pool(edits: Sequence[PooledEdit], pooling: Pooling, count: Callable[[Example], int] | None = None) -> Pool:
    """Make a pool of usable self-edits. `count` gives the tokens of a sequence, where there is a budget.

    Raises BadConfig for a budget that is too small for the first sequence.
    """
    ordered = sorted(edits, key=lambda each: (each.task.id, each.edit.sample, each.content))
    if pooling.pool_passages == "once":
        ordered = list(_drop_repeated_passages(ordered))
    if pooling.max_tokens_budget is None or count is None:
        return Pool(tuple(ordered))
    return _fill_budget(ordered, pooling.max_tokens_budget, count)


def _fill_budget(edits: Sequence[PooledEdit], budget: int, count: Callable[[Example], int]) -> Pool:
    """Keep whole sequences, self-edit after self-edit in turns of the tasks, until the next one does not fit."""
    kept, tokens, is_full = [list[Example]() for _ in edits], 0, False
    for place in _take_turns(edits):
        for example in () if is_full else edits[place].examples:
            size = count(example)
            if is_full := tokens + size > budget:
                break
            kept[place].append(example)
            tokens += size
    if not tokens:
        raise BadConfig(
            f"--max-tokens-budget {budget}: the first sequence has {count(edits[0].examples[0])} tokens; give more"
        )
    cut = tuple(replace(each, examples=tuple(own)) for each, own in zip(edits, kept, strict=True))
    return Pool(cut, sum(len(each.examples) for each in edits) - sum(map(len, kept)), tokens)


def _take_turns(edits: Sequence[PooledEdit]) -> list[int]:
    """Return the places of the first self-edit of every task, then those of every second one, and so on."""
    turns, seen = list[tuple[int, int]](), Counter[str]()
    for place, each in enumerate(edits):
        turns.append((seen[each.task.id], place))
        seen[each.task.id] += 1
    return [place for _, place in sorted(turns)]


def _drop_repeated_passages(edits: Sequence[PooledEdit]) -> Iterator[PooledEdit]:
    """Leave the last sequence, the passage, to the first self-edit of each task."""
    seen = set[tuple[str, Example]]()
    for each in edits:
        passage = each.task.id, each.examples[-1]
        yield replace(each, examples=each.examples[:-1]) if passage in seen else each
        seen.add(passage)
