"""edit → adapter: the student is fine-tuned on each self-edit, once per seed (SEAL section 3, inner loop)."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from stages.domains.base import Domain
from stages.engines.base import FitConfig, FitJob, FitResult, Lesson, Trainer, Unwatched, Watch
from stages.failures import BadEdit, BadInput
from stages.records import Adapter, Record, SelfEdit, TrainingData, TrainStats, content_id, edit_seed


def run(
    records: Iterable[Record],
    trainer: Trainer,
    *,
    domain: Domain,
    out: Path,
    config: FitConfig = FitConfig(),
    seeds: int = 1,
    run_seed: int = 0,
    watch: Watch = Unwatched(),
) -> Iterator[Record]:
    """`seeds` adapters of each self-edit as PEFT directories under `out`, as they finish.

    A self-edit that cannot be read gives a line with its error and no adapter; the run goes on.
    """
    jobs: dict[str, tuple[Record, FitJob]] = {}
    for record in records:
        edit = edit_of(record)
        try:
            lesson = domain.lesson(record.task, edit)
        except BadEdit as error:
            yield record.grow(adapter=_unreadable(edit, trainer.model, config, error), score=None)
            continue
        for replica in range(seeds):
            job = _job(edit, lesson, trainer.model, config, edit_seed(run_seed, record.task.id, edit, replica), out)
            if job.id in jobs:
                raise BadInput(f"self-edit {edit.id} of {record.task.title!r} occurs twice; each line must be another")
            jobs[job.id] = record, job
    for result in trainer.fit([job for _, job in jobs.values()], watch):
        record, job = jobs.pop(result.id)
        yield record.grow(adapter=_trained(job, trainer.model, result), score=None)
    if jobs:
        raise RuntimeError(f"the trainer gave no result for {len(jobs)} jobs, the first is {next(iter(jobs))}")


def show_data(records: Iterable[Record], *, domain: Domain) -> Iterator[TrainingData]:
    """The training sequences of each self-edit, without training."""
    for record in records:
        edit = edit_of(record)
        examples = domain.lesson(record.task, edit).examples
        sequences = tuple(f"{example.prompt}{example.completion}" for example in examples)
        yield TrainingData(task_id=record.task.id, edit_id=edit.id, sequences=sequences)


def edit_of(record: Record) -> SelfEdit:
    """The line's self-edit. Raises BadInput where there is none."""
    if record.edit is None:
        raise BadInput(f"task {record.task.id} has no edit (run `seal generate` first)")
    return record.edit


def _job(edit: SelfEdit, lesson: Lesson, model: str, config: FitConfig, seed: int, out: Path) -> FitJob:
    own = replace(config, **lesson.chosen)
    job_id = content_id(edit.id, model, seed, asdict(own), [asdict(example) for example in lesson.examples])
    return FitJob(job_id, lesson, own, seed, out / job_id)


def _trained(job: FitJob, model: str, result: FitResult) -> Adapter:
    return Adapter(
        id=job.id,
        seed=job.seed,
        model=model,
        path=None if result.path is None else str(result.path),
        fit=asdict(job.config),
        train=None if result.error else _stats(result),
        fault="training" if result.error else None,
        error=result.error,
    )


def _stats(result: FitResult) -> TrainStats:
    return TrainStats(
        sequences=result.sequences,
        tokens=result.tokens,
        steps=result.steps,
        loss_first=result.loss_first,
        loss_last=result.loss_last,
    )


def _unreadable(edit: SelfEdit, model: str, config: FitConfig, error: BadEdit) -> Adapter:
    return Adapter(
        id=content_id(edit.id, model, "unreadable"),
        seed=0,
        model=model,
        path=None,
        fit=asdict(config),
        train=None,
        fault="edit",
        error=str(error),
    )
