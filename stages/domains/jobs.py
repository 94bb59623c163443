"""Make training jobs of self-edits, and adapter sections of their results."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from stages.errors import BadEdit
from stages.interfaces import Example, FitConfig, FitJob, FitResult, TrainingSet
from stages.records.frozen import content_id
from stages.records.record import Adapter, SelfEdit, TrainStats


class ExampleNames:
    """Names an adapter's examples in its id, computed once for training sets that share them."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[tuple[Example, ...], object]] = {}  # kept, so that no other gets the number

    def of(self, lesson: TrainingSet) -> object:
        """Return the examples themselves, or a digest if the self-edit chooses hyper-parameters: its rows are many."""
        if id(lesson.examples) not in self.known:
            every = [_identity(example) for example in lesson.examples]
            self.known[id(lesson.examples)] = lesson.examples, content_id(every) if lesson.chosen else every
        return self.known[id(lesson.examples)][1]


def make_job(
    edit: SelfEdit, lesson: TrainingSet, base: str, config: FitConfig, seed: int, out: Path, names: ExampleNames
) -> FitJob:
    own = replace(config, **lesson.chosen)
    job_id = content_id(edit.id, base, seed, asdict(own), names.of(lesson))
    return FitJob(job_id, lesson, own, seed, out / job_id)


def _identity(example: Example) -> Mapping[str, object]:
    text = {"prompt": example.prompt, "completion": example.completion}
    return {**text, "whole": True} if example.loss_on_prompt else text


def _fit_of(job: FitJob) -> dict[str, object]:
    """Return every hyper-parameter used; for examples with prompts also whether these were chats."""
    prompt = job.lesson.examples[0].prompt if job.lesson.examples else ""  # a lesson's are all of one kind
    return {**asdict(job.config), **({"chat": not isinstance(prompt, str)} if prompt else {})}


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
        fit={**asdict(config), **chosen},
        train=None,
        fault="edit" if isinstance(error, BadEdit) else "training",
        error=str(error),
    )
