"""Answers in groups to verdicts: one stream of cases, groups whole and in order."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.judges.base import Case, Verdict
from stages.scoring.grading import EMPTY_ANSWER, AnswerItem, grade_groups

LOST = Verdict(None, "timeout: no answer")


class Ahead:
    """A judge that takes `ahead` cases before it gives a verdict: right where the prediction is the gold answer."""

    name = "ahead"

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.taken: list[Case] = []

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        held: list[Case] = []
        for case in cases:
            self.taken.append(case)
            held.append(case)
            if len(held) > self.ahead:
                yield self.verdict(held.pop(0))
        yield from map(self.verdict, held)

    def verdict(self, case: Case) -> Verdict:
        return Verdict(case.prediction == case.gold)


def right() -> Case:
    return Case("q", "Velm", "Velm")


def wrong() -> Case:
    return Case("q", "Velm", "Ada")


ITEMS = st.sampled_from([right(), wrong(), Case("q", "Velm", " \n"), LOST])


def expected(item: AnswerItem) -> Verdict:
    if isinstance(item, Verdict):
        return item
    return Verdict(item.prediction == item.gold) if item.prediction.strip() else EMPTY_ANSWER


@given(st.lists(st.lists(ITEMS, max_size=4), max_size=8), st.integers(0, 5))
@settings(deadline=None)
def test_every_group_gets_its_own_verdicts_however_far_a_judge_looks_ahead(
    groups: list[list[AnswerItem]], ahead: int
) -> None:
    judge = Ahead(ahead)
    found = list(grade_groups(enumerate(groups), judge))
    assert len(found) == len(groups)
    assert dict(found) == {number: tuple(map(expected, items)) for number, items in enumerate(groups)}
    assert all(case.prediction.strip() for case in judge.taken)
    assert len(judge.taken) == len(set(judge.taken))


def test_a_group_leaves_as_soon_as_it_is_graded() -> None:
    asked: Counter[str] = Counter()

    def groups() -> Iterator[tuple[int, list[AnswerItem]]]:
        for number in range(100):
            asked["groups"] += 1
            yield number, [right(), Case("q", "Velm", f"town {number}")]

    found = list(islice(grade_groups(groups(), Ahead(0)), 3))
    assert [number for number, _ in found] == [0, 1, 2]
    assert asked["groups"] == 3


def test_an_answer_that_was_graded_is_not_asked_again_even_if_it_stayed_unscored() -> None:
    class Down(Ahead):
        def verdict(self, case: Case) -> Verdict:
            return LOST

    judge = Down(0)
    found = list(grade_groups([(0, [right(), wrong()]), (1, [right()])], judge))
    assert found == [(0, (LOST, LOST)), (1, (LOST,))]
    assert len(judge.taken) == 2


class Short:
    name = "short"

    def __init__(self, given: int) -> None:
        self.given = given

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        list(cases)
        yield from [Verdict(True)] * self.given


@pytest.mark.parametrize(("verdicts", "what"), [(1, "few"), (3, "many")])
def test_a_judge_that_miscounts_is_an_error_and_no_reward(verdicts: int, what: str) -> None:
    with pytest.raises(RuntimeError, match=f"the judge short gave too {what} verdicts"):
        list(grade_groups([(0, [right(), wrong()])], Short(verdicts)))


class Shuffled(Ahead):
    """A judge that gives the last verdict first, and says on what."""

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        held = list(cases)
        self.taken += held
        yield from ((case, self.verdict(case)) for case in reversed(held))


@given(st.lists(st.lists(ITEMS, max_size=4), max_size=8))
@settings(deadline=None)
def test_every_group_gets_its_own_verdicts_in_whatever_order_they_come(groups: list[list[AnswerItem]]) -> None:
    found = list(grade_groups(enumerate(groups), Shuffled(0)))
    assert len(found) == len(groups)
    assert dict(found) == {number: tuple(map(expected, items)) for number, items in enumerate(groups)}


def test_a_slow_verdict_holds_back_its_own_group_alone() -> None:
    groups = [(number, [Case("q", "Velm", f"town {number}")]) for number in range(4)]
    assert [number for number, _ in grade_groups(groups, Shuffled(0))] == [3, 2, 1, 0]
