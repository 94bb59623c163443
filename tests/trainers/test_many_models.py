"""The batched trainer on other architectures: the same as peft, or refused with the way out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    set_seed,
)

from stages.errors import BadConfig
from stages.trainers.batched import chunked_loss
from stages.trainers.batched.trainer import BatchedLoraTrainer
from stages.trainers.peft import PeftTrainer
from tests.conftest import make_tokenizer
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT32, FLOAT64, distance, exact_norms, snapshot, weights_of
from tests.trainers.jobs import SMALL, by_id, make_job


@pytest.fixture
def fresh(model_dir: Path) -> BatchedLoraTrainer:
    return BatchedLoraTrainer(str(model_dir), device=FLOAT32, slots=2)


# ---- what is refused


def test_dropout_is_refused_before_anything_is_trained(fresh: BatchedLoraTrainer, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, 1), make_job(tmp_path, 2, replace(SMALL, dropout=0.1))]
    with pytest.raises(BadConfig, match=r"--dropout 0.1: .*use --trainer peft"):
        list(fresh.fit(jobs))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("targets", [("query",), ("q_proj", "query"), ("input_layernorm",)])
def test_an_unknown_target_is_refused_as_peft_refuses_it(
    fresh: BatchedLoraTrainer, model_dir: Path, tmp_path: Path, targets: tuple[str, ...]
) -> None:
    before = snapshot(fresh.network)
    job = make_job(tmp_path, 1, replace(SMALL, targets=targets))
    words = []
    for trainer in (fresh, PeftTrainer(str(model_dir), device=FLOAT32)):
        with pytest.raises(BadConfig) as caught:
            list(trainer.fit([job]))
        words.append(str(caught.value))
    assert words[0] == words[1]
    assert f"--target {targets[-1]}: not in this model, which has " in words[0]
    assert snapshot(fresh.network) == before


def test_the_output_layer_is_left_to_peft(fresh: BatchedLoraTrainer, tmp_path: Path) -> None:
    before = snapshot(fresh.network)
    with pytest.raises(BadConfig, match=r"layer lm_head: .*use --trainer peft"):
        list(fresh.fit([make_job(tmp_path, 1, replace(SMALL, targets=("q_proj", "lm_head")))]))
    assert snapshot(fresh.network) == before


# ---- other architectures: the same as peft, or refused

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "eos_token_id": 0,
    "bos_token_id": None,
    "pad_token_id": 0,
}
ROTARY: dict[str, Any] = {**SIZES, "num_key_value_heads": 1, "intermediate_size": 48, "initializer_range": 0.2}


def saved(network: Any, folder: Path) -> Path:
    network.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


# As Qwen2.5-0.5B (biases on q, k and v, several queries a key) and Gemma 3 270M (one key head, scaled embeddings and
# queries, norms around each block, a window in most layers and another base of positions there), both tied.
QWEN2 = {**ROTARY, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
GEMMA3 = {
    **ROTARY,
    "num_attention_heads": 4,
    "head_dim": 16,
    "query_pre_attn_scalar": 24,
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    "sliding_window": 128,
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Qwen2ForCausalLM(Qwen2Config(**QWEN2)),
        lambda: MistralForCausalLM(MistralConfig(**ROTARY)),
        lambda: Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA3)),
        lambda: OPTForCausalLM(OPTConfig(dropout=0.0, ffn_dim=48, word_embed_proj_dim=32, **SIZES)),
    ],
    ids=["qwen2", "mistral", "gemma3", "opt"],
)
def test_other_architectures_train_as_peft_trains_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    monkeypatch.setattr(chunked_loss, "CHUNK_WORDS", {"cpu": 70})  # of 300 words
    set_seed(0)
    folder = saved(make(), tmp_path / "model")
    config = replace(SMALL, targets=("q_proj", "v_proj"))
    peft, trainer = PeftTrainer(str(folder), device=FLOAT64), BatchedLoraTrainer(str(folder), device=FLOAT64, slots=2)
    for network in (peft.network, trainer.network):
        exact_norms(network)
    for name, each in (("peft", peft), ("many", trainer)):
        list(each.fit([make_job(tmp_path / name, number, config, texts=2 + number) for number in range(3)]))
    gaps = [distance(weights_of(tmp_path / "peft" / name), weights_of(tmp_path / "many" / name)) for name in "012"]
    assert max(gaps) < BEYOND_ROUNDING


def test_a_sequence_beyond_a_sliding_window_ends_alone(tmp_path: Path) -> None:
    set_seed(0)
    folder = saved(MistralForCausalLM(MistralConfig(sliding_window=40, **ROTARY)), tmp_path / "model")
    config = replace(SMALL, targets=("q_proj", "v_proj"))
    trainer = BatchedLoraTrainer(str(folder), device=FLOAT32)
    results = by_id(trainer.fit(make_job(tmp_path / "out", n, config, texts=texts) for n, texts in ((1, 4), (2, 5))))
    assert results["1"].error is None
    assert str(results["2"].error).endswith("longer than the model's window of 40; use --trainer peft")
    (result,) = PeftTrainer(str(folder), device=FLOAT32).fit([make_job(tmp_path / "peft", 2, config, texts=5)])
    assert result.error is None


def test_targets_named_and_targets_by_default_share_a_stack(
    fresh: BatchedLoraTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    own = BatchedLoraTrainer._fit_group
    monkeypatch.setattr(
        BatchedLoraTrainer, "_fit_group", lambda self, *each: (sizes.append(len(each[2])), own(self, *each))[1]
    )
    list(fresh.fit([make_job(tmp_path, 1), make_job(tmp_path, 2, replace(SMALL, targets=("v_proj", "q_proj")))]))
    assert sizes == [2]


def test_layers_of_gpt2_are_left_to_peft(tmp_path: Path) -> None:
    set_seed(0)
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(n_positions=64, n_embd=32, n_layer=1, n_head=2, vocab_size=300, **quiet)
    trainer = BatchedLoraTrainer(str(saved(GPT2LMHeadModel(config), tmp_path / "model")), device=FLOAT32)
    with pytest.raises(BadConfig, match=r"c_attn: .*use --trainer peft"):
        list(trainer.fit([make_job(tmp_path / "out", 1)]))
