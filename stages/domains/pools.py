"""Pools: one adapter is trained on the self-edits of many tasks (SEAL section 4.2, continued pretraining).

A pool's sequences are those of its self-edits, in the order of the tasks' ids and the samples, so that the order of
lines changes nothing. A budget of tokens is shared in turns: the first self-edit of every task, then the second.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

from stages.domains.base import Domain
from stages.domains.jobs import PlannedLine, identify_example, make_lesson, make_untrained_adapter, require_edit
from stages.errors import BadConfig, BadEdit, BadInput, BadLine, Untrainable, refuse_given
from stages.interfaces import Example, FitJob, TrainingSet
from stages.records.frozen import FrozenModel, content_id, derive_seed
from stages.records.record import Record, SelfEdit
from stages.records.schema import TrainingData
from stages.records.task import Task
from stages.scoring.grading import get_owner_id, get_pooled_id
from stages.settings import FitConfig, PadMode, Pooling
from stages.sources.repeats import UniqueLines
from stages.tokens.token_counts import TokenCounter
from stages.tokens.tokenization import describe_overlong, token_upper_bound

_KEY = re.compile(r"(task|edit|meta)(\.[^.]+)+", re.DOTALL)  # of --pool-by


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

    @cached_property
    def lesson(self) -> TrainingSet:
        """All sequences as one training set."""
        return TrainingSet(tuple(chain.from_iterable(each.examples for each in self.edits)))

    def make_jobs(
        self, base: str, config: FitConfig, pooling: Pooling, run_seed: int, seeds: int, out: Path
    ) -> Iterator[FitJob]:
        """Make one job per seed; id and seed follow from what all of the pool's self-edits say."""
        content, lesson = content_id("pool", [each.content for each in self.edits]), self.lesson
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


def refuse_pool(domain: Domain, pooling: Pooling) -> None:
    """Raise BadConfig for flags of a pool without one, and for a domain whose self-edits cannot share a training."""
    if not pooling.is_on:
        flags = {"--pool-passages": pooling.pool_passages, "--max-tokens-budget": pooling.max_tokens_budget}
        refuse_given(flags, "it is for a pool; give --pool or --pool-by, too")
    elif domain.chosen_by_edit:
        flag = "--pool" if pooling.pool_by is None else f"--pool-by {pooling.pool_by}"
        raise BadConfig(
            f"{flag}: {domain.name} self-edits are trained {domain.chosen_by_edit}, so that no two can share an "
            "adapter; leave it out"
        )
    elif pooling.pool_by is not None and not _KEY.fullmatch(pooling.pool_by):
        raise BadConfig(f"--pool-by {pooling.pool_by}: take a path into the task, the edit or meta, such as task.title")


def refuse_full(pooling: Pooling, sequential: bool) -> None:
    """Raise BadConfig where a training of all weights would not be that of a pool."""
    if sequential:
        raise BadConfig("--method full: a sequence stacks LoRAs, and a model trained in full is none; leave it out")
    if not pooling.is_on:
        raise BadConfig(
            "--method full: every self-edit would have a model directory of its own, as large as the model; give "
            "--pool or --pool-by KEY, or leave it out for a LoRA each"
        )


def get_pool_name(record: Record, pooling: Pooling) -> str:
    """Return what tells the record's pool from others. Raises BadLine for a line without the key of --pool-by."""
    if pooling.pool_by is None:
        return ""
    found: object = record
    for part in pooling.pool_by.split("."):
        known = isinstance(found, FrozenModel) and part in type(found).model_fields
        found = getattr(found, part) if known else found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, str | int | float):
        raise BadLine(f"task {record.task.name!r} has no text or number at {pooling.pool_by}, by which pools are made")
    return json.dumps(found)


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


def check_length(lesson: TrainingSet, config: FitConfig, counter: TokenCounter) -> None:
    """Raise Untrainable for a sequence that is too long to train on: it alone would end its pool."""
    mode = PadMode.parse(config.pad_mode)
    limit = config.pad_to if mode.padded else counter.context
    name = "--pad-to" if mode.padded else "the model's context of"
    for example in lesson.examples:
        bound = token_upper_bound(example)
        if limit is None or (bound is not None and bound <= limit):
            continue
        count = counter.count(example, end=mode.end)
        if count > limit:
            told = describe_overlong(example, count, f"{name} {limit}")
            raise Untrainable(f"{told}; split the passage into several tasks")


