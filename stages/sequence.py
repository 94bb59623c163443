"""Self-edits one after the other, each trained onto the model so far (SEAL section 5): plan the steps and make them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stages.domains.jobs import ExampleNames, make_adapter, make_job, make_untrained_adapter
from stages.errors import BadEdit, BadLine, Crashed, Untrainable
from stages.files import remove_partials
from stages.gate import UpdateGate
from stages.interfaces import FitJob, NullProgress, Progress, TrainingSet
from stages.records.frozen import content_id, derive_seed
from stages.records.record import Adapter, Gate, Record, SelfEdit, Step
from stages.scoring.grading import get_owner_id
from stages.services.base import report_judge
from stages.settings import FitConfig
from stages.sources.repeats import UniqueLines
from stages.work import Plan

if TYPE_CHECKING:
    from stages.trainers.stacking import StackingTrainer

_UNCHANGED = "the model stays as it was"


@dataclass(frozen=True)
class PlannedStep:
    """A line to write: the step, and its job; or `untrained`, where its self-edit cannot be used."""

    record: Record
    step: Step
    out: Path
    config: FitConfig
    job: FitJob | None = None
    untrained: Adapter | None = None


@dataclass
class SequencePlanner:
    """Plans the steps in the order of the lines, by their adapters' ids; `seeds` sequences beside each other.

    An id follows from the self-edit and from all before it: another order is another sequence.
    """

    base: str  # the model, or what tells it from others of its name
    _: KW_ONLY
    model: str
    make_lesson: Callable[[Record], TrainingSet]
    out: Path
    config: FitConfig
    seeds: int = 1
    run_seed: int = 0
    found: dict[str, PlannedStep] = field(default_factory=dict, init=False)
    last: dict[int, Step | None] = field(default_factory=dict, init=False)
    ids: dict[int, str] = field(default_factory=dict, init=False)
    distinct: UniqueLines = field(default_factory=UniqueLines, init=False)
    names: ExampleNames = field(default_factory=ExampleNames, init=False)

    def add(self, record: Record) -> None:
        """Add the next step of every sequence. Raises BadLine for a self-edit that comes twice."""
        edit = record.edit
        if edit is None:
            raise BadLine(f"task {record.task.id} has no edit (run `seal generate` first)")
        self.distinct.add(record.task, (record.task.id, edit.id), f"self-edit {edit.id} occurs twice")
        found: TrainingSet | ValueError
        try:
            found = self.make_lesson(record)
        except (BadEdit, Untrainable) as error:
            found = error
        for sequence in range(self.seeds):
            self._add_step(record, edit, found, sequence)

    def _add_step(self, record: Record, edit: SelfEdit, found: TrainingSet | ValueError, sequence: int) -> None:
        last = self.last.get(sequence)
        step = Step(sequence=sequence, number=last.number + 1 if last else 0, before=self.ids.get(sequence))
        ground, bare = content_id("step", step.before or self.base, sequence), record.grow(adapter=None, score=None)
        if isinstance(found, ValueError):
            adapter = make_untrained_adapter(edit, self.model, ground, self.config, found)
            planned = PlannedStep(bare, step, self.out / adapter.id, self.config, untrained=adapter)
        else:
            seed = derive_seed(self.run_seed, edit.get_content_id(record.task.id), sequence)
            job = make_job(edit, found, ground, self.config, seed, self.out, self.names)
            planned = PlannedStep(bare, step, job.out, job.config, job)
        self.last[sequence], self.ids[sequence] = step, planned.out.name
        self.found[planned.out.name] = planned

    def make_plan(self, intact: Callable[[Path], bool]) -> Plan:
        """Plan these lines. A finished one counts only while its adapter directory is `intact`."""

        def still_there(line: Record) -> bool:
            return bool(line.adapter and line.adapter.path and intact(Path(line.adapter.path)))

        wanted = {key: planned.record for key, planned in self.found.items()}
        return Plan(
            "adapter", wanted, get_owner_id, still_there, unit_of=lambda key: str(self.found[key].step.sequence)
        )


@dataclass(frozen=True)
class SequenceWorker:
    """Makes the steps that are not finished, each on what the one before it has left."""

    steps: Mapping[str, PlannedStep]
    trainer: "StackingTrainer"
    finished: Sequence[Record]
    gate: UpdateGate | None = None

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        for folder in {planned.out.parent for planned in self.steps.values()}:
            remove_partials(folder, self.steps.keys())
        paths = {line.adapter.id: line.adapter.path for line in self.finished if line.adapter}
        before, lost = dict[int, Path](), dict[int, PlannedStep]()
        if self.gate and not self.gate.baseline:
            self.gate.open(self.finished, progress)
        for key, planned in self.steps.items():
            sequence = planned.step.sequence
            if (path := paths.get(key)) is not None:
                before[sequence] = Path(path)
            elif key not in keys:
                lost[sequence] = planned
            elif sequence in lost:
                raise Crashed(_explain_lost(lost[sequence]))
            else:
                adapter = self._make_step(planned, before.get(sequence), progress)
                before[sequence] = planned.out
                yield planned.record.grow(adapter=adapter)

    def _make_step(self, planned: PlannedStep, before: Path | None, progress: Progress) -> Adapter:
        """Train a step; one that fails or is refused leaves the model as it was, and its directory has that."""
        step, found = planned.step, list[Gate]()

        def accept(path: Path) -> bool:
            assert self.gate is not None  # noqa: S101
            found.append(self.gate.try_update(path, progress))
            return not found[-1].refused

        if planned.job:
            if self.gate:
                progress.set_phase("training")
            result = self.trainer.fit_on(before, planned.job, progress, accept if self.gate else None)
            adapter = make_adapter(planned.job, self.trainer.model, result)
        else:
            assert planned.untrained is not None  # noqa: S101
            path = self.trainer.keep(before, planned.config, planned.out)
            adapter = planned.untrained.model_copy(update={"path": str(path)})
        error = f"{adapter.error}; {_UNCHANGED}" if adapter.error else None
        step = step.model_copy(update={"gate": found[0]}) if found else step
        return adapter.model_copy(update={"step": step, "error": error})

    def report(self) -> Iterable[str]:
        """Say what a gate's judge has cost; each line has said the rest."""
        return report_judge(self.gate.judge) if self.gate else ()


def _explain_lost(planned: PlannedStep) -> str:
    name, number = planned.record.task.name, planned.step.number
    return (
        f"step {number} of the sequence, the self-edit of {name!r}, kills its worker, and those behind it would be "
        "trained on another model than they name: take its line out of the input, and the same command goes on"
    )
