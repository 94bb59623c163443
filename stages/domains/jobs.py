"""Set a domain up for training, make jobs of self-edits, and adapter sections of their results."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.domains.base import Domain, TrainingSetup, refuse_flags
from stages.errors import BadEdit, BadLine, Untrainable
from stages.interfaces import Example, FitJob, FitResult, TrainingSet
from stages.records.frozen import content_id, derive_seed
from stages.records.record import Adapter, Record, SelfEdit, TrainStats
from stages.records.thoughts import explain_no_answer
from stages.settings import FitConfig, PadMode
from stages.sources.repeats import UniqueLines

if TYPE_CHECKING:
    from stages.tokens.token_counts import TokenCounter


@dataclass(frozen=True)
class PlannedLine:
    """A line to write: from a training job, or ready at once if its self-edit cannot be read."""

    record: Record
    job: FitJob | None = None
    line: Record | None = None


def make_lesson(domain: Domain, record: Record) -> TrainingSet:
    """Return the training data of the line's self-edit. Raises BadEdit where it cannot be read.

    Raises Untrainable where none was written: the model could not be asked, or used all its tokens for thinking.
    """
    edit = require_edit(record)
    if edit.text is None:
        raise Untrainable(
            f"there is no self-edit ({edit.error or explain_no_answer(edit.finish)}); run `seal generate` again"
        )
    if edit.error is not None:
        raise BadEdit(edit.error)
    return domain.make_training_set(record.task, edit)


def require_edit(record: Record) -> SelfEdit:
    """Return the line's self-edit. Raises BadLine where there is none."""
    if record.edit is None:
        raise BadLine(f"task {record.task.id} has no edit (run `seal generate` first)")
    return record.edit


class ExampleNames:
    """Names an adapter's examples in its id, computed once for training sets that share them."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[tuple[Example, ...], object]] = {}  # kept, so that no other gets the number

    def of(self, lesson: TrainingSet) -> object:
        """Return the examples themselves, or a digest if the self-edit chooses hyper-parameters: its rows are many."""
        if id(lesson.examples) not in self.known:
            every = [identify_example(example) for example in lesson.examples]
            self.known[id(lesson.examples)] = lesson.examples, content_id(every) if lesson.chosen else every
        return self.known[id(lesson.examples)][1]


def make_job(
    edit: SelfEdit, lesson: TrainingSet, base: str, config: FitConfig, seed: int, out: Path, names: ExampleNames
) -> FitJob:
    own = replace(config, **lesson.chosen)
    job_id = content_id(edit.id, base, seed, own.settings, names.of(lesson))
    return FitJob(job_id, lesson, own, seed, out / job_id)


def identify_example(example: Example) -> Mapping[str, object]:
    """Return what an adapter's id takes of an example."""
    text = {"prompt": example.prompt, "completion": example.completion}
    return {**text, "whole": True} if example.loss_on_prompt else text


def _fit_of(job: FitJob) -> dict[str, object]:
    """Return every hyper-parameter used; for examples with prompts also whether these were chats, and of its pool."""
    prompt = job.lesson.examples[0].prompt if job.lesson.examples else ""  # a lesson's are all of one kind
    told = {"replayed": job.lesson.replayed} if job.lesson.replayed else {}
    return {**job.config.settings, **({"chat": not isinstance(prompt, str)} if prompt else {}), **told, **job.about}


def make_adapter(job: FitJob, model: str, result: FitResult) -> Adapter:
    return Adapter(
        id=job.id,
        seed=job.seed,
        model=model,
        path=None if result.path is None else str(result.path),
        fit=_fit_of(job),
        train=None if result.error else TrainStats.model_validate(result, from_attributes=True),
        fault="training" if result.error else None,
        error=result.error,
    )


def make_untrained_adapter(edit: SelfEdit, model: str, base: str, config: FitConfig, error: ValueError) -> Adapter:
    """Make the section of a job that was not trained: an unusable self-edit is worth 0, a missing one is unscored."""
    chosen = edit.chosen.fit if edit.chosen else {}
    return Adapter(
        id=content_id(edit.id, base, "unreadable"),
        seed=0,
        model=model,
        path=None,
        fit={**config.settings, **chosen},
        train=None,
        fault="edit" if isinstance(error, BadEdit) else "training",
        error=str(error),
    )


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
        edit, made = require_edit(record), self._made(record)
        if made.keys() & self.found.keys():
            raise BadLine(f"self-edit {edit.id} of {record.task.name!r} occurs twice; each line must be another")
        self.distinct.add_task(record.task)
        self.found |= made

    def _made(self, record: Record) -> dict[str, PlannedLine]:
        edit, bare, base = require_edit(record), record.grow(adapter=None, score=None), self.identity or self.model
        try:
            lesson = make_lesson(self.domain, record)
        except (BadEdit, Untrainable) as error:
            adapter = make_untrained_adapter(edit, self.model, base, self.config, error)
            return {adapter.id: PlannedLine(bare, line=bare.grow(adapter=adapter))}
        own = [
            derive_seed(self.run_seed, edit.get_content_id(record.task.id), replica) for replica in range(self.seeds)
        ]
        jobs = (make_job(edit, lesson, base, self.config, seed, self.out, self.names) for seed in own)
        return {job.id: PlannedLine(bare, job) for job in jobs}

    def describe(self) -> str:
        """Add nothing to what a dry run says."""
        return ""

    def list_notes(self) -> Sequence[str]:
        """Tell nothing."""
        return ()


class Fitting:
    """Tells which rows fit the model, and counts those that do not."""

    def __init__(self, lengths: "TokenCounter") -> None:
        self.lengths, self.left_out = lengths, 0

    def __call__(self, example: Example) -> bool:
        fits = self.lengths.fits(example)
        self.left_out += not fits
        return fits


def describe_left_out(domain: object) -> list[str]:
    """Say how many training tasks were too long, if any."""
    fits = getattr(domain, "fits", None)
    if not isinstance(fits, Fitting) or not fits.left_out:
        return []
    model, most = fits.lengths.model, fits.lengths.limit
    return [f"note: {fits.left_out} training tasks are longer than {model}'s {most} tokens, and left out"]


def set_up_training(domain: Domain, setup: TrainingSetup, model: str) -> Domain:
    """Return the domain as `seal adapt` needs it, with the rows that fit the model; "" for no model."""
    if not model or not domain.measures_rows:
        return domain.set_up_training(setup)
    from stages.tokens.token_counts import TokenCounter

    padded = setup.config.pad_to if PadMode.parse(setup.config.pad_mode).padded else None
    return domain.set_up_training(replace(setup, fits=Fitting(TokenCounter(model, padded))))


def refuse_training_flags(
    domain: Domain, fit: Mapping[str, Any], split_newlines: bool | None, chat: bool | None
) -> None:
    """Raise BadConfig for flags of `seal adapt` that would do nothing for this domain."""
    flags: dict[str, object] = {f"--{field.replace('_', '-')}": str(value) for field, value in fit.items()}
    switches = {"split-newlines": split_newlines, "chat": chat}
    flags |= {f"--{'' if value else 'no-'}{flag}": True for flag, value in switches.items() if value is not None}
    refuse_flags(domain, "adapt", flags)
