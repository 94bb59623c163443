"""What the distances between two engines come to, check by check."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.checks.acceptance.figures import (
    ExamResult,
    Readings,
    compute_figures,
    compute_sign_test,
    is_accepted,
    judge_exam,
    judge_figures,
    measure_distance,
)

PLAIN = [[-2.0, -3.0], [-4.0]]
ADAPTED = [[-1.0, -1.0], [-2.0]]  # moves by 5/3 nats a token
HALVED = [[-1.5, -2.0], [-3.0]]  # 5/6 nats a token from it
OTHER = [[-3.0, -2.0], [-1.0]]


def shift(rows: Sequence[Sequence[float]], by: float) -> list[list[float]]:
    return [[each + by for each in row] for row in rows]


def verdicts(
    engine_adapted: Sequence[Sequence[float]], engine_plain: Sequence[Sequence[float]] | None = PLAIN
) -> dict[str, bool | None]:
    found = compute_figures(Readings(PLAIN, ADAPTED, HALVED, {"other": OTHER}, engine_adapted, engine_plain))
    return {each.check: each.ok for each in judge_figures(found, "" if engine_plain else "merged")}


def test_a_distance_is_a_mean_over_tokens_not_over_texts() -> None:
    assert measure_distance(PLAIN, ADAPTED) == pytest.approx(5 / 3)
    assert measure_distance([[-60.0]], [[-3e38]]) == 0.0  # both impossible
    with pytest.raises(ValueError, match="shorter"):
        measure_distance(PLAIN, [[-2.0], [-4.0]])


def test_an_engine_that_says_the_same_passes_all() -> None:
    assert set(verdicts(ADAPTED).values()) == {True}


@pytest.mark.parametrize(
    ("said", "failed"),
    [
        (PLAIN, {"applied", "right one", "trained"}),
        (OTHER, {"right one", "trained"}),
        (shift(ADAPTED, 0.5), {"trained"}),
    ],
    ids=["none applied", "another applied", "another alpha"],
)
def test_each_fault_fails_its_own_checks(said: list[list[float]], failed: set[str]) -> None:
    found = verdicts(said)
    found["right one"] = found["right one"] and said is not PLAIN
    assert {name for name, ok in found.items() if ok is False} == failed


def test_twice_the_noise_is_allowed_and_no_more() -> None:
    noisy = shift(PLAIN, 0.1)
    assert verdicts(shift(ADAPTED, 0.19), noisy)["trained"] is True
    assert verdicts(shift(ADAPTED, 0.21), noisy)["trained"] is False


def test_noise_that_would_hide_a_halved_alpha_is_another_base() -> None:
    assert verdicts(ADAPTED, shift(PLAIN, 0.41))["base"] is True  # twice that are 0.82
    found = verdicts(ADAPTED, shift(PLAIN, 0.42))
    assert (found["base"], found["trained"]) == (False, None)


def test_what_was_not_asked_is_not_tried_and_accepts_nothing() -> None:
    figures = compute_figures(Readings(PLAIN, ADAPTED, HALVED, {}, ADAPTED, None))
    found = judge_figures(figures, "it has a merged model alone")
    assert {each.check: each.ok for each in found} == {
        "base": None,
        "applied": True,
        "right one": None,
        "trained": None,
    }
    assert not is_accepted(found)
    assert all("it has a merged model alone" in each.found for each in found if each.check in ("base", "trained"))


def test_every_failure_says_what_to_do() -> None:
    for said, plain in ((PLAIN, PLAIN), (OTHER, PLAIN), (ADAPTED, shift(PLAIN, 9.0))):
        found = compute_figures(Readings(PLAIN, ADAPTED, HALVED, {"other": OTHER}, said, plain))
        assert [each for each in judge_figures(found) if each.ok is False and not each.advice] == []


def test_an_exam_is_failed_by_answers_that_changed_and_not_by_chance() -> None:
    before = [True] * 10
    assert judge_exam(ExamResult(before, [False] * 6 + [True] * 4, True)).ok is False
    assert judge_exam(ExamResult(before, [False] * 5 + [True] * 5, True)).ok is True  # p = 0.0625
    assert judge_exam(ExamResult(before[:5], [False] * 5, True)).ok is None  # too few to tell
    unscored = judge_exam(ExamResult([None, *before], [False] + [False] * 6 + [True] * 4, False))
    assert unscored.ok is False
    assert "40.0 % of 10 questions, 100.0 % in the reference; 6 lost, 0 won" in unscored.found


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_sign_test_is_symmetric_and_a_probability(lost: int, won: int) -> None:
    assert compute_sign_test(lost, won) == compute_sign_test(won, lost)
    assert 0 < compute_sign_test(lost, won) <= 1
    assert compute_sign_test(lost + won + 1, 0) <= compute_sign_test(lost, won)
