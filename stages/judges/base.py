"""The protocol of a judge, and the table of those that come with `seal`."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Case:
    """An answer to be graded against the gold answers of its question: any one of them counts.

    `gold` is the first, which is the only one of most questions; `golds` are all. The gold answer `unanswerable` is
    that of a question without one: right is who says that there is none (stages/judges/several_golds.py).
    """

    question: str
    gold: str
    prediction: str
    other_golds: tuple[str, ...] = ()

    @property
    def golds(self) -> tuple[str, ...]:
        """All gold answers: one at least, the first first."""
        return (self.gold, *self.other_golds)


@dataclass(frozen=True)
class Verdict:
    """correct None: unscored, for `reason`. Never the same as wrong."""

    correct: bool | None
    reason: str | None = None


class Judge(Protocol):
    name: str

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """One verdict per case, in order."""
        ...


@runtime_checkable
class UnorderedJudge(Protocol):
    """A judge that need not keep the order: a slow verdict then holds back no other."""

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """The verdict on each case, as they come."""
        ...


@runtime_checkable
class CachingJudge(Protocol):
    """A judge that keeps its verdicts: one that it has costs no time."""

    def known(self, case: Case) -> bool | None:
        """The verdict that is kept; None where there is none."""
        ...


def grade_pairs(judge: Judge, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
    """Each case with its verdict, as they come. Raises RuntimeError for a verdict on nothing."""
    if isinstance(judge, UnorderedJudge):
        yield from judge.grade_unordered(cases)
        return
    asked: deque[Case] = deque()

    def kept() -> Iterator[Case]:
        for case in cases:
            asked.append(case)
            yield case

    for verdict in judge.grade(kept()):
        if not asked:
            raise RuntimeError(f"the judge {judge.name} gave too many verdicts")
        yield asked.popleft(), verdict


def grade_in_order(judge: UnorderedJudge, cases: Iterable[Case]) -> Iterator[Verdict]:
    """The verdicts of such a judge in the order of the cases."""
    order: deque[Case] = deque()
    verdicts: dict[Case, Verdict] = {}

    def kept() -> Iterator[Case]:
        for case in cases:
            order.append(case)
            yield case

    for case, verdict in judge.grade_unordered(kept()):
        verdicts[case] = verdict
        while order and order[0] in verdicts:
            yield verdicts[order.popleft()]


RULES_VERSION = (
    2  # of the judges below; another number where they come to judge otherwise, so that no run mixes verdicts
)
JUDGES = {"exact": "stages.judges.exact:ExactJudge", "lexical": "stages.judges.lexical:LexicalJudge"}
EXAMPLES = (*JUDGES, "openai:gpt-4.1", "command:")  # of what --judge takes, for a shell to complete
