"""Completing in batches against a naive loop without cache or batch; draws against softmax and a naive top_p."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, set_seed

from stages.engines import hf_decoding
from stages.engines.hf_decoding import (
    SHORTLIST,
    PromptRow,
    SeededSampling,
    add_noise,
    complete,
    derive_key,
    draw,
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


# ---- draws that depend on the request alone

CPU = torch.device("cpu")
NOWHERE = torch.zeros(0)  # the ids so far, which play no part
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0, 3.0])
DRAWS = 3000


def drawn(rows: list[Sampling], logits: torch.Tensor) -> list[int]:
    """The token that each row draws first."""
    return SeededSampling(rows, CPU)(NOWHERE, logits.expand(len(rows), -1)).argmax(-1).tolist()


def chi_square(tokens: list[int], chances: torch.Tensor) -> float:
    """Pearson's statistic of the counts against the chances, over the tokens that have one."""
    counts = torch.bincount(torch.tensor(tokens), minlength=len(chances))
    assert counts[chances == 0].sum() == 0
    expected = chances[chances > 0] * len(tokens)
    return float(((counts[chances > 0] - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_draws_of_many_seeds_follow_softmax(temperature: float) -> None:
    rows = [Sampling(temperature, 1.0, 1, seed) for seed in range(DRAWS)]
    chances = (LOGITS / temperature).softmax(-1)
    assert chi_square(drawn(rows, LOGITS), chances) < 35  # 7 degrees of freedom: one in 100,000
    assert chi_square(drawn(rows, LOGITS), LOGITS.softmax(-1).flip(0)) > 500  # the measure can fail


def test_draws_of_one_row_follow_softmax_step_after_step() -> None:
    sampler = SeededSampling([Sampling(1.0, 1.0, 1, 5)], CPU)
    tokens = [int(sampler(NOWHERE, LOGITS[None]).argmax()) for _ in range(DRAWS)]
    assert chi_square(tokens, LOGITS.softmax(-1)) < 35


def test_draws_under_top_p_follow_the_cut_softmax() -> None:
    rows = [Sampling(1.0, 0.8, 1, seed) for seed in range(DRAWS)]
    chances = naive_top_p(LOGITS, 0.8).softmax(-1)
    assert 1 < int((chances > 0).sum()) < len(LOGITS)
    assert chi_square(drawn(rows, LOGITS), chances) < 30


def naive_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Takes the likeliest tokens one by one until their mass reaches top_p."""
    shares, mass, kept = logits.double().softmax(-1).tolist(), 0.0, torch.full_like(logits, float("-inf"))
    for token in sorted(range(len(logits)), key=lambda place: -shares[place]):
        kept[token] = logits[token]
        mass += shares[token]
        if mass >= top_p:
            break
    return kept


def kept_by_draw(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The logits (rows, vocabulary) of the words that can be drawn, -inf for others."""
    noisy = draw(logits, top_p, keys_of((seed, 0) for seed in range(len(logits))))
    return logits.masked_fill(noisy == float("-inf"), float("-inf"))


@pytest.mark.parametrize("top_p", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_top_p_keeps_what_a_naive_construction_keeps(top_p: float) -> None:
    logits = torch.randn((20, 50), generator=torch.Generator().manual_seed(0)) * 2
    cut = kept_by_draw(logits, torch.full((20, 1), top_p))
    assert torch.equal(cut, torch.stack([naive_top_p(row, top_p) for row in logits]))


def test_top_p_may_need_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_decoding, "MAX_REJECTIONS", 0)
    flat = torch.randn((4, 40 * SHORTLIST), generator=torch.Generator().manual_seed(0)) / 10
    steep = 30 * flat[:1]
    logits = torch.cat([flat, steep])
    cut = kept_by_draw(logits, torch.full((5, 1), 0.9))
    assert torch.equal(cut, torch.stack([naive_top_p(row, 0.9) for row in logits]))
    kept = cut.isfinite().sum(-1)
    assert kept[:4].min() > 10 * SHORTLIST > SHORTLIST > kept[4]


def test_top_p_of_each_row_is_its_own() -> None:
    cut = kept_by_draw(LOGITS.repeat(3, 1), torch.tensor([[1.0], [0.5], [0.9]]))
    assert torch.equal(cut[0], LOGITS)
    assert torch.equal(cut[1], naive_top_p(LOGITS, 0.5))
    assert torch.equal(cut[2], naive_top_p(LOGITS, 0.9))


@pytest.mark.parametrize("temperature", [1e-5, 1e-38, 1e-42, 1e-300])
@pytest.mark.parametrize("top_p", [0.95, 1.0])
def test_a_temperature_close_to_zero_draws_the_likeliest(temperature: float, top_p: float) -> None:
    assert set(drawn([Sampling(temperature, top_p, 1, seed) for seed in range(5)], LOGITS)) == {7}


def test_rows_of_temperature_zero_stay_as_they_are() -> None:
    rows = [Sampling(0.0, 0.5, 1, 1), Sampling(1.0, 1.0, 1, 2), Sampling(0.0, 1.0, 1, 3)]
    scores = SeededSampling(rows, CPU)(NOWHERE, LOGITS.repeat(3, 1))
    assert torch.equal(scores[[0, 2]], LOGITS.repeat(2, 1))
    assert not torch.equal(scores[1], LOGITS)


def test_a_row_draws_the_same_alone_and_among_others() -> None:
    wanted = Sampling(1.0, 0.9, 1, 42)
    others = [Sampling(0.0), Sampling(2.0, 1.0, 1, 1), Sampling(1.0, 0.2, 1, 2)]
    alone = SeededSampling([wanted], CPU)
    among = SeededSampling([*others, wanted], CPU)
    for step in range(5):
        logits = torch.randn((4, 30), generator=torch.Generator().manual_seed(step))
        assert torch.allclose(alone(NOWHERE, logits[3:])[0], among(NOWHERE, logits)[3])


def test_different_seeds_draw_differently() -> None:
    first = [Sampling(1.0, 1.0, 1, 0), Sampling(1.0, 1.0, 1, 1)]
    scores = SeededSampling(first, CPU)(NOWHERE, LOGITS.repeat(2, 1))
    assert not torch.equal(scores[0], scores[1])


def test_the_models_scores_are_left_alone() -> None:
    scores = LOGITS.repeat(1, 1)
    SeededSampling([Sampling(0.5, 0.5, 1, 0)], CPU)(NOWHERE, scores)
    assert torch.equal(scores[0], LOGITS)


# ---- large vocabularies


def keys_of(draws: Iterable[tuple[int, int]]) -> torch.Tensor:
    """Of (seed, step)."""
    return torch.tensor([derive_key(seed, step) for seed, step in draws], dtype=torch.int32)


@pytest.mark.parametrize("tries", [8, 1, 0])
@pytest.mark.parametrize("top_p", [0.02, 0.3, 0.95, 1.0])
def test_a_draw_among_many_is_the_best_of_the_noisy_that_are_kept(
    monkeypatch: pytest.MonkeyPatch, top_p: float, tries: int
) -> None:
    monkeypatch.setattr(hf_decoding, "MAX_REJECTIONS", tries)
    logits = torch.randn((6, 60 * SHORTLIST), generator=torch.Generator().manual_seed(1)) / 4
    logits[0] *= 40  # few words reach top_p here, many in the others
    shares = torch.full((6, 1), top_p)
    keys = keys_of((seed, 3) for seed in range(6))
    kept = torch.stack([naive_top_p(row, top_p) for row in logits])
    expected = add_noise(kept, torch.arange(60 * SHORTLIST), keys).argmax(-1)
    assert torch.equal(draw(logits, shares, keys).argmax(-1), expected)


def make_wide(kind: str) -> torch.Tensor:
    """Logits (4, 3000): flat, steep, with many words exactly as likely, or with words that cannot be drawn."""
    logits = torch.randn((4, 3000), generator=torch.Generator().manual_seed(2))
    if kind == "ties":
        logits = logits.mul(2).round()
        logits[0] = 0.0
    if kind == "masked":
        logits[:, 40:] = float("-inf")
    return logits * {"flat": 0.1, "steep": 5.0}.get(kind, 1.0)


@pytest.mark.parametrize("kind", ["flat", "steep", "ties", "masked"])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.93, 1.0])
def test_a_draw_is_the_same_with_a_shortlist_of_any_width(
    monkeypatch: pytest.MonkeyPatch, kind: str, top_p: float
) -> None:
    logits, shares = make_wide(kind), torch.full((4, 1), top_p)
    everything = torch.arange(logits.shape[-1])
    chances = logits.softmax(-1)
    likelier = torch.stack(
        [(row[:, None] < row).float().mul(own).sum(-1) for row, own in zip(logits, chances, strict=True)]
    )
    kept = logits.masked_fill((likelier >= shares) & (likelier > 0), float("-inf"))
    for step in range(12):
        keys = keys_of((seed, step) for seed in range(4))
        expected = add_noise(kept, everything, keys).argmax(-1)
        for width in (1, 7, 64, 1024, 3000, 9999):
            monkeypatch.setattr(hf_decoding, "SHORTLIST", width)
            assert torch.equal(draw(logits, shares, keys).argmax(-1), expected), (step, width)


@pytest.mark.parametrize("vocabulary", [1, 2, 5])
@pytest.mark.parametrize("top_p", [0.0, 0.6, 1.0])
def test_a_tiny_vocabulary_is_drawn_from_with_a_shortlist_of_any_width(
    monkeypatch: pytest.MonkeyPatch, vocabulary: int, top_p: float
) -> None:
    logits = torch.tensor([[1.0, 1.0, 0.5, 1.0, -2.0], [0.0, 3.0, 1.0, 1.0, 1.0]])[:, :vocabulary]
    found = []
    for width in (1, 2, 64):
        monkeypatch.setattr(hf_decoding, "SHORTLIST", width)
        keys = [keys_of((seed, step) for seed in range(2)) for step in range(40)]
        found.append([draw(logits, torch.full((2, 1), top_p), each).argmax(-1).tolist() for each in keys])
    assert found[0] == found[1] == found[2]


def test_a_word_far_below_is_drawn_where_its_noise_is_the_largest_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hf_decoding, "SHORTLIST", 1)
    word, keys = 700, torch.tensor([[700, 0]], dtype=torch.int32)  # a hash of zeros is zero: the smallest chance
    logits = torch.full((1, 1000), -60.0)
    logits[0, 3] = 0.0
    noise = add_noise(torch.zeros(1, 1000), torch.arange(1000), keys)[0]
    for above, expected in ((0.01, word), (-0.01, 3)):
        logits[0, word] = noise[3] - noise[word] + above
        assert int(draw(logits, torch.ones(1, 1), keys).argmax()) == expected


