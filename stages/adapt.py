"""edit → adapter: the student is fine-tuned on each self-edit, once per seed (SEAL section 3, inner loop)."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.domains.base import Domain, TrainingSetup, find_domain, refuse_flags
from stages.domains.jobs import (
    LinePlanner,
    PlannedLine,
    describe_left_out,
    make_adapter,
    make_lesson,
    refuse_training_flags,
    require_edit,
    set_up_training,
)
from stages.domains.pools import PoolPlanner, refuse_full, refuse_pool
from stages.domains.training.replay import add_replay, describe_replay
from stages.errors import BadConfig, BadEdit, refuse_given
from stages.files import hold_folders, remove_partials
from stages.gate import GateRule, UpdateGate, read_gate
from stages.interfaces import Engine, MappedProgress, NullProgress, Progress, Trainer
from stages.judges.factory import LocalJudge
from stages.records.frozen import content_id
from stages.records.record import Record, Section
from stages.records.schema import Line, TrainingData
from stages.records.stored.by_key import ItemsByKey
from stages.scoring.exams import refuse_other_tasks
from stages.scoring.grading import get_owner_id
from stages.sequence import SequencePlanner, SequenceWorker
from stages.settings import ALONE, FitConfig, Pooling
from stages.tokens.token_counts import count_untrainable
from stages.trainers.local import TRAINERS, LocalTrainer
from stages.work import WHOLE_INPUT, JudgeSource, Listing, Plan, Source, WholeSource, Work, describe_plan

if TYPE_CHECKING:
    from stages.trainers.stacking import StackingTrainer


@dataclass(frozen=True)
class Adapt:
    """Fine-tunes the student on each self-edit, once per seed.

    `fit`: fields of FitConfig that are not to be the domain's defaults. `show_data`: list the training data instead.
    """

    out: Path = Path("adapters")  # where the adapter directories go
    seeds: int = 1  # adapters per self-edit
    show_data: bool = False
    sequential: bool = False  # each self-edit is trained onto the model so far
    gate: float | None = None  # how far accuracy on the anchors may fall; an update that costs more is refused
    retain: Path | None = None  # the anchors
    judge: JudgeSource = field(default_factory=LocalJudge)  # grades the answers to them
    judge_given: str | None = None  # a judge that somebody chose: without a gate it would do nothing
    split_newlines: bool | None = None  # None: the domain's default
    chat: bool | None = None
    trainer: LocalTrainer = LocalTrainer()
    pooling: Pooling = ALONE
    replay: tuple[str, ...] = ()  # FILE:SHARE or self:SHARE
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
        refuse_pool(domain, self.pooling)
        gate = self._read_gate(domain)
        config = domain.defaults.fit.change(self.fit)
        self.trainer.check_config(config)
        if config.method == "full":
            refuse_full(self.pooling, self.sequential)
        unnamed = self.show_data and self.trainer.model is None
        measured = domain.measures_rows or self.pooling.max_tokens_budget is not None
        unnamed = unnamed and (not measured or source.facts.editors <= {"none", "unknown"})
        model = "" if unnamed else self.trainer.choose(source.facts.editors)
        domain = set_up_training(domain, TrainingSetup(config, self.seed, self.split_newlines, self.chat), model)
        pooled, lines = self.pooling.is_on, source.facts.lines
        ways = {"pooled": pooled, "sequential": self.sequential}
        domain = add_replay(domain, self.replay, records, self.seed, lines, **ways)
        way = {**domain.training_settings, **WHOLE_INPUT}
        way |= {"pool": self.pooling.settings} if pooled else {}
        pieces = self._make_planner(model, domain, config)
        if self.show_data:
            shown: Iterable[Line] = show_data(records, domain=domain)
            if isinstance(pieces, PoolPlanner):
                source.sift(records, pieces.add)
                shown = pieces.show()
            return Listing({**way, "show_data": True}, shown, len(records))
        if self.sequential:
            sequence = self._plan_sequence(model, domain, config, gate)
            refuse_other_tasks(source.sift(records, sequence.add), gate.anchors if gate else ())
            return self._prepare_sequence(model, sequence, way, gate)
        source.sift(records, pieces.add)
        return self._prepare_training(model, pieces, config, domain, way)

    def _make_planner(self, model: str, domain: Domain, config: FitConfig) -> "LinePlanner | PoolPlanner":
        settings: dict[str, Any] = {"domain": domain, "out": self.out, "config": config, "seeds": self.seeds}
        settings |= {"run_seed": self.seed, "identity": self.trainer.identify(model) if model else None}
        if not self.pooling.is_on:
            return LinePlanner(model, **settings)
        is_ours = self.trainer.name in TRAINERS and Path(model).is_dir()  # others read their models themselves
        return PoolPlanner(model, pooling=self.pooling, checks_length=bool(model) and is_ours, **settings)

    def _read_gate(self, domain: Domain) -> GateRule | None:
        if self.gate is None:
            refuse_given({"--judge": self.judge_given}, "it grades the anchors of a gate; give --gate X --retain FILE")
        refuse_flags(domain, "eval", {"--judge": self.judge_given})
        chat = domain.defaults.chat if self.chat is None else self.chat
        return read_gate(self.gate, self.retain, self.judge, domain, chat=chat, sequential=self.sequential)

    def _plan_sequence(self, model: str, domain: Domain, config: FitConfig, gate: GateRule | None) -> SequencePlanner:
        if self.trainer.name not in TRAINERS:
            raise BadConfig(f"--trainer {self.trainer.name}: only the trainers of seal build a sequence; leave it out")
        self.trainer.device.check_quantize(
            "--sequential merges each LoRA into the weights, which quantized ones cannot take; leave it out"
        )
        if every := self.trainer.checkpoint_every:
            raise BadConfig(
                f"--checkpoint-every {every}: a sequence goes on at the step that was stopped; leave it out"
            )
        base = self.trainer.identify(model)
        return SequencePlanner(
            content_id(base, gate.settings) if gate else base,  # another gate may leave another model
            model=model,
            make_lesson=lambda record: make_lesson(domain, record),
            out=self.out,
            config=config,
            seeds=self.seeds,
            run_seed=self.seed,
        )

    def _prepare_sequence(
        self, model: str, steps: SequencePlanner, settings: Mapping[str, Any], gate: GateRule | None
    ) -> Work:
        def open_worker(finished: Sequence[Record]) -> SequenceWorker:
            judge = gate.load_judge() if gate else None
            trainer = self.trainer.load_stack(model)
            opened = UpdateGate(gate, _make_answering(trainer), judge) if gate and judge else None
            return SequenceWorker(steps.found, trainer, finished, opened)

        jobs = [planned.job for planned in steps.found.values() if planned.job]
        what = f"train {len(steps.found)} self-edits onto {model}, each on the last"
        return Work(
            plan=steps.make_plan(self.trainer.make_check(model)),
            settings=lambda: {
                **settings,
                **{"sequential": "stack", "trainer": self.trainer.name, "out": self.out, "seeds": self.seeds},
                **({"gate": gate.settings} if gate else {}),
                **{"seed": self.seed, "fit": steps.config.settings, **self.trainer.settings(model)},
            },
            summary=describe_plan(f"{what}{gate.describe() if gate else ''}", steps.config.settings),
            open=open_worker,
            notes=gate.note_learned(planned.record for planned in steps.found.values()) if gate else (),
            count_misfits=lambda: count_untrainable(model, jobs),
            folders=[self.out],
            claim=lambda: hold_folders([self.out]),
        )

    def _prepare_training(
        self,
        model: str,
        pieces: "LinePlanner | PoolPlanner",
        config: FitConfig,
        domain: Domain,
        settings: Mapping[str, Any],
    ) -> Work:
        todo, chosen = ItemsByKey(pieces.found), domain.chosen_by_edit and f", {domain.chosen_by_edit}"
        jobs = {piece.job.id: piece.job for piece in todo.values() if piece.job}
        count = len(jobs) if self.pooling.is_on else len(todo)
        trainer = self.trainer.for_method(config.method)
        made = "adapters of" if config.method == "lora" else "models in full from"
        what = f"train {count} {made} {model}{chosen}{pieces.describe()}"
        return Work(
            plan=plan(todo, trainer.make_check(model)),
            settings=lambda: {
                **settings,
                **{"trainer": trainer.name, "out": self.out, "seeds": self.seeds, "seed": self.seed},
                **{"fit": config.settings, **trainer.settings(model)},
            },
            summary=describe_plan(what, config.settings),
            open=lambda finished: _Trainer(todo, trainer.load(model), finished),
            notes=[*describe_left_out(domain), *describe_replay(domain), *pieces.list_notes()],
            count_misfits=lambda: count_untrainable(model, jobs.values()),
            cost_of=_make_cost(todo),
            leased=todo,
            folders=[self.out],
            claim=lambda: hold_folders([self.out]),
        )


def _make_answering(trainer: "StackingTrainer") -> Engine:
    """Return an engine with the trainer's network, which is plain between two trainings."""
    if trainer.answering:
        return trainer.answering
    from stages.engines.hf import HFEngine  # late: it loads torch

    return HFEngine(trainer.model, loaded=(trainer.trainer.tokenizer, trainer.trainer.network))


