"""The protocol of a judge, the table of the built-in judges, and a judge that outlives its service."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stages.errors import Denied, Unavailable
from stages.plugins import PluginInput


@dataclass(frozen=True)
class Case:
    """An answer to grade against the gold answers of its question: it is right if any of them accepts it.

    `gold` is the first, which is the only one of most questions. The gold answer `unanswerable` is that of a question
    without one: right is who says that there is none (stages/judges/several_golds.py).
    """

    question: str
    gold: str
    prediction: str
    other_golds: tuple[str, ...] = ()

    @property
    def golds(self) -> tuple[str, ...]:
        """All gold answers, at least one, the main one first."""
        return (self.gold, *self.other_golds)


@dataclass(frozen=True)
class Verdict:
    """The grade of one answer. correct None: unscored, for `reason`. Never the same as wrong."""

    correct: bool | None
    reason: str | None = None


class Judge(Protocol):
    name: str

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield one verdict per case, in order."""


@runtime_checkable
class UnorderedJudge(Protocol):
    """A judge that may answer in any order, so that a slow verdict holds up no other."""

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """Yield each case with its verdict, as verdicts come."""


def is_cached(judge: Judge, case: Case) -> bool:
    """True if the judge has a cached verdict on the case."""
    get_cached = getattr(judge, "get_cached", None)
    return get_cached is not None and get_cached(case) is not None


def grade_pairs(judge: Judge, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
    """Yield each case with its verdict, as they come. Raises RuntimeError for a verdict on nothing."""
    if isinstance(judge, UnorderedJudge):
        yield from judge.grade_unordered(cases)
        return
    asked: deque[Case] = deque()
    for verdict in judge.grade(_record(cases, asked)):
        if not asked:
            raise RuntimeError(f"the judge {judge.name} gave too many verdicts")
        yield asked.popleft(), verdict


def grade_in_order(judge: UnorderedJudge, cases: Iterable[Case]) -> Iterator[Verdict]:
    """Yield an unordered judge's verdicts in the order of the cases."""
    asked: deque[Case] = deque()
    verdicts: dict[Case, Verdict] = {}
    for case, verdict in judge.grade_unordered(_record(cases, asked)):
        verdicts[case] = verdict
        while asked and asked[0] in verdicts:
            yield verdicts[asked.popleft()]


def _record(cases: Iterable[Case], asked: deque[Case]) -> Iterator[Case]:
    for case in cases:
        asked.append(case)
        yield case


RULES_VERSION = 6  # of the judges below; another number where they come to judge otherwise, so that no run mixes both
JUDGES = {"exact": "stages.judges.exact:ExactJudge", "lexical": "stages.judges.lexical:LexicalJudge"}
EXAMPLES = (*JUDGES, "openai:gpt-4.1", "command:")  # of what --judge takes, for a shell to complete


class FallbackJudge:
    """Grades with `judge` until its service is gone or refuses us; every later answer is unscored.

    For a stage whose answers cost more than their verdicts, which can be had later. `say` is called once, then.
    """

    def __init__(self, judge: Judge, say: Callable[[str], None]) -> None:
        self.name, self.judge, self.say = judge.name, judge, say
        self.lost: Verdict | None = None  # the verdict on everything, once the service is gone

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield one verdict per case, in order."""
        return grade_in_order(self, cases)

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """Yield each case with its verdict, as they come. Errors of the iterator of cases are raised."""
        passed = PluginInput(cases)
        ungraded: Counter[Case] = Counter()  # of those that the judge has taken

        def count() -> Iterator[Case]:
            for case in passed:
                ungraded[case] += 1
                yield case

        try:
            for case, verdict in () if self.lost else grade_pairs(self.judge, count()):
                ungraded[case] -= 1
                yield case, verdict
        except (Unavailable, Denied) as error:
            if passed.error is not None:
                raise
            self.lost = Verdict(None, f"api_error: {str(error)[:200]}")
            self.say(f"the judge {self.name} is out of reach, and answers stay unscored from here on: {error}")
        if self.lost:
            yield from [(case, self.lost) for case in ungraded.elements()]
            yield from ((case, self.lost) for case in passed)
