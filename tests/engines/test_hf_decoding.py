"""Completing in batches against a naive loop without cache or batch; draws against softmax and a naive top_p."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, set_seed

from stages.engines.hf_decoding import (
    PromptRow,
    complete,
    find_batching,
)
from stages.engines.hf_likelihood import MeasuredRow, measure_rows
from stages.settings import Sampling
from tests.models.architectures import make_architecture

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
GREEDY = Sampling(0.0)


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
    assert complete(network, [PromptRow(ids, LIMIT, GREEDY) for ids in PROMPTS], ends={0}, pad=0) == expected
    assert len({tuple(text) for text in expected}) > 4


def test_each_row_ends_at_its_own_limit_or_end_token_and_nothing_is_computed_after_the_last() -> None:
    network = make("rotary")
    free = [naive(network, ids, LIMIT) for ids in PROMPTS]
    ends = [0, free[1][2], free[3][4]]  # said in the middle of some answers
    rows = [PromptRow(ids, LIMIT - number, GREEDY) for number, ids in enumerate(PROMPTS)]
    expected = [naive(network, row.prompt, row.limit, ends) for row in rows]
    assert any(len(text) < row.limit for text, row in zip(expected, rows, strict=True))
    told: list[tuple[int, int]] = []
    with passes(network) as seen:
        report = lambda tokens, ended: told.append((tokens, ended))  # noqa: E731
        found = complete(network, rows, ends=set(ends), pad=0, report=report)
    assert found == expected
    assert len(seen) == len(told) == max(map(len, expected))
    assert sum(tokens for tokens, _ in told) == sum(map(len, expected))
    assert sum(ended for _, ended in told) == len(rows)


def test_transformers_has_nothing_to_say_of_how_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("warning", "warning_once"):
        monkeypatch.setattr(f"transformers.generation.utils.logger.{name}", lambda text, *more: pytest.fail(text))
    network = make("rotary")
    assert find_batching(network, {0}, 0) == "any"
    complete(network, [PromptRow(ids, LIMIT, GREEDY) for ids in PROMPTS], ends={0}, pad=0)


@pytest.mark.parametrize(
    ("dtype", "moved", "found"),
    [(torch.float32, [1], "none"), (torch.bfloat16, [1, 4], "any"), (torch.bfloat16, [0, 1, 3], "none")],
)
def test_in_16_bits_a_few_rows_that_rounding_moves_do_not_forbid_batches(
    dtype: torch.dtype, moved: list[int], found: str
) -> None:
    network = make("rotary").to(dtype)

    def move(layer: Any, given: Any, logits: torch.Tensor) -> torch.Tensor:
        if len(logits) > 1:
            logits[moved] = logits[moved].flip(-1)
        return logits

    network.lm_head.register_forward_hook(move)
    assert find_batching(network, {0}, 0) == found


@pytest.mark.parametrize(("share", "found"), [(0.22, "any"), (0.28, "none")])
def test_in_16_bits_rows_may_differ_by_a_quarter_of_their_spread(share: float, found: str) -> None:
    network = make("rotary").to(torch.bfloat16)

    def shift(layer: Any, given: Any, logits: torch.Tensor) -> torch.Tensor:
        if len(logits) == 1:
            return logits
        centred = logits - logits.mean(-1, keepdim=True)
        return logits + share * centred.roll(1, -1)  # as long as it was

    network.lm_head.register_forward_hook(shift)
    assert find_batching(network, {0}, 0) == found


@pytest.mark.parametrize(("kind", "found"), [("rwkv", "none"), ("recurrent_gemma", "equal"), ("mamba", "any")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batches_are_found_to_mix_rows_or_pads_in_any_precision(
    kind: str, found: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    make_architecture(kind, tmp_path / "model")
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=dtype)
    assert find_batching(network, {0}, 0) == found


@pytest.mark.parametrize("count", [1, 4])
def test_the_output_layer_multiplies_the_rows_of_a_batch_at_once(count: int) -> None:
    """Torch does so where their memory is one block without gaps; in bfloat16 it else copies the layer for each."""
    network, seen = make("rotary"), list[tuple[int, ...]]()
    network.lm_head.register_forward_hook(lambda layer, given, logits: seen.append(given[0].stride()))
    complete(network, [PromptRow(ids, 2, GREEDY) for ids in PROMPTS[:count]], ends=(), pad=0)
    measure_rows(network, [MeasuredRow(ids, 2) for ids in PROMPTS[:count]], 0)
    assert seen[:2] == [(32, 32, 1)] * 2
    assert seen[2][0] == 32 * (max(map(len, PROMPTS[:count])) - 1)
    assert not network.lm_head._forward_pre_hooks  # the model is left as it was


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(1.0, 0.9, LIMIT, 3)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_whose_logits_break_before_its_end_fails_alone_and_one_that_has_ended_is_whole(
    sampling: Sampling, bad: float
) -> None:
    """One row ends after its third token and breaks in the step behind that; another breaks in the middle."""
    network, breaks = make("rotary"), {1: 3, 2: 2}  # row → the step whose logits break, and all behind it
    rows = [PromptRow(ids, 3 if row == 1 else LIMIT, sampling) for row, ids in enumerate(PROMPTS[:4])]
    whole = complete(network, rows, ends=(), pad=0)
    told, step = list[tuple[int, int]](), -1

    def spoil(layer: Any, given: Any, logits: torch.Tensor) -> torch.Tensor:
        nonlocal step
        step += 1
        for row, first in breaks.items():
            if step >= first:
                logits[row, -1, 7] = bad
        return logits

    network.lm_head.register_forward_hook(spoil)
    found = complete(network, rows, ends=(), pad=0, report=lambda *each: told.append(each))
    assert found == [None if row == 2 else text for row, text in enumerate(whole)]
    assert told[2] == (4, 2)  # both end with their third token: the one is whole, nothing can be drawn for the other
    assert len(told) == LIMIT


def test_nothing_is_computed_behind_the_step_in_which_all_logits_broke() -> None:
    network = make("rotary")
    network.lm_head.weight[5] = float("nan")
    assert find_batching(network, {0}, 0) == "any"  # else the user would be told that batches are at fault
    with passes(network) as seen:
        assert complete(network, [PromptRow(ids, LIMIT, GREEDY) for ids in PROMPTS], ends={0}, pad=0) == [None] * 6
    assert len(seen) == 1
