"""What is learned behind a sequence: nothing, an end token, the official recipe's pads, or a sample of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import BadConfig
from stages.interfaces import Example, FitJob, TrainingSet
from stages.models.stacked_lora import LoraStack
from stages.settings import FitConfig, PadMode
from stages.tokens.tokenization import encode_training_set, pad_sequence
from stages.trainers.batched.attention import use_packed_attention
from stages.trainers.batched.lora_kernels import KERNELS, PackedLayout
from stages.trainers.batched.packing import PackedSequence, Packing
from stages.trainers.batched.trainer import BatchedLoraTrainer, find_target_layers
from stages.trainers.peft import PeftTrainer
from tests.conftest import make_model, make_tokenizer
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT32, FLOAT64, Weights, distance, exact_norms, sequence, weights_of
from tests.trainers.plain import encoded, hf_trainer, official_loss, plain_loop

TO = 60
FULL = FitConfig(rank=3, alpha=6.0, learning_rate=1e-2, epochs=2, pad_mode="full", pad_to=TO)
WORDS = "the door of the inn at the end of the road is blue and heavy"
TEXTS = ("The inn is red.", "a", "The door of the inn is blue and heavy.", "Who painted it? Ada.")


def make_job(folder: Path, config: FitConfig = FULL, *, name: str = "job") -> FitJob:
    return FitJob(name, TrainingSet(tuple(Example("", text) for text in TEXTS)), config, 11, folder / name)


# ---- the strata


@given(length=st.integers(1, 80), to=st.integers(2, 90), samples=st.none() | st.integers(1, 40))
def test_samples_stand_for_all_pads_that_predict_something(length: int, to: int, samples: int | None) -> None:
    tokens = pad_sequence(sequence(length), samples, max(length, to), token=1)
    count = max(0, to - 1 - length)
    if to <= length:
        assert tokens.pads is None
        return
    assert tokens.pads is not None
    assert sum(tokens.pads.weights) == count
    assert len(tokens.pads.positions) == min(count, count if samples is None else samples)
    edge = length
    for position, weight in zip(tokens.pads.positions, tokens.pads.weights, strict=True):
        assert edge <= position < edge + weight  # each lies in the stratum that it stands for
        edge += weight
    assert tokens.weight == to - 1  # as many targets as transformers has


def test_the_last_token_predicts_the_first_pad_and_the_prompt_stays_silent() -> None:
    tokens = pad_sequence(replace(sequence(4), prompt_tokens=2), None, 6, token=1)
    ids = tokens.ids
    assert tokens.cells == [
        (ids[0], 0, -100, 1),
        (ids[1], 1, ids[2], 1),
        (ids[2], 2, ids[3], 1),
        (ids[3], 3, 1, 1),
        (1, 4, 1, 1),
    ]


def test_a_stratum_is_represented_by_its_middle() -> None:
    pads = pad_sequence(sequence(10), 3, 40, token=1).pads  # 29 pads from 10 to 38
    assert pads is not None
    assert (pads.positions, pads.weights) == ((14, 24, 33), (10, 9, 10))


@pytest.mark.parametrize("text", ["", "pads", "sampled", "sampled:", "sampled:0", "sampled:-1", "sampled:x", "full:3"])
def test_an_unknown_mode_names_the_known_ones(text: str) -> None:
    with pytest.raises(BadConfig, match=r"take none, eos, full or sampled:M, for example sampled:32"):
        PadMode.parse(text)


def test_a_length_beyond_the_models_context_names_the_one_that_fits(model_dir: Path, tmp_path: Path) -> None:
    trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT32)
    with pytest.raises(BadConfig, match=r"--pad-to 2048: the model's context is 512; give --pad-to 512"):
        list(trainer.fit([make_job(tmp_path, replace(FULL, pad_to=2048))]))


# ---- full is the official recipe


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_full_is_the_official_recipe_in_float64(tmp_path: Path, kind: str, batch_size: int) -> None:
    folder = make_model(tmp_path / "model", kind)
    job = make_job(tmp_path / "plain", replace(FULL, batch_size=batch_size))
    expected, losses = plain_loop(folder, job, official_loss(TO), exact=True)
    for name, path, kind_of in (
        ("peft", None, PeftTrainer),
        ("bmm", "bmm", BatchedLoraTrainer),
        ("naive", "naive", BatchedLoraTrainer),
    ):
        trainer: Any = kind_of(str(folder), device=FLOAT64, **({"kernel": path} if path else {}))
        exact_norms(trainer.network)
        (result,) = trainer.fit([replace(job, out=tmp_path / name)])
        assert (result.loss_first, result.loss_last) == pytest.approx((losses[0], losses[-1]), abs=BEYOND_ROUNDING)
        assert distance(weights_of(tmp_path / name), expected) < BEYOND_ROUNDING, name


def mean_distance(first: Weights, second: Weights) -> float:
    return float(torch.cat([(first[name] - weight).abs().flatten() for name, weight in second.items()]).mean())


@pytest.mark.parametrize("mode", ["full", "none"])
def test_a_job_is_hf_trainers_own_within_hf_trainers_own_rounding(model_dir: Path, tmp_path: Path, mode: str) -> None:
    # On average: of single weights Adam amplifies the rounding by a hundred and more, of which ones depends on the CPU.
    job = replace(make_job(tmp_path, replace(FULL, pad_mode=mode)), seed=12)
    list(BatchedLoraTrainer(str(model_dir), device=FLOAT32).fit([job]))
    pad = TO if mode == "full" else 0
    single, double = (
        hf_trainer(model_dir, job, encoded(job), tmp_path / "hf", pad=pad, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert mean_distance(weights_of(job.out), single) < 1e-6
    assert mean_distance(single, {name: weight.float() for name, weight in double.items()}) < 1e-6
    other = hf_trainer(model_dir, job, encoded(job), tmp_path / "hf", pad=TO - pad)
    assert mean_distance(other, single) > 1e-4  # with or without pads is another recipe


def test_pads_behind_sequences_of_unlike_lengths_in_one_block_see_their_own_sequence_alone(
    model_dir: Path, tmp_path: Path
) -> None:
    config = replace(FULL, pad_mode="sampled:3", batch_size=4)
    lesson = TrainingSet(tuple(Example("", WORDS[:length]) for length in (40, 44, 48, 52)))  # one block, filled up
    for name, kind in (("peft", PeftTrainer), ("many", BatchedLoraTrainer)):
        trainer: Any = kind(str(model_dir), device=FLOAT64)
        exact_norms(trainer.network)
        list(trainer.fit([FitJob(name, lesson, config, 3, tmp_path / name)]))
    assert distance(weights_of(tmp_path / "many"), weights_of(tmp_path / "peft")) < BEYOND_ROUNDING


def test_the_paths_agree_on_pads_in_float32(model_dir: Path, tmp_path: Path) -> None:
    config = replace(FULL, rank=8, pad_mode="sampled:5", learning_rate=1e-3, epochs=1, batch_size=4)  # one step
    for path in KERNELS:
        job = make_job(tmp_path, config, name=path)
        (result,) = BatchedLoraTrainer(str(model_dir), device=FLOAT32, kernel=path).fit([job])
        assert result.error is None
    for path in KERNELS:
        gap = distance(weights_of(tmp_path / path), weights_of(tmp_path / "naive"))
        assert gap < 0.2 * config.learning_rate


def test_the_modes_are_different_recipes(model_dir: Path, tmp_path: Path) -> None:
    trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT32)
    modes = ("none", "eos", "sampled:3", "full")
    jobs = [make_job(tmp_path, replace(FULL, pad_mode=mode), name=mode.replace(":", "-")) for mode in modes]
    losses = {result.id: result.loss_first for result in trainer.fit(jobs)}
    assert len(set(losses.values())) == 4
    others = [distance(weights_of(jobs[3].out), weights_of(job.out)) for job in jobs[:3]]
    assert min(others) > 1e-4


# ---- sampled comes close to full


def gradient(trainer: BatchedLoraTrainer, mode: str) -> torch.Tensor:
    """Of one step on a model that is not at its start, flat."""
    config = replace(FULL, pad_mode=mode, pad_to=300)
    lesson = TrainingSet(tuple(Example("", text) for text in TEXTS))
    tokens = encode_training_set(make_tokenizer(), trainer.network, lesson, config)
    stack = LoraStack(trainer.network, find_target_layers(trainer.network, ()), rank=3, slots=1)
    stack.weights.copy_(0.2 * torch.randn(stack.weights.shape, generator=torch.Generator().manual_seed(5)))
    packing = Packing([PackedSequence(0, each, 1 / max(1, each.weight)) for each in tokens], torch.device("cpu"))
    with stack, use_packed_attention(trainer.network):
        stack.bind_gradients(1)
        stack.layout = PackedLayout(packing)
        hidden = trainer.network.base_model(**packing.inputs, packing=packing).last_hidden_state[0]
        chosen = packing.targets >= 0
        chances = trainer.network.get_output_embeddings()(hidden).log_softmax(-1)
        picked = chances[chosen].gather(1, packing.targets[chosen][:, None])[:, 0]
        (-picked * packing.weights[chosen]).sum().backward()
    return stack.grads[0].clone()


def test_sampled_approaches_full_as_the_samples_grow_and_ends_in_it(model_dir: Path) -> None:
    trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT64)
    full = gradient(trainer, "full")
    gaps = {
        samples: float((gradient(trainer, f"sampled:{samples}") - full).norm() / full.norm())
        for samples in (1, 8, 32, 299)
    }
    assert gaps[1] > gaps[8] > gaps[32] > gaps[299]
    assert gaps[32] < 0.05
    assert gaps[299] < 1e-12
    none = gradient(trainer, "none")
    assert float((none - full).norm() / full.norm()) > 10 * gaps[32]
