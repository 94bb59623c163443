"""The peft trainer against an independent loop, transformers' schedules and HF Trainer; and what it leaves behind."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    TrainingArguments,
    get_scheduler,
    set_seed,
)

from stages.errors import BadConfig, NoSpace
from stages.interfaces import Example, FitJob, TrainingSet
from stages.models.device import Device
from stages.settings import FitConfig
from stages.trainers.batched.trainer import BatchedLoraTrainer
from stages.trainers.jobs import make_schedule
from stages.trainers.peft import PeftTrainer
from tests.conftest import files_of_at_most, make_tokenizer
from tests.invented import Notes
from tests.trainers.exact import BEYOND_ROUNDING
from tests.trainers.plain import encoded, hf_trainer, plain_loop

FLOAT64, FLOAT32 = Device("cpu", "float64"), Device("cpu", "float32")
TEXTS = ("The inn is red.", "a", "The door of the inn is blue and heavy.", "Who painted it? Ada.", "It is old")
SMALL = FitConfig(rank=3, alpha=6.0, learning_rate=1e-2, epochs=2)
Weights = Mapping[str, torch.Tensor]


def make_job(folder: Path, config: FitConfig = SMALL, *, name: str = "job", seed: int = 11) -> FitJob:
    lesson = TrainingSet((*(Example("", text) for text in TEXTS[:-1]), Example("Is it old? ", TEXTS[-1])))
    return FitJob(name, lesson, config, seed, folder / name)


def weights_of(folder: Path) -> Weights:
    return load_file(folder / "adapter_model.safetensors")


def same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trainer(model_dir: Path) -> PeftTrainer:
    return PeftTrainer(str(model_dir), device=FLOAT32)


# ---- the same training written down a second time


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, batch_size=2, accumulation=2, warmup_steps=1, schedule="constant", weight_decay=0.1),
        replace(SMALL, batch_size=4, pad_mode="none", targets=("k_proj", "down_proj"), max_grad_norm=0.0),
        replace(SMALL, batch_size=3, max_grad_norm=0.05),
    ],
    ids=["paper", "accumulated", "unclipped", "clipped"],
)
def test_a_whole_training_equals_an_independent_loop(model_dir: Path, tmp_path: Path, config: FitConfig) -> None:
    job = make_job(tmp_path, config)
    (result,) = PeftTrainer(str(model_dir), device=FLOAT64).fit([job])
    expected, losses = plain_loop(model_dir, job)
    found = weights_of(tmp_path / "job")
    assert found.keys() == expected.keys()
    assert all(weight.dtype == torch.float64 for weight in found.values())
    assert max(float((found[name] - expected[name]).abs().max()) for name in found) < BEYOND_ROUNDING
    assert (result.loss_first, result.loss_last) == pytest.approx((losses[0], losses[-1]), abs=BEYOND_ROUNDING)
    assert (result.steps, result.sequences) == (len(losses), len(TEXTS))
    assert result.tokens == sum(len(ids) for ids, _ in encoded(job))


def test_a_qwen3_trains_as_the_independent_loop_does(qwen_dir: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, replace(SMALL, batch_size=2))
    list(PeftTrainer(str(qwen_dir), device=FLOAT64).fit([job]))
    expected, _ = plain_loop(qwen_dir, job)
    found = weights_of(tmp_path / "job")
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) < BEYOND_ROUNDING


def test_a_training_in_float32_is_close_to_hf_trainers(model_dir: Path, trainer: PeftTrainer, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(trainer.fit([job]))
    expected, found = hf_trainer(model_dir, job, encoded(job), tmp_path / "hf"), weights_of(tmp_path / "job")
    assert max(float((found[name] - expected[name]).abs().max()) for name in found) < 1e-5


@pytest.mark.parametrize(("warmup_steps", "ratio"), [(0, 0.0), (3, 0.0), (20, 0.0), (0, 0.03), (0, 0.3), (0, 0.9)])
@pytest.mark.parametrize(
    ("schedule", "theirs"), [("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")]
)
def test_schedules_are_those_of_transformers(
    schedule: Any, theirs: str, warmup_steps: int, ratio: float, tmp_path: Path
) -> None:
    config, steps = FitConfig(schedule=schedule, warmup_steps=warmup_steps, warmup_ratio=ratio), 12
    factor = make_schedule(config, steps)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    warmup_steps = TrainingArguments(str(tmp_path), warmup_steps=warmup_steps or ratio).get_warmup_steps(steps)
    scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps)
    for step in range(steps):
        assert factor(step) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-15)
        optimizer.step()
        scheduler.step()


def test_without_the_end_token_each_sequence_has_one_token_less(trainer: PeftTrainer, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, name="eos"), make_job(tmp_path, replace(SMALL, pad_mode="none"), name="none")]
    eos, none = trainer.fit(jobs)
    assert eos.tokens - none.tokens == len(TEXTS)


# ---- seeds, neighbours, and what is left behind


def test_the_same_seed_gives_the_same_weights_whatever_the_neighbours(trainer: PeftTrainer, tmp_path: Path) -> None:
    dropped = replace(SMALL, dropout=0.3)  # dropout draws too
    first, second = make_job(tmp_path / "a", dropped, name="1"), make_job(tmp_path / "a", dropped, name="2", seed=12)
    list(trainer.fit([first, second]))
    torch.manual_seed(99)
    again = [replace(second, out=tmp_path / "b" / "2"), replace(first, out=tmp_path / "b" / "1")]
    assert [result.id for result in trainer.fit(again)] == ["2", "1"]
    for name in ("1", "2"):
        assert same(weights_of(tmp_path / "a" / name), weights_of(tmp_path / "b" / name))
    assert not same(weights_of(tmp_path / "a" / "1"), weights_of(tmp_path / "a" / "2"))


def test_training_does_not_touch_the_global_generator(trainer: PeftTrainer, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(trainer.fit([make_job(tmp_path)]))
    assert torch.equal(torch.rand(3), expected)


def snapshot(network: Any) -> tuple[list[str], Weights, list[bool]]:
    parts = [f"{name}: {type(part).__name__}" for name, part in network.named_modules()]
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    return parts, weights, [weight.requires_grad for weight in network.parameters()]


def assert_untouched(network: Any, before: tuple[list[str], Weights, list[bool]]) -> None:
    parts, weights, gradients = snapshot(network)
    assert parts == before[0]
    assert same(weights, before[1])
    assert gradients == before[2]
    assert not network.training


@pytest.fixture
def fresh(model_dir: Path) -> PeftTrainer:
    return PeftTrainer(str(model_dir), device=FLOAT32)


def test_the_base_model_is_untouched_by_a_training(fresh: PeftTrainer, tmp_path: Path) -> None:
    before = snapshot(fresh.network)
    list(fresh.fit([make_job(tmp_path), make_job(tmp_path, replace(SMALL, targets=("all-linear",)), name="all")]))
    assert_untouched(fresh.network, before)


def test_the_base_model_is_untouched_by_a_training_that_failed(fresh: PeftTrainer, tmp_path: Path) -> None:
    before = snapshot(fresh.network)
    (tmp_path / "file").write_text("in the way")
    blocked = replace(make_job(tmp_path), out=tmp_path / "file" / "job")
    with pytest.raises(OSError, match="file"):
        list(fresh.fit([blocked]))
    assert_untouched(fresh.network, before)


def test_a_job_that_diverges_fails_alone(fresh: PeftTrainer, tmp_path: Path) -> None:
    before = snapshot(fresh.network)
    wild = replace(SMALL, learning_rate=1e30, targets=("q_proj", "k_proj"))
    jobs = [make_job(tmp_path, name="1"), make_job(tmp_path, wild, name="2"), make_job(tmp_path, name="3")]
    first, bad, last = fresh.fit(jobs)
    assert bad.path is None
    assert bad.error is not None
    assert bad.error.startswith("training diverged: the loss is nan at step ")
    assert (first.error, last.error) == (None, None)
    assert same(weights_of(tmp_path / "1"), weights_of(tmp_path / "3"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]
    assert_untouched(fresh.network, before)


def test_a_last_step_that_overflows_is_a_divergence_too(trainer: PeftTrainer, tmp_path: Path) -> None:
    huge = replace(SMALL, learning_rate=1e39, epochs=1, batch_size=5)  # one step: its only loss is still fine
    (result,) = trainer.fit([make_job(tmp_path, huge)])
    assert (result.path, result.error) == (None, "training diverged: a weight is not finite after the last step")


def test_a_job_that_cannot_be_trained_is_a_result_and_the_onlooker_hears_of_the_others(
    fresh: PeftTrainer, tmp_path: Path
) -> None:
    long = FitJob("long", TrainingSet((Example("", "word " * 600),)), SMALL, 1, tmp_path / "long")
    empty = FitJob("empty", TrainingSet(()), SMALL, 1, tmp_path / "empty")
    for trainer in (fresh, BatchedLoraTrainer(fresh.model, device=FLOAT32)):
        progress = Notes()
        results = {result.id: result for result in trainer.fit([long, empty, make_job(tmp_path)], progress)}
        assert str(results["long"].error).endswith(
            "longer than the model's context of 512; split the passage into several tasks"
        )
        assert results["empty"].error == "there are no tokens to train on"
        assert (results["job"].error, results["long"].path, results["empty"].path) == (None, None, None)
        assert progress.expected == sum(progress.tokens) == SMALL.epochs * results["job"].tokens
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


# ---- directories


def test_an_adapter_directory_is_complete_and_peft_loads_it(
    trainer: PeftTrainer, model_dir: Path, tmp_path: Path
) -> None:
    (result,) = trainer.fit([make_job(tmp_path / "new" / "folder")])
    assert result.path == tmp_path / "new" / "folder" / "job"
    assert {path.name for path in result.path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    assert [path.name for path in result.path.parent.iterdir()] == ["job"]
    network = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(network, str(result.path))
    assert same(get_peft_model_state_dict(loaded), weights_of(result.path))


def test_a_directory_that_is_there_is_replaced_whole(trainer: PeftTrainer, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "adapter_model.bin").write_text("old")
    list(trainer.fit([make_job(tmp_path)]))
    assert [path.name for path in tmp_path.iterdir()] == ["job"]
    assert not (tmp_path / "job" / "adapter_model.bin").exists()


def test_a_directory_is_absent_when_its_writing_fails(trainer: PeftTrainer, tmp_path: Path) -> None:
    with files_of_at_most(3000), pytest.raises(OSError, match="File too large"):
        list(trainer.fit([make_job(tmp_path)]))
    assert not (tmp_path / "job").exists()


# ---- targets


@pytest.mark.parametrize("targets", [("query",), ("q_proj", "query"), ("input_layernorm",)])
def test_an_unknown_target_names_the_models_own_layers(
    fresh: PeftTrainer, tmp_path: Path, targets: tuple[str, ...]
) -> None:
    before = snapshot(fresh.network)
    with pytest.raises(BadConfig) as caught:
        list(fresh.fit([make_job(tmp_path, replace(SMALL, targets=targets))]))
    assert str(caught.value) == (
        f"--target {targets[-1]}: not in this model, which has "
        "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj; or give --target all-linear"
    )
    assert_untouched(fresh.network, before)


def test_a_layer_that_is_given_but_is_not_there_is_not_called_missing(fresh: PeftTrainer, tmp_path: Path) -> None:
    job = make_job(tmp_path, replace(SMALL, targets=("layers.9.self_attn.q_proj",)))
    with pytest.raises(BadConfig, match=r"--target layers.9.self_attn.q_proj: no such layer; take of down_proj, "):
        list(fresh.fit([job]))


def test_all_linear_adapts_every_layer_of_the_blocks(trainer: PeftTrainer, tmp_path: Path) -> None:
    list(trainer.fit([make_job(tmp_path, replace(SMALL, targets=("all-linear",)))]))
    layers = {name.split(".")[-3] for name in weights_of(tmp_path / "job")}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_an_architecture_without_default_targets_asks_for_one(tmp_path: Path) -> None:
    set_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "eos_token_id": 0, "bos_token_id": None}
    config = Phi3Config(**sizes, **ids, intermediate_size=48, num_key_value_heads=1, max_position_embeddings=128)
    Phi3ForCausalLM(config).save_pretrained(tmp_path / "phi")
    make_tokenizer().save_pretrained(tmp_path / "phi")
    trainer = PeftTrainer(str(tmp_path / "phi"), device=FLOAT32)
    words = "no --target given, and peft has no default for this architecture: give --target all-linear, or take of "
    with pytest.raises(BadConfig, match=words):
        list(trainer.fit([make_job(tmp_path)]))
    (result,) = trainer.fit([make_job(tmp_path, replace(SMALL, targets=("qkv_proj",)))])
    assert result.error is None
    shutil.rmtree(tmp_path / "phi")


@pytest.mark.parametrize("kind", [PeftTrainer, BatchedLoraTrainer])
def test_a_disk_that_cannot_hold_the_adapters_is_said_before_the_first_is_trained(
    kind: Any, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list(kind(str(model_dir)).fit([make_job(tmp_path / "fits")]))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2 * 9_000))
    with pytest.raises(NoSpace, match=r"full: 2 adapters need 0\.\d MB and 0\.0 MB are free; free some, or give"):
        list(kind(str(model_dir)).fit([replace(make_job(tmp_path / "full"), id=name) for name in "ab"]))
    assert made[0].error is None
    assert not (tmp_path / "full").exists()
