"""Many adapters at once against peft one by one: whole runs in float64, neighbours, divergence, what is left behind."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
)

from stages.interfaces import Example, FitJob, FitResult, TrainingSet
from stages.models import device as device_module
from stages.models.device import Device
from stages.models.stacked_lora import LoraStack, SlotRows
from stages.settings import FitConfig
from stages.trainers.batched.loop import MAX_UNWRITTEN
from stages.trainers.batched.trainer import BatchedLoraTrainer, find_target_layers
from stages.trainers.peft import PeftTrainer
from tests.conftest import make_model
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT32, FLOAT64, distance, exact_norms, snapshot, weights_of
from tests.trainers.jobs import ALL, KINDS, SMALL, by_id, make_job, make_jobs, many


def same_results(first: FitResult, second: FitResult) -> bool:
    def bare(result: FitResult) -> FitResult:
        return replace(result, path=None, loss_first=0.0, loss_last=0.0)

    losses = (first.loss_first, first.loss_last)
    return bare(first) == bare(second) and losses == pytest.approx(
        (second.loss_first, second.loss_last), abs=BEYOND_ROUNDING
    )


# ---- a whole run is peft's


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """(a model, the folder of its adapters, their results) as the peft trainer makes them, one job at a time."""
    model, out = make_model(tmp_path_factory.mktemp("model"), request.param), tmp_path_factory.mktemp("peft")
    trainer = PeftTrainer(str(model), device=FLOAT64)
    exact_norms(trainer.network)
    return model, out, by_id(trainer.fit(make_jobs(out)))


@pytest.mark.parametrize(("path", "slots"), [("bmm", 3), ("naive", 2), ("bmm", 100)])
def test_every_job_of_a_mixed_run_is_what_peft_makes_of_it_alone(
    oracle: tuple[Path, Path, Any], tmp_path: Path, path: str, slots: int
) -> None:
    model, peft, expected = oracle
    found = by_id(many(model, kernel=path, slots=slots).fit(make_jobs(tmp_path)))
    assert found.keys() == expected.keys()
    for name, result in found.items():
        assert result.path == tmp_path / name
        assert same_results(result, expected[name])
        assert distance(weights_of(tmp_path / name), weights_of(peft / name)) < BEYOND_ROUNDING, name
    moved = [distance(weights_of(tmp_path / "0"), weights_of(tmp_path / name)) for name in ("1", "2", "3")]
    assert min(moved) > 1e-3  # the jobs are not alike, so that the comparison says something


def test_the_settings_of_an_adapter_are_those_that_peft_writes(oracle: tuple[Path, Path, Any], tmp_path: Path) -> None:
    model, peft, _ = oracle
    list(many(model).fit(make_jobs(tmp_path)))
    for number, (_, config) in enumerate(KINDS):
        found, expected = (
            json.loads((folder / str(number) / "adapter_config.json").read_text()) for folder in (tmp_path, peft)
        )
        targets = [set(settings.pop("target_modules")) for settings in (found, expected)]
        assert found == expected
        if config.targets == ALL:  # peft names each layer of each block
            targets[1] = {name.rpartition(".")[2] for name in targets[1]}
        assert targets[0] == targets[1]


@pytest.mark.parametrize("steps", [0, 1])
def test_rounding_is_all_that_differs_between_the_paths_in_float32(model_dir: Path, tmp_path: Path, steps: int) -> None:
    config = FitConfig(rank=8, alpha=16.0, learning_rate=1e-3, epochs=1, batch_size=5 if steps == 0 else 3)
    found = {}
    for path in ("naive", "bmm", "grouped_mm"):
        trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT32, kernel=path, slots=2)
        jobs = [make_job(tmp_path / path, number, config, texts=5) for number in range(3)]
        found[path] = by_id(trainer.fit(jobs))
    for path in ("bmm", "grouped_mm"):
        for name, result in found[path].items():
            expected = found["naive"][name]
            assert (result.loss_first, result.loss_last) == pytest.approx(
                (expected.loss_first, expected.loss_last), rel=1e-4
            )
            gap = distance(weights_of(tmp_path / path / name), weights_of(tmp_path / "naive" / name))
            assert gap < 0.2 * config.learning_rate  # Adam makes a step of a rounding error, but of few weights


def test_the_paths_agree_in_bfloat16_as_well_as_it_can_tell(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "has_fast_bfloat16", lambda: True)  # slow or not
    losses = {}
    for path in ("naive", "bmm", "grouped_mm"):
        trainer = BatchedLoraTrainer(str(model_dir), device=Device("cpu", "bfloat16"), kernel=path, slots=2)
        config = FitConfig(rank=8, alpha=16.0, learning_rate=1e-2, epochs=1)
        results = by_id(trainer.fit(make_job(tmp_path / path, number, config, texts=5) for number in range(3)))
        assert {weight.dtype for weight in weights_of(tmp_path / path / "0").values()} == {torch.float32}
        losses[path] = [loss for result in results.values() for loss in (result.loss_first, result.loss_last)]
    for path in ("bmm", "grouped_mm"):
        assert losses[path] == pytest.approx(losses["naive"], rel=0.03)


@pytest.mark.parametrize(("rank", "device"), [(3, FLOAT32), (8, FLOAT64)])
def test_what_the_grouped_kernel_cannot_take_goes_the_other_way(
    model_dir: Path, tmp_path: Path, rank: int, device: Device
) -> None:
    for path in ("grouped_mm", "bmm"):
        trainer = BatchedLoraTrainer(str(model_dir), device=device, kernel=path)
        list(trainer.fit(make_job(tmp_path / path, number, replace(SMALL, rank=rank)) for number in range(2)))
    for name in "01":
        assert distance(weights_of(tmp_path / "grouped_mm" / name), weights_of(tmp_path / "bmm" / name)) == 0.0


# ---- a job does not depend on its neighbours


@pytest.fixture(scope="module")
def alone(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapters of all jobs, each trained in a run of its own."""
    out, trainer = tmp_path_factory.mktemp("alone"), many(model_dir)
    for job in make_jobs(out):
        list(trainer.fit([job]))
    return out


