"""Completing in batches, against a naive loop without cache or batch, for models of several kinds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, set_seed

from stages.engines.hf_decoding import PromptRow, complete, left_pad
from stages.engines.hf_sampling import SeededSampling
from stages.interfaces import Sampling

USUAL = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "eos_token_id": 0}
WIDE = {**USUAL, "intermediate_size": 48, "num_key_value_heads": 1, "head_dim": 16, "bos_token_id": None}
LEARNED = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 300, "eos_token_id": 0}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "rotary": ("LlamaConfig", WIDE),
    "learned positions": ("GPT2Config", {**LEARNED, "bos_token_id": 0}),
    "learned positions from the mask": ("OPTConfig", {**USUAL, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "a window in some layers": (
        "Gemma3TextConfig",
        {**WIDE, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "parallel blocks": ("GPTNeoXConfig", {**USUAL, "intermediate_size": 48}),
    "a state instead of a cache": ("MambaConfig", USUAL),
    "states in some layers": ("Lfm2Config", {**WIDE, "layer_types": ["conv", "full_attention"]}),
    "no positions": ("MptConfig", {"d_model": 32, "n_heads": 2, "n_layers": 2, "vocab_size": 300}),
}
LIMIT = 9


def make(kind: str) -> Any:
    """A random model whose answers differ from prompt to prompt."""
    set_seed(1)
    config = getattr(transformers, KINDS[kind][0])(**KINDS[kind][1], pad_token_id=0)
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)
    for name, weight in network.named_parameters():
        if weight.ndim == 2 and "norm" not in name:
            weight.normal_(std=0.3)
    return network


def prompt(length: int, seed: int = 0) -> list[int]:
    return torch.randint(2, 300, (length,), generator=torch.Generator().manual_seed(100 * length + seed)).tolist()


PROMPTS = [prompt(4), *[prompt(14) + prompt(length) for length in (1, 8, 3)], prompt(10) + prompt(7), prompt(1)]


def naive(network: Any, ids: Sequence[int], count: int, ends: Sequence[int] = (0,)) -> list[int]:
    """The likeliest next token, up to an end token, which it keeps."""
    found: list[int] = []
    while len(found) < count and not (found and found[-1] in ends):
        with torch.inference_mode():
            found.append(int(network(input_ids=torch.tensor([[*ids, *found]])).logits[0, -1].argmax()))
    return found


def greedy(network: Any, rows: Sequence[PromptRow], ends: Sequence[int] = (0,), **more: Any) -> list[list[int]]:
    sampler = SeededSampling([Sampling(0.0)] * len(rows), torch.device("cpu"))
    return complete(network, rows, sampler, ends=set(ends), pad=0, **more)


@contextmanager
def passes(network: Any) -> Iterator[list[int]]:
    """The rows of every pass."""
    seen: list[int] = []
    hook = network.register_forward_pre_hook(
        lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gets_the_tokens_of_each_prompt_alone(kind: str) -> None:
    network = make(kind)
    expected = [naive(network, ids, LIMIT) for ids in PROMPTS]
    assert greedy(network, [PromptRow(ids, LIMIT) for ids in PROMPTS]) == expected
    assert len({tuple(text) for text in expected}) > 4


def test_each_row_ends_at_its_own_limit_or_end_token_and_nothing_is_computed_after_the_last() -> None:
    network = make("rotary")
    free = [naive(network, ids, LIMIT) for ids in PROMPTS]
    ends = [0, free[1][2], free[3][4]]  # said in the middle of some answers
    rows = [PromptRow(ids, LIMIT - number) for number, ids in enumerate(PROMPTS)]
    expected = [naive(network, row.prompt, row.limit, ends) for row in rows]
    assert any(len(text) < row.limit for text, row in zip(expected, rows, strict=True))
    told: list[tuple[int, int]] = []
    with passes(network) as seen:
        found = greedy(network, rows, ends, report=lambda tokens, ended: told.append((tokens, ended)))
    assert found == expected
    assert len(seen) == len(told) == max(map(len, expected))
    assert sum(tokens for tokens, _ in told) == sum(map(len, expected))
    assert sum(ended for _, ended in told) == len(rows)


def test_pads_are_on_the_left() -> None:
    ids, mask = left_pad([[5], [6, 7, 8]], 9, torch.device("cpu"))
    assert ids.tolist() == [[9, 9, 5], [6, 7, 8]]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]
