"""Pools: one adapter is trained on the self-edits of many tasks (SEAL section 4.2, continued pretraining).

Which self-edits a pool has, which cannot be used, and the lines that share its adapter.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from stages.domains.base import Domain
from stages.domains.jobs import PlannedLine, make_lesson, make_untrained_adapter, require_edit
from stages.domains.training.pool import Pool, PooledEdit, make_pool
from stages.domains.training.replay import ReplayingDomain
from stages.errors import BadConfig, BadEdit, BadInput, BadLine, Untrainable, refuse_given
from stages.interfaces import Example, TrainingSet
from stages.records.frozen import FrozenModel
from stages.records.record import Record
from stages.records.schema import TrainingData
from stages.scoring.grading import get_owner_id, get_pooled_id
from stages.settings import FitConfig, PadMode, Pooling
from stages.sources.repeats import UniqueLines
from stages.tokens.token_counts import TokenCounter
from stages.tokens.tokenization import describe_overlong, token_upper_bound

_KEY = re.compile(r"(task|edit|meta)(\.[^.]+)+", re.DOTALL)  # of --pool-by


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
        count = None
        if self.pooling.max_tokens_budget is not None:
            if not self.model:
                raise BadConfig("--max-tokens-budget: tokens of which model? give --model DIR")
            count = partial(self.counter.count, end=PadMode.parse(self.config.pad_mode).end)
        made = {name: make_pool(edits, self.pooling, count) for name, edits in self.edits.items()}
        return {name: self._add_replay(pool) for name, pool in made.items()}

    def _add_replay(self, pool: Pool) -> Pool:
        """Return the pool with what `--replay` draws for it. Raises BadConfig for a text that is too long."""
        if not isinstance(self.domain, ReplayingDomain):
            return pool
        tasks = {each.task.id for each in pool.edits}
        drawn = self.domain.draw(tasks, pool.content, len(pool.lesson.examples))
        replayed = tuple(Example("", text) for text in drawn)
        if self.checks_length:
            try:
                check_length(TrainingSet(replayed), self.config, self.counter)
            except Untrainable as error:
                raise BadConfig(f"--replay: {error}") from None
        return replace(pool, replayed=replayed)

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
        """Yield the sequences of each self-edit that its pool learns, in the order in which they are concatenated.

        Those that are replayed stand before the first.
        """
        metas = {(record.task.id, require_edit(record).id): record.meta for _, record in self.records}
        for pool in self.pools.values():
            replayed = pool.replayed
            for each in pool.edits:
                texts = tuple(f"{row.prompt}{row.completion}" for row in (*replayed, *each.examples))
                meta, replayed = metas[each.task.id, each.edit.id], ()
                yield TrainingData(task_id=each.task.id, edit_id=each.edit.id, sequences=texts, meta=meta)

    def describe(self) -> str:
        """Say what the adapters are trained on, as the end of a sentence."""
        edits = sum(len(pool.taught) for pool in self.pools.values())
        rows = sum(len(pool.lesson.examples) for pool in self.pools.values())
        replayed = sum(len(pool.replayed) for pool in self.pools.values())
        pools = "one pool" if len(self.pools) == 1 else f"{len(self.pools)} pools"
        told = f" and {replayed} to replay" if replayed else ""
        return f", on {rows - replayed} sequences of {edits} self-edits{told} in {pools}"

    def list_notes(self) -> Sequence[str]:
        """Say what is not trained on: self-edits that cannot be used, and sequences beyond the budget."""
        lost, pools = len(self.lost), self.pools.values()
        every = lost + len(self.records)
        notes = [f"note: {lost} of {every} self-edits cannot be trained on, and are in no pool"] if lost else []
        if over := [pool for pool in pools if pool.left_out]:
            most, rows = f"--max-tokens-budget {self.pooling.max_tokens_budget}", sum(pool.left_out for pool in over)
            kept = sum(len(pool.lesson.examples) - len(pool.replayed) for pool in pools)
            tokens = sum(pool.tokens or 0 for pool in pools)
            untaught = sum(pool.untaught for pool in over)
            none = f"; tasks of which nothing is learned: {untaught}" if untaught else ""
            notes.append(
                f"note: {most}: {rows} of {rows + kept} sequences are left out, {tokens} tokens are kept{none}"
            )
        return notes