@dataclass
class PoolPlanner:
    """Plans lines that share the adapter of their pool; `add` takes one record after another."""

    model: str
    _: KW_ONLY
    domain: Domain
    out: Path
    pooling: Pooling
    config: FitConfig = FitConfig()
    seeds: int = 1
    run_seed: int = 0
    identity: str | None = None  # what tells the model from others in ids, if its name does not
    checks_length: bool = False  # self-edits with a sequence that the model's context does not hold are left out
    records: list[tuple[str, Record]] = field(default_factory=list, init=False)  # with the names of their pools
    lost: dict[str, Record] = field(default_factory=dict, init=False)  # lines of self-edits that cannot be used
    edits: dict[str, list[PooledEdit]] = field(default_factory=dict, init=False)  # by the name of the pool
    distinct: UniqueLines = field(default_factory=UniqueLines, init=False)

    def add(self, record: Record) -> None:
        """Put one record into its pool. Raises BadLine for one that names none, or whose self-edit comes twice."""
        edit, name = require_edit(record), get_pool_name(record, self.pooling)
        told = f"self-edit {edit.id} of {record.task.name!r} occurs twice"
        bare, base = record.grow(adapter=None, score=None), self.identity or self.model
        try:
            usable = PooledEdit(record.task, edit, self._read_examples(record))
        except (BadEdit, Untrainable) as error:
            line = bare.grow(adapter=make_untrained_adapter(edit, self.model, base, self.config, error))
            self.distinct.add(record.task, get_owner_id(line), told)
            self.lost[get_owner_id(line)] = line
        else:
            self.distinct.add(record.task, (record.task.id, edit.id), told)
            self.edits.setdefault(name, []).append(usable)
            self.records.append((name, bare))

    def _read_examples(self, record: Record) -> tuple[Example, ...]:
        """Return the sequences of the record's self-edit. Raises BadEdit or Untrainable where it cannot be used."""
        lesson = make_lesson(self.domain, record)
        if not lesson.examples:
            raise Untrainable("there is nothing to train on")
        if lesson.chosen:
            raise BadConfig(f"--pool: {self.domain.name} self-edits choose how they are trained; leave it out")
        if self.checks_length:
            check_length(lesson, self.config, self.counter)
        return lesson.examples

    @cached_property
    def counter(self) -> TokenCounter:
        """What counts tokens of the model."""
        return TokenCounter(self.model)

    @cached_property
    def pools(self) -> Mapping[str, Pool]:
        """The pools by their names. Raises BadInput where no self-edit can be trained on."""
        if self.lost and not self.edits:
            first = next(line.adapter.error for line in self.lost.values() if line.adapter)
            raise BadInput(f"a pool of nothing: none of {len(self.lost)} self-edits can be trained on ({first})")
        if self.pooling.max_tokens_budget is None:
            return {name: make_pool(edits, self.pooling) for name, edits in self.edits.items()}
        if not self.model:
            raise BadConfig("--max-tokens-budget: tokens of which model? give --model DIR")
        count = partial(self.counter.count, end=PadMode.parse(self.config.pad_mode).end)
        return {name: make_pool(edits, self.pooling, count) for name, edits in self.edits.items()}

    @cached_property
    def found(self) -> Mapping[str, PlannedLine]:
        """The lines to write, in the order of the records; first those of self-edits that cannot be used."""
        base = self.identity or self.model
        jobs = {
            name: list(pool.make_jobs(base, self.config, self.pooling, self.run_seed, self.seeds, self.out))
            for name, pool in self.pools.items()
        }
        lost = {key: PlannedLine(line.grow(adapter=None), line=line) for key, line in self.lost.items()}
        trained = {
            get_pooled_id(job.id, bare): PlannedLine(bare, job) for name, bare in self.records for job in jobs[name]
        }
        return lost | trained

    def show(self) -> Iterator[TrainingData]:
        """Yield the sequences of each self-edit that its pool learns, in the order in which they are concatenated."""
        metas = {(record.task.id, require_edit(record).id): record.meta for _, record in self.records}
        for each in chain.from_iterable(pool.edits for pool in self.pools.values()):
            texts = tuple(f"{row.prompt}{row.completion}" for row in each.examples)
            meta = metas[each.task.id, each.edit.id]
            yield TrainingData(task_id=each.task.id, edit_id=each.edit.id, sequences=texts, meta=meta)

    def describe(self) -> str:
        """Say what the adapters are trained on, as the end of a sentence."""
        edits = sum(len(pool.taught) for pool in self.pools.values())
        rows = sum(len(pool.lesson.examples) for pool in self.pools.values())
        pools = "one pool" if len(self.pools) == 1 else f"{len(self.pools)} pools"
        return f", on {rows} sequences of {edits} self-edits in {pools}"

    def list_notes(self) -> Sequence[str]:
        """Say what is not trained on: self-edits that cannot be used, and sequences beyond the budget."""
        lost, pools = len(self.lost), self.pools.values()
        every = lost + len(self.records)
        notes = [f"note: {lost} of {every} self-edits cannot be trained on, and are in no pool"] if lost else []
        if over := [pool for pool in pools if pool.left_out]:
            most, rows = f"--max-tokens-budget {self.pooling.max_tokens_budget}", sum(pool.left_out for pool in over)
            kept, tokens = sum(len(pool.lesson.examples) for pool in pools), sum(pool.tokens or 0 for pool in pools)
            untaught = sum(pool.untaught for pool in over)
            none = f"; tasks of which nothing is learned: {untaught}" if untaught else ""
            notes.append(
                f"note: {most}: {rows} of {rows + kept} sequences are left out, {tokens} tokens are kept{none}"
            )
        return notes
