"""What the tests of the engines share: tokenizers of other habits, and adapters made without our own trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
from transformers.utils import logging

from stages.interfaces import Completion, Engine, Request
from tests.conftest import END, SIZES, make_tokenizer

logging.disable_progress_bar()
START = "<|im_start|>"


@pytest.fixture(scope="session")
def starting_tokenizer() -> PreTrainedTokenizerFast:
    """Puts a start token before every text."""
    return templated(f"{START} $A")


@pytest.fixture(scope="session")
def ending_tokenizer() -> PreTrainedTokenizerFast:
    """Puts the end token behind every text."""
    return templated(f"$A {END}")


def templated(template: str) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer._tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=[(END, 0), (START, 1)])
    return tokenizer


def make_adapter(
    base: Path, folder: Path, *, rank: int = 2, seed: int = 0, targets: tuple[str, ...] = (), dora: bool = False
) -> Path:
    """A PEFT directory with random weights on both sides, so that it changes the answers."""
    set_seed(seed)
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = LoraConfig(
        r=rank,
        lora_alpha=4 * rank,
        target_modules=list(targets) or None,
        init_lora_weights=False,
        use_dora=dora,
        task_type="CAUSAL_LM",
    )
    get_peft_model(network, settings).save_pretrained(folder)
    return folder


def make_llama(folder: Path, **sizes: int) -> Path:
    """A random Llama that differs from `model_dir` in these sizes."""
    set_seed(1)
    LlamaForCausalLM(LlamaConfig(**{**SIZES, **sizes})).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def answers(engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    """In the order of the requests, each exactly once."""
    found = list(engine.sample(requests))
    assert sorted(each.id for each in found) == sorted(each.id for each in requests)
    by_id = {each.id: each for each in found}
    return [by_id[each.id] for each in requests]


def naive(network: Any, prompt: str, count: int) -> list[int]:
    """The likeliest next token, `count` times or up to the end token, without a cache."""
    ids = list(make_tokenizer()(prompt)["input_ids"])
    start = len(ids)
    while len(ids) - start < count:
        with torch.inference_mode():
            following = int(network(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if following == 0:
            break
        ids.append(following)
    return ids[start:]