@pytest.mark.parametrize("at_once", [1, 90, 10_000])
def test_a_row_draws_the_same_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    rows = [Sampling(0.0 if row == 2 else 0.5 + row / 4, 0.9, 1, row) for row in range(7)]
    logits = torch.randn((7, 30), generator=torch.Generator().manual_seed(3))
    expected = [drawn([row], own[None])[0] for row, own in zip(rows, logits, strict=True)]
    monkeypatch.setattr(hf_decoding, "_AT_ONCE", at_once)
    assert SeededSampling(rows, CPU)(NOWHERE, logits).argmax(-1).tolist() == expected


def test_a_draw_that_top_p_seldom_cuts_sorts_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "sort", lambda *each, **more: pytest.fail("sorted"))
    logits = torch.zeros(4, 40 * SHORTLIST)
    logits[:, 1000:1010] = 1.0  # no word is alike another by rounding alone
    for step in range(20):
        draw(logits, torch.full((4, 1), 0.95), keys_of((seed, step) for seed in range(4)))


def test_noise_is_gumbels_for_all_words_seeds_and_steps() -> None:
    words = torch.arange(50_000)
    keys = keys_of((seed, step) for seed in (0, 1, -1, 2**63 + 5) for step in (0, 1, 700))
    noise = add_noise(torch.zeros(12, 50_000), words, keys)
    assert bool(noise.isfinite().all())
    assert torch.allclose(noise.mean(1), torch.tensor(0.5772), atol=0.03)  # Euler's constant
    assert torch.allclose(noise.var(1), torch.tensor(torch.pi**2 / 6), atol=0.06)
    apart = torch.corrcoef(torch.cat([noise, noise[:1].roll(1, 1)])) - torch.eye(13)
    assert float(apart.abs().max()) < 0.03  # six standard deviations


def test_a_words_noise_does_not_depend_on_the_other_candidates() -> None:
    words = torch.tensor([[7, 200_000, 3], [3, 7, 1]])
    keys = keys_of([(5, 2)] * 2)
    first, second = add_noise(torch.zeros(2, 3), words, keys).tolist()
    assert (first[0], first[2]) == (second[1], second[0])


@pytest.mark.parametrize("top_p", [0.95, 1.0])
def test_the_only_word_that_can_be_drawn_is_drawn_with_any_noise(top_p: float) -> None:
    logits = torch.full((1, 9), -50.0)
    logits[0, 5] = 50.0
    worst = torch.tensor([[0, 89_543_499]], dtype=torch.int32)  # a key that gives word 5 the largest of all chances
    assert int(draw(logits, torch.tensor([[top_p]]), worst).argmax()) == 5