def _make_cost(todo: Mapping[str, PlannedLine]) -> Callable[[str], float]:
    """Return what gives a line's cost beside others: the characters it is trained on, of a pool its share of them."""
    lines = Counter(piece.job.id for piece in todo.values() if piece.job)
    known: dict[str, float] = {}

    def cost_of(key: str) -> float:
        job = todo[key].job
        if job is None:
            return 0.0
        if job.id not in known:
            rows = sum(len(str(row.prompt)) + len(row.completion) for row in job.lesson.examples)
            known[job.id] = rows * job.config.epochs / lines[job.id]
        return known[job.id]

    return cost_of


@dataclass(frozen=True)
class _Trainer:
    todo: Mapping[str, PlannedLine]
    trainer: Trainer
    finished: Sequence[Record]

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        return run({key: self.todo[key] for key in keys}, self.trainer, known=self.finished, progress=progress)

    def report(self) -> Iterable[str]:
        return ()


def plan(todo: Mapping[str, PlannedLine], intact: Callable[[Path], bool]) -> Plan:
    """Plan these lines. A finished one counts only while its adapter directory is `intact`."""

    def still_there(line: Record) -> bool:
        return line.adapter is None or line.adapter.path is None or intact(Path(line.adapter.path))

    def job_of(key: str) -> str:
        job = todo[key].job
        return job.id if job else key

    wanted = {key: piece.record for key, piece in todo.items()}
    return Plan("adapter", wanted, get_owner_id, still_there, unit_of=job_of)