@pytest.mark.parametrize(("slots", "turned"), [(1, True), (64, False)])
def test_a_job_is_the_same_alone_and_with_others_in_any_order(
    model_dir: Path, alone: Path, tmp_path: Path, slots: int, turned: bool
) -> None:
    jobs = make_jobs(tmp_path)
    list(many(model_dir, slots=slots).fit(jobs[::-1] if turned else jobs))
    for job in jobs:
        assert distance(weights_of(job.out), weights_of(alone / job.id)) < BEYOND_ROUNDING, job.id


@pytest.mark.parametrize(("path", "slots"), [("bmm", 2), ("bmm", 8), ("naive", 8)])
@pytest.mark.parametrize("rate", [1e30, math.inf])  # 1e30 alone does not end in NaN here, since norms are exact
def test_jobs_that_diverge_or_go_wild_end_alone(
    model_dir: Path, alone: Path, tmp_path: Path, path: str, rate: float, slots: int
) -> None:
    trainer = many(model_dir, kernel=path, slots=slots)
    wild = replace(SMALL, learning_rate=rate, targets=(), epochs=6, max_grad_norm=0.0)
    bad = [make_job(tmp_path, number, wild, texts=texts) for number, texts in ((20, 5), (21, 1), (22, 3))]
    good = [job for job in make_jobs(tmp_path) if job.config.rank == 3 and not job.config.targets]
    before = snapshot(trainer.network)
    results = by_id(trainer.fit([bad[0], *good, bad[1], bad[2]]))
    assert {name for name, result in results.items() if result.error} == ({"20", "21", "22"} if rate > 1e30 else set())
    for job in bad if rate > 1e30 else ():
        assert results[job.id].path is None
        assert str(results[job.id].error).startswith("training diverged: the loss is ")
        assert not job.out.exists()
    for job in good:
        assert distance(weights_of(job.out), weights_of(alone / job.id)) < BEYOND_ROUNDING, job.id
    assert snapshot(trainer.network) == before


def test_a_last_step_that_overflows_is_a_divergence_too(model_dir: Path, tmp_path: Path) -> None:
    huge = replace(SMALL, learning_rate=1e39, epochs=1, batch_size=5)  # one step: its only loss is still fine
    trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT32)
    results = by_id(trainer.fit([make_job(tmp_path, 1, huge), make_job(tmp_path, 2)]))
    assert (results["1"].path, results["1"].error) == (
        None,
        "training diverged: a weight is not finite after the last step",
    )
    assert results["2"].error is None


@pytest.mark.parametrize("trainer_class", [BatchedLoraTrainer, PeftTrainer])
def test_a_set_without_any_target_is_no_training(model_dir: Path, tmp_path: Path, trainer_class: Any) -> None:
    silent = FitJob("1", TrainingSet((Example("", "a"),)), replace(SMALL, pad_mode="none"), 1, tmp_path / "1")
    (result,) = trainer_class(str(model_dir), device=FLOAT64).fit([silent])
    assert (result.error, result.path, (tmp_path / "1").exists()) == ("there are no tokens to train on", None, False)


def test_sequences_of_one_token_train_beside_long_ones_as_peft_trains_them(model_dir: Path, tmp_path: Path) -> None:
    long = " ".join(f"{number} times {number} is {number**2}," for number in range(20))
    lessons = [["a", "Who?"], ["a", long[:200], "b", long[50:200]], [long[:154]]]
    config = replace(SMALL, pad_mode="none", epochs=3)

    def jobs(name: str) -> list[FitJob]:
        return [
            FitJob(f"{n}", TrainingSet(tuple(Example("", text) for text in texts)), config, n, tmp_path / name / f"{n}")
            for n, texts in enumerate(lessons)
        ]

    peft = PeftTrainer(str(model_dir), device=FLOAT64)
    exact_norms(peft.network)
    expected = by_id(peft.fit(jobs("peft")))
    found = by_id(many(model_dir, slots=2).fit(jobs("many")))
    for name in found:
        assert same_results(found[name], expected[name])
        assert distance(weights_of(tmp_path / "many" / name), weights_of(tmp_path / "peft" / name)) < BEYOND_ROUNDING


