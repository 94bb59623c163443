"""A judge whose service goes away in the middle: what was answered is kept, and stays unscored."""

from collections.abc import Iterable, Iterator
from itertools import islice

import pytest

from stages.errors import Denied, SealError, Unavailable
from stages.judges.base import Case, FallbackJudge, Verdict


class Failing:
    """Grades three cases, taking one ahead, and then its service is gone."""

    name = "failing"

    def __init__(self, error: SealError | None = None) -> None:
        self.error, self.calls = error or Unavailable("http://x: gone; start it"), 0

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        self.calls += 1
        ahead: list[Case] = []
        for number, case in enumerate(cases):
            ahead.append(case)
            if number == 4:
                raise self.error
            if len(ahead) > 1:
                yield Verdict(ahead.pop(0).prediction == "right")


class FailingAnyhow(Failing):
    """The same, in another order."""

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        first, _, third, _ = islice(cases, 4)
        yield third, Verdict(third.prediction == "right")
        yield first, Verdict(first.prediction == "right")
        raise self.error


def cases(count: int) -> list[Case]:
    return [Case("q", str(number), "wrong" if number % 2 else "right") for number in range(count)]


@pytest.mark.parametrize("error", [Unavailable("gone; start it"), Denied("no credit is left; add some")])
def test_what_the_judge_did_not_grade_is_unscored_and_told_once(error: SealError) -> None:
    told: list[str] = []
    verdicts = list(FallbackJudge(Failing(error), told.append).grade(cases(9)))
    assert [verdict.correct for verdict in verdicts] == [True, False, True, *[None] * 6]
    assert {verdict.reason for verdict in verdicts[3:]} == {f"api_error: {error}"}
    assert told == [f"the judge failing is out of reach, and answers stay unscored from here on: {error}"]


def test_each_case_has_one_verdict_however_they_come() -> None:
    found = dict(FallbackJudge(FailingAnyhow(), lambda text: None).grade_unordered(cases(9)))
    assert set(found) == set(cases(9))
    scored = {int(case.gold): verdict.correct for case, verdict in found.items() if verdict.correct is not None}
    assert scored == {0: True, 2: True}


def test_it_does_not_ask_again() -> None:
    judge = Failing()
    steadfast = FallbackJudge(judge, lambda text: None)
    for _ in range(3):
        list(steadfast.grade(cases(9)))
    assert judge.calls == 1


def test_an_error_of_whoever_makes_the_answers_ends_the_run() -> None:
    def answers() -> Iterator[Case]:
        yield from cases(2)
        raise Unavailable("the engine's server is gone")

    told: list[str] = []
    with pytest.raises(Unavailable, match="the engine's server"):
        list(FallbackJudge(Failing(), told.append).grade(answers()))
    assert told == []


def test_a_judge_that_works_is_left_alone() -> None:
    class Fine(Failing):
        def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
            return (Verdict(case.prediction == "right") for case in cases)

    verdicts = list(FallbackJudge(Fine(), lambda text: None).grade(cases(4)))
    assert [verdict.correct for verdict in verdicts] == [True, False, True, False]
