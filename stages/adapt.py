"""edit → adapter: the student is fine-tuned on each self-edit, once per seed (SEAL section 3, inner loop)."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.domains.base import Domain, TrainingSetup, find_domain
from stages.domains.jobs import (
    ExampleNames,
    describe_left_out,
    make_adapter,
    make_job,
    make_untrained_adapter,
    refuse_training_flags,
    set_up_training,
)
from stages.errors import BadEdit, BadLine, Untrainable
from stages.files import hold_folders, remove_partials
from stages.interfaces import FitConfig, FitJob, NullProgress, Progress, Trainer, TrainingSet
from stages.models.checkpoints import identity_of
from stages.records.frozen import derive_seed
from stages.records.record import Record, Section, SelfEdit
from stages.records.schema import Line, TrainingData
from stages.records.thoughts import explain_no_answer
from stages.sources.repeats import UniqueLines
from stages.tokens.token_counts import count_untrainable
from stages.trainers.local import LocalTrainer
from stages.work import WHOLE_INPUT, Listing, Plan, Source, WholeSource, Work, describe_plan


@dataclass(frozen=True)
class PlannedLine:
    """A line to write: from a training job, or ready at once if its self-edit cannot be read."""

    record: Record
    job: FitJob | None = None
    line: Record | None = None


@dataclass(frozen=True)
class Adapt:
    """Fine-tunes the student on each self-edit, once per seed.

    `fit`: fields of FitConfig that are not to be the domain's defaults. `show_data`: list the training data instead.
    """

    out: Path = Path("adapters")  # where the adapter directories go
    seeds: int = 1  # adapters per self-edit
    show_data: bool = False
    split_newlines: bool | None = None  # None: the domain's default
    chat: bool | None = None
    trainer: LocalTrainer = LocalTrainer()
    fit: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    name: str = "adapt"
    needs: tuple[Section, ...] = ("edit",)

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work | Listing:
        source = source or WholeSource(records)
        if not source.facts.lines:
            return Listing(WHOLE_INPUT)
        domain = find_domain(source.facts.domains)
        refuse_training_flags(domain, self.fit, self.split_newlines, self.chat)
        config = replace(domain.defaults.fit, **self.fit)
        unnamed = self.show_data and self.trainer.model is None
        unnamed = unnamed and (not domain.measures_rows or source.facts.editors <= {"none", "unknown"})
        model = "" if unnamed else self.trainer.choose(source.facts.editors)
        domain = set_up_training(domain, TrainingSetup(config, self.seed, self.split_newlines, self.chat), model)
        way = domain.training_settings
        if self.show_data:
            return Listing({**way, **WHOLE_INPUT, "show_data": True}, show_data(records, domain=domain), len(records))
        pieces = LinePlanner(
            model,
            domain=domain,
            out=self.out,
            config=config,
            seeds=self.seeds,
            run_seed=self.seed,
            identity=identity_of(model),
        )
        source.sift(records, pieces.add)
        return self._prepare_training(model, pieces.found, config, domain, {**way, **WHOLE_INPUT})

    def _prepare_training(
        self,
        model: str,
        todo: Mapping[str, PlannedLine],
        config: FitConfig,
        domain: Domain,
        settings: Mapping[str, Any],
    ) -> Work:
        chosen = domain.chosen_by_edit and f", {domain.chosen_by_edit}"
        return Work(
            plan=plan(todo, self.trainer.make_check(model)),
            settings=lambda: {
                **settings,
                **{"trainer": self.trainer.name, "out": self.out, "seeds": self.seeds, "seed": self.seed},
                **{"fit": asdict(config), **self.trainer.settings(model)},
            },
            summary=describe_plan(f"train {len(todo)} adapters of {model}{chosen}", config),
            open=lambda finished: _Trainer(todo, self.trainer.load(model)),
            notes=describe_left_out(domain),
            count_misfits=lambda: count_untrainable(model, (piece.job for piece in todo.values() if piece.job)),
            claim=lambda: hold_folders([self.out]),
        )


@dataclass(frozen=True)
class _Trainer:
    todo: Mapping[str, PlannedLine]
    trainer: Trainer

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        return run(self.todo, self.trainer, keys=set(keys), progress=progress)

    def report(self) -> Iterable[str]:
        return ()


@dataclass
class LinePlanner:
    """Plans the lines to write, by their adapters' ids; `add` takes one record after another."""

    model: str
    _: KW_ONLY
    domain: Domain
    out: Path
    config: FitConfig = FitConfig()
    seeds: int = 1
    run_seed: int = 0
    identity: str | None = None  # what tells the model from others in ids, if its name does not
    found: dict[str, PlannedLine] = field(default_factory=dict, init=False)
    distinct: UniqueLines = field(default_factory=UniqueLines, init=False)
    names: ExampleNames = field(default_factory=ExampleNames, init=False)

    def add(self, record: Record) -> None:
        """Add the lines of one record. Raises BadLine for a self-edit that comes twice or contradicts its line."""
        edit, made = _edit_of(record), self._made(record)
        if made.keys() & self.found.keys():
            raise BadLine(f"self-edit {edit.id} of {record.task.name!r} occurs twice; each line must be another")
        self.distinct.add_task(record.task)
        self.found |= made

    def _made(self, record: Record) -> dict[str, PlannedLine]:
        edit, bare, base = _edit_of(record), record.grow(adapter=None, score=None), self.identity or self.model
        try:
            lesson = _lesson_of(self.domain, record)
        except (BadEdit, Untrainable) as error:
            adapter = make_untrained_adapter(edit, self.model, base, self.config, error)
            return {adapter.id: PlannedLine(bare, line=bare.grow(adapter=adapter))}
        own = [
            derive_seed(self.run_seed, edit.get_content_id(record.task.id), replica) for replica in range(self.seeds)
        ]
        jobs = (make_job(edit, lesson, base, self.config, seed, self.out, self.names) for seed in own)
        return {job.id: PlannedLine(bare, job) for job in jobs}


