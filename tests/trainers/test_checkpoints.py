"""Checkpoints by step: a training that died goes on behind the last of them, and ends with the same bits."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.files import TRAINING, TRAINING_FILE, remove_partials
from stages.interfaces import FitJob
from stages.trainers.batched.trainer import BatchedLoraTrainer
from tests.bits import LARGEST, promised
from tests.invented import Notes
from tests.trainers.exact import FLOAT32, FLOAT64, distance, weights_of
from tests.trainers.jobs import SMALL, Dying, by_id, make_job

LONG = replace(SMALL, epochs=4, batch_size=2, weight_decay=0.1)  # 12 steps for five texts


def most() -> float:
    """The largest difference of two weights that is allowed here."""
    return 0.0 if promised() else LARGEST


def train(model: Path, jobs: list[FitJob], notes: Notes, *, every: int | None = 5) -> Notes:
    trainer = BatchedLoraTrainer(str(model), device=FLOAT32, tokens_per_step=60, checkpoint_every=every)
    by_id(trainer.fit(jobs, notes))
    return notes


def die(model: Path, jobs: list[FitJob], last: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(model, jobs, Dying(last))


@pytest.fixture(scope="module")
def whole(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a training that nothing has interrupted, without checkpoints."""
    out = tmp_path_factory.mktemp("whole")
    train(model_dir, [make_job(out, 1, LONG, texts=5)], Notes(), every=None)
    return out / "1"


@pytest.mark.parametrize(("last", "kept"), [(4, 0), (5, 5), (9, 5), (11, 10)])
def test_a_training_that_died_goes_on_behind_its_last_checkpoint_to_the_same_bytes(
    model_dir: Path, whole: Path, tmp_path: Path, last: int, kept: int
) -> None:
    job = make_job(tmp_path, 1, LONG, texts=5)
    die(model_dir, [job], last)
    remove_partials(tmp_path, ["1"])  # as a run does that goes on
    assert (tmp_path / f"1{TRAINING}").exists() == bool(kept)
    notes = train(model_dir, [job], Notes())
    assert notes.notes == ([f"adapter 1 goes on behind step {kept} of 12"] if kept else [])
    assert (notes.stepped, sum(notes.tokens)) == (12, notes.expected)
    assert distance(weights_of(job.out), weights_of(whole)) <= most()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_each_job_of_many_goes_on_where_it_was(model_dir: Path, whole: Path, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, number, replace(LONG, epochs=3 + number), texts=5) for number in (1, 2, 3)]
    die(model_dir, jobs, 7)
    notes = train(model_dir, jobs, Notes())
    assert len(notes.notes) == 3
    assert distance(weights_of(tmp_path / "1"), weights_of(whole)) <= most()
    alone = [make_job(tmp_path / "alone", number, replace(LONG, epochs=3 + number), texts=5) for number in (2, 3)]
    train(model_dir, alone, Notes(), every=None)
    for job in alone:
        assert distance(weights_of(tmp_path / job.id), weights_of(job.out)) <= most()


@pytest.mark.parametrize("damage", ["torn", "another job", "another precision"])
def test_a_checkpoint_that_is_torn_or_another_trainings_is_not_taken_up(
    model_dir: Path, whole: Path, tmp_path: Path, damage: str
) -> None:
    job = make_job(tmp_path, 1, LONG, texts=5)
    other = replace(job, id="2") if damage == "another job" else job
    if damage == "another precision":
        trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT64, checkpoint_every=5)
        with pytest.raises(KeyboardInterrupt):
            list(trainer.fit([job], Dying(6)))
    else:
        die(model_dir, [other], 6)
    (file,) = tmp_path.glob(f"1{TRAINING}/{TRAINING_FILE}")
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:-40])
    assert train(model_dir, [job], Notes()).notes == []
    assert distance(weights_of(job.out), weights_of(whole)) <= most()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