# ---- the order of things


def test_results_arrive_while_other_jobs_have_not_begun_longest_first(model_dir: Path, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, number, replace(SMALL, epochs=1 + number)) for number in range(MAX_UNWRITTEN + 4)]
    arrived = []
    for result in BatchedLoraTrainer(str(model_dir), device=FLOAT32, slots=1).fit(jobs[::2] + jobs[1::2]):
        assert (tmp_path / result.id / "adapter_model.safetensors").is_file()  # complete when its result arrives
        if not arrived:  # however slow the disk is
            assert not (tmp_path / "0").exists()
        arrived.append(result.id)
    assert arrived == [job.id for job in jobs[::-1]]


def test_a_short_job_does_not_wait_for_a_long_one(model_dir: Path, tmp_path: Path) -> None:
    long = make_job(tmp_path, 9, replace(SMALL, epochs=20), texts=5)
    shorts = [make_job(tmp_path, number, texts=1) for number in (1, 2, 3)]
    order = [result.id for result in BatchedLoraTrainer(str(model_dir), device=FLOAT32, slots=2).fit([*shorts, long])]
    assert order == ["1", "2", "3", "9"]


def test_no_jobs_are_no_results(model_dir: Path) -> None:
    assert list(BatchedLoraTrainer(str(model_dir), device=FLOAT32).fit([])) == []


# ---- what is left behind


@pytest.fixture
def fresh(model_dir: Path) -> BatchedLoraTrainer:
    return BatchedLoraTrainer(str(model_dir), device=FLOAT32, slots=2)


def test_the_model_is_itself_again_after_a_run(fresh: BatchedLoraTrainer, tmp_path: Path) -> None:
    before = snapshot(fresh.network)
    list(fresh.fit(make_jobs(tmp_path)))
    assert snapshot(fresh.network) == before


def test_the_model_is_itself_again_after_a_run_that_failed(fresh: BatchedLoraTrainer, tmp_path: Path) -> None:
    before = snapshot(fresh.network)
    (tmp_path / "file").write_text("in the way")
    blocked = replace(make_job(tmp_path, 2), out=tmp_path / "file" / "job")
    with pytest.raises(OSError, match="file"):
        list(fresh.fit([make_job(tmp_path, 1), blocked, make_job(tmp_path, 3)]))
    assert snapshot(fresh.network) == before
    assert len(list(fresh.fit([make_job(tmp_path / "again", 1)]))) == 1


def test_the_model_is_itself_again_when_the_consumer_stops_early(fresh: BatchedLoraTrainer, tmp_path: Path) -> None:
    before = snapshot(fresh.network)
    results = fresh.fit(make_jobs(tmp_path))
    first = next(results)
    results.close()  # type: ignore[attr-defined]
    assert snapshot(fresh.network) == before
    there = list(tmp_path.iterdir())  # others may have been finished in the same step
    assert first.id in {path.name for path in there}
    assert len(there) < len(KINDS)
    assert all((path / "adapter_model.safetensors").is_file() and path.suffix != ".part" for path in there)


def test_training_does_not_touch_the_global_generator(fresh: BatchedLoraTrainer, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    list(fresh.fit(make_jobs(tmp_path)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_run_on_the_same_trainer_gives_bitwise_the_same(fresh: BatchedLoraTrainer, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        list(fresh.fit(make_jobs(tmp_path / folder)))
    for number in range(len(KINDS)):
        assert distance(*(weights_of(tmp_path / folder / str(number)) for folder in ("a", "b"))) == 0.0


# ---- the directories


def test_peft_loads_an_adapter_and_gives_the_logits_of_the_stack(model_dir: Path, tmp_path: Path) -> None:
    config = replace(SMALL, targets=ALL, learning_rate=3e-2)
    trainer = many(model_dir)
    jobs = [make_job(tmp_path, number, config) for number in range(2)]
    list(trainer.fit(jobs))
    ids = torch.tensor([[9, 8, 70, 6, 120]])
    network = trainer.network
    stack = LoraStack(network, find_target_layers(network, ALL), rank=config.rank, slots=2)
    for slot, job in enumerate(jobs):
        stack.load_slot(slot, weights_of(job.out), config.alpha / config.rank)
    with stack, torch.no_grad():
        stack.set_weights(2, SlotRows.of([0, 1], 2, stack.device))
        found = network(input_ids=ids.expand(2, -1)).logits
    for slot, job in enumerate(jobs):
        base = exact_norms(AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float64))
        with torch.no_grad():
            plain = base(input_ids=ids).logits[0]
            expected = PeftModel.from_pretrained(base, str(job.out)).eval()(input_ids=ids).logits[0]
        assert float((found[slot] - expected).abs().max()) < BEYOND_ROUNDING
        assert float((expected - plain).abs().max()) > 0.01
