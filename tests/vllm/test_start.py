"""vLLM with other models: the tiny one, and those that it cannot run."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM

from stages.engines.hf import HFEngine
from stages.engines.vllm import VLLMEngine
from stages.engines.vllm_start import RANKS
from stages.errors import BadConfig, BadInput, OutOfMemory
from stages.models.device import Device
from tests.conftest import ROOT, make_tokenizer
from tests.engines.test_hf_adapters import make_adapter
from tests.tiny_models import answers, make_llama
from tests.vllm.conftest import FLOAT32, NEEDS_VLLM, SIZES, TINY, ask, running

pytestmark = NEEDS_VLLM


def test_the_tiny_model_answers_its_own_questions_alike(tmp_path: Path) -> None:
    settings = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
    adapters = {name: make_adapter(TINY, tmp_path / name, seed, settings) for seed, name in enumerate("AB")}
    with (ROOT / "examples" / "tiny" / "heldout.jsonl").open(encoding="utf-8") as lines:
        tasks = [json.loads(line)["task"] for line in islice(lines, 5)]
    questions = [f"Topic: {each['title']}\nQuestion: {each['questions'][0]['question']}\nAnswer:" for each in tasks]
    requests = [each for name in ("", "A", "B") for each in ask(name, adapters, questions)]
    expected = answers(HFEngine(str(TINY), device=FLOAT32), requests)
    with running(TINY, max_rank=8, slots=2, memory_fraction=0.2) as engine:
        assert answers(engine, requests) == expected
    assert {each.finish for each in expected} == {"stop", "length"}


def test_the_ranks_are_those_that_vllm_takes() -> None:
    from typing import get_args

    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == RANKS


def start(folder: Path, **settings: object) -> None:
    VLLMEngine(str(folder), **{"device": FLOAT32, **settings})  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has attention for it")
def test_heads_of_a_size_that_vllm_has_no_attention_for_are_said_before_the_work(tmp_path: Path) -> None:
    small = make_llama(tmp_path, **{**SIZES, "hidden_size": 32})
    with pytest.raises(BadInput, match=r"--model .*: vLLM cannot run it: .*head_dim=16.*; use --engine hf"):
        start(small)


def test_an_architecture_that_vllm_does_not_have_is_said(tmp_path: Path) -> None:
    config = GPTNeoConfig(
        hidden_size=64, num_layers=1, num_heads=2, attention_types=[[["global"], 1]], vocab_size=300, eos_token_id=0
    )
    GPTNeoForCausalLM(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        BadInput, match=r"vLLM cannot run it: Model architectures \['GPTNeo.* not supp.*; use --engine hf"
    ):
        start(tmp_path)


def test_a_model_that_vllm_has_no_lora_for_is_said(tmp_path: Path) -> None:
    sizes = {"n_positions": 64, "n_embd": 64, "n_layer": 1, "n_head": 2, "vocab_size": 300}
    GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        BadInput, match=r"vLLM cannot run it: GPT2LMHeadModel does not support LoRA yet; use --engine hf"
    ):
        start(tmp_path, max_rank=8)


def test_a_checkpoint_without_all_weights_is_refused(tmp_path: Path) -> None:
    folder = make_llama(tmp_path, **SIZES)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        BadConfig, match=r"no weights for model.layers.1.self_attn.q_proj.weight; the checkpoint is not"
    ):
        start(folder)


def test_a_share_of_the_memory_that_is_not_free_is_said(llama: Path) -> None:
    with pytest.raises(
        OutOfMemory, match=r"--memory-fraction 0.999: so much memory is not free .*; take a smaller one"
    ):
        start(llama, memory_fraction=0.999)


def test_a_share_of_the_memory_that_holds_no_context_is_said(llama: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"--memory-fraction 0.001: no room for .*'s context .*; take a larger one"):
        start(llama, memory_fraction=0.001)


def test_a_precision_that_vllm_does_not_have_is_refused(llama: Path) -> None:
    with pytest.raises(BadConfig, match="--dtype float64: vLLM takes float32 or bfloat16; use --engine hf"):
        start(llama, device=Device("auto", "float64"))