def plan(todo: Mapping[str, PlannedLine], intact: Callable[[Path], bool]) -> Plan:
    """Plan these lines. A finished one counts only while its adapter directory is `intact`."""

    def still_there(line: Record) -> bool:
        return line.adapter is None or line.adapter.path is None or intact(Path(line.adapter.path))

    wanted = {key: piece.record for key, piece in todo.items()}
    return Plan("adapter", wanted, lambda line: line.adapter.id if line.adapter else "", still_there)


def run(
    todo: Mapping[str, PlannedLine],
    trainer: Trainer,
    *,
    keys: Collection[str] | None = None,
    progress: Progress = NullProgress(),
) -> Iterator[Record]:
    """Train and yield these lines, or those of `keys`, as their PEFT directories become complete.

    A self-edit that cannot be read gives a line with its error and no adapter; the run goes on.
    """
    chosen = {key: piece for key, piece in todo.items() if keys is None or key in keys}
    yield from (piece.line for piece in chosen.values() if piece.line)
    progress.set_phase("preparing")
    jobs = {key: piece.job for key, piece in chosen.items() if piece.job}
    for folder in {job.out.parent for job in jobs.values()}:
        remove_partials(folder, jobs.keys())
    for result in trainer.fit(list(jobs.values()), progress):
        job = jobs.pop(result.id)
        yield chosen[result.id].record.grow(adapter=make_adapter(job, trainer.model, result))
    if jobs:
        raise RuntimeError(f"the trainer gave no result for {len(jobs)} jobs, the first is {next(iter(jobs))}")


def show_data(records: Iterable[Record], *, domain: Domain) -> Iterator[Line]:
    """Yield the training data of each self-edit, without training; none of one that its domain cannot use."""
    for each in records:
        edit = _edit_of(each)
        try:
            found: Line = domain.show_data(each.task, edit)
        except BadEdit:
            found = TrainingData(task_id=each.task.id, edit_id=edit.id, sequences=())
        yield found.model_copy(update={"meta": each.meta})


def _lesson_of(domain: Domain, record: Record) -> TrainingSet:
    """Return the training data of the line's self-edit. Raises BadEdit where it cannot be read.

    Raises Untrainable where none was written: the model could not be asked, or used all its tokens for thinking.
    """
    edit = _edit_of(record)
    if edit.text is None:
        raise Untrainable(
            f"there is no self-edit ({edit.error or explain_no_answer(edit.finish)}); run `seal generate` again"
        )
    if edit.error is not None:
        raise BadEdit(edit.error)
    return domain.make_training_set(record.task, edit)


def _edit_of(record: Record) -> SelfEdit:
    """Return the line's self-edit. Raises BadLine where there is none."""
    if record.edit is None:
        raise BadLine(f"task {record.task.id} has no edit (run `seal generate` first)")
    return record.edit