def run(
    todo: Mapping[str, PlannedLine],
    trainer: Trainer,
    *,
    known: Iterable[Record] = (),
    progress: Progress = NullProgress(),
) -> Iterator[Record]:
    """Train and yield these lines as their PEFT directories become complete.

    A self-edit that cannot be read gives a line with its error and no adapter; the run goes on. The adapter of a pool
    is not trained again where a `known` line has it.
    """
    yield from (piece.line for piece in todo.values() if piece.line)
    progress.set_phase("preparing")
    jobs = {piece.job.id: piece.job for piece in todo.values() if piece.job}
    lines: dict[str, list[str]] = {}
    for key, piece in todo.items():
        if piece.job:
            lines.setdefault(piece.job.id, []).append(key)
    for adapter in {line.adapter.id: line.adapter for line in known if line.adapter}.values():
        if jobs.pop(adapter.id, None):
            yield from (todo[key].record.grow(adapter=adapter) for key in lines[adapter.id])
    for folder in {job.out.parent for job in jobs.values()}:
        remove_partials(folder, jobs.keys())
    named = MappedProgress(progress, {name: tuple(keys) for name, keys in lines.items()})
    for result in trainer.fit(list(jobs.values()), named) if jobs else ():
        adapter = make_adapter(jobs.pop(result.id), trainer.model, result)
        yield from (todo[key].record.grow(adapter=adapter) for key in lines[result.id])
    if jobs:
        raise RuntimeError(f"the trainer gave no result for {len(jobs)} jobs, the first is {next(iter(jobs))}")


def show_data(records: Iterable[Record], *, domain: Domain) -> Iterator[Line]:
    """Yield the training data of each self-edit, without training; none of one that its domain cannot use."""
    for each in records:
        edit = require_edit(each)
        try:
            found: Line = domain.show_data(each.task, edit)
        except BadEdit:
            found = TrainingData(task_id=each.task.id, edit_id=edit.id, sequences=())
        yield found.model_copy(update={"meta": each.meta})
