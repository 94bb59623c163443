"""Pools in the trainers: many sequences and one adapter, in float64 as peft trains it, and 2,000 of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from stages.domains.pools import PoolPlanner
from stages.domains.qa import QA
from stages.interfaces import Example, FitJob, TrainingSet
from stages.records.record import Record
from stages.settings import FitConfig, Pooling
from stages.trainers.batched.trainer import BatchedLoraTrainer
from stages.trainers.peft import PeftTrainer
from tests.invented import Notes, a_task, an_edit
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT32, FLOAT64, distance, exact_norms, weights_of
from tests.trainers.jobs import SMALL, by_id, many
from tests.trainers.plain import plain_loop

# SEAL v1's continued pretraining: three epochs of four sequences, two of these a step
CPT = FitConfig(rank=3, alpha=6.0, learning_rate=1e-2, epochs=3, batch_size=4, accumulation=2)


def pool_jobs(folder: Path, *by: str, seeds: int = 2) -> list[FitJob]:
    """The jobs of five tasks with two self-edits each, of one pool or one for each title."""
    pooling = Pooling(pool=True, pool_by=by[0] if by else None)
    planner = PoolPlanner("student", domain=QA(), out=folder, pooling=pooling, config=CPT, seeds=seeds)
    for title in ("Ada", "Bo", "Cy", "Di", "Eve"):
        for n in range(2):
            edit = an_edit(a_task(title), n, f"{title} line {n}.\nThe house of {title} is {n} miles from Velm.")
            planner.add(Record(task=a_task(title), edit=edit))
    return list({piece.job.id: piece.job for piece in planner.found.values() if piece.job}.values())


@pytest.mark.parametrize("by", [(), ("task.title",)])
def test_a_pool_is_what_peft_makes_of_its_sequences_one_by_one(
    model_dir: Path, tmp_path: Path, by: tuple[str, ...]
) -> None:
    peft = PeftTrainer(str(model_dir), device=FLOAT64)
    exact_norms(peft.network)
    expected = by_id(peft.fit(pool_jobs(tmp_path / "peft", *by)))
    trainer = many(model_dir, tokens_per_step=100)  # several passes a step
    found = by_id(trainer.fit(pool_jobs(tmp_path / "many", *by)))
    assert len(found) == (10 if by else 2)
    for name, result in found.items():
        assert (result.error, result.sequences) == (None, 6 if by else 30)
        assert (result.steps, result.tokens) == (expected[name].steps, expected[name].tokens)
        assert distance(weights_of(tmp_path / "many" / name), weights_of(tmp_path / "peft" / name)) < BEYOND_ROUNDING


def test_a_pool_is_shuffled_anew_in_each_epoch_and_steps_take_eight_of_its_sequences(
    model_dir: Path, tmp_path: Path
) -> None:
    (job,) = pool_jobs(tmp_path, seeds=1)
    (result,) = many(model_dir).fit([job])
    weights, losses = plain_loop(model_dir, job, exact=True)
    assert result.steps == len(losses) == 3 * 4
    assert (result.loss_first, result.loss_last) == pytest.approx((losses[0], losses[-1]), abs=BEYOND_ROUNDING)
    assert distance(weights_of(job.out), weights) < BEYOND_ROUNDING
    base = AutoModelForCausalLM.from_pretrained(model_dir)
    assert PeftModel.from_pretrained(base, str(job.out)).peft_config["default"].r == 3


def test_a_pool_of_two_thousand_sequences_is_trained_step_by_step(model_dir: Path, tmp_path: Path) -> None:
    texts = tuple(Example("", f"{n} is in the passage.") for n in range(2000))
    config = replace(SMALL, rank=8, epochs=1, batch_size=40, accumulation=2)
    notes = Notes()
    trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT32, tokens_per_step=400)
    (result,) = trainer.fit([FitJob("pool", TrainingSet(texts), config, 1, tmp_path / "pool")], notes)
    assert (result.error, result.sequences, result.steps) == (None, 2000, 25)
    assert (notes.steps, notes.stepped, notes.expected) == (25, 25, result.tokens)
    assert sum(notes.tokens) == result.tokens
    assert max(notes.tokens) <= 400  # no pass holds more, however many sequences there are
    assert result.loss_last < result.loss_first
