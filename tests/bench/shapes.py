"""Models to measure with, random weights in published shapes: speed does not depend on what they say.

`tiny` is the embedded one; `40M` has few words; the last two have a real model's vocabulary. Or the directory of one.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from bench_paper_round import ROOT, make_tokenizer
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    set_seed,
)

ENDS = {"eos_token_id": 0, "pad_token_id": 0, "bos_token_id": None, "tie_word_embeddings": True}


def random_40m() -> Any:
    """A Qwen3 of 40 M weights."""
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "head_dim": 64}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=16_000, **shape, **heads, **ENDS))


def qwen_half_b() -> Any:
    """The published config.json of Qwen2.5-0.5B."""
    shape = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "vocab_size": 151_936}
    heads = {"num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32_768}
    return Qwen2ForCausalLM(Qwen2Config(**shape, **heads, **ENDS))


def gemma_270m() -> Any:
    """The published config.json of gemma-3-270m: every sixth layer sees all, the others 512 tokens."""
    shape = {"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18, "vocab_size": 262_144}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "query_pre_attn_scalar": 256}
    lengths = {"sliding_window": 512, "max_position_embeddings": 32_768}
    return Gemma3ForCausalLM(Gemma3TextConfig(**shape, **heads, **lengths, **ENDS))


SHAPES: Mapping[str, Callable[[], Any]] = {
    "40M": random_40m,
    "qwen2.5-0.5b": qwen_half_b,
    "gemma3-270m": gemma_270m,
}
LARGE = ("qwen2.5-0.5b", "gemma3-270m")


def model_of(name: str, folder: Path, texts: Sequence[str]) -> Path:
    """The directory of a model: the embedded one, a random one with a tokenizer of the texts, or the named one."""
    if Path(name).is_dir():
        return Path(name)
    if name == "tiny":
        return ROOT / "examples/tiny/model"
    set_seed(0)
    network = SHAPES[name]()
    if name in LARGE:
        network.to(torch.bfloat16)  # half the disk; it is loaded in float32
    network.save_pretrained(folder)
    make_tokenizer(texts, network.config.vocab_size).save_pretrained(folder)
    return folder
