"""Draws against softmax and a naive top_p; what a row draws depends on its request alone."""

from collections.abc import Iterable

import pytest
import torch

from stages.engines import hf_sampling
from stages.engines.hf_sampling import SHORTLIST, SeededSampling, add_noise, derive_key, draw
from stages.settings import Sampling

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
    monkeypatch.setattr(hf_sampling, "MAX_REJECTIONS", 0)
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
    monkeypatch.setattr(hf_sampling, "MAX_REJECTIONS", tries)
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
            monkeypatch.setattr(hf_sampling, "SHORTLIST", width)
            assert torch.equal(draw(logits, shares, keys).argmax(-1), expected), (step, width)


@pytest.mark.parametrize("vocabulary", [1, 2, 5])
@pytest.mark.parametrize("top_p", [0.0, 0.6, 1.0])
def test_a_tiny_vocabulary_is_drawn_from_with_a_shortlist_of_any_width(
    monkeypatch: pytest.MonkeyPatch, vocabulary: int, top_p: float
) -> None:
    logits = torch.tensor([[1.0, 1.0, 0.5, 1.0, -2.0], [0.0, 3.0, 1.0, 1.0, 1.0]])[:, :vocabulary]
    found = []
    for width in (1, 2, 64):
        monkeypatch.setattr(hf_sampling, "SHORTLIST", width)
        keys = [keys_of((seed, step) for seed in range(2)) for step in range(40)]
        found.append([draw(logits, torch.full((2, 1), top_p), each).argmax(-1).tolist() for each in keys])
    assert found[0] == found[1] == found[2]


def test_a_word_far_below_is_drawn_where_its_noise_is_the_largest_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hf_sampling, "SHORTLIST", 1)
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
    monkeypatch.setattr(hf_sampling, "_AT_ONCE", at_once)
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
