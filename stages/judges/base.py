"""The protocol of a judge, and the table of those that come with `seal`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Case:
    """An answer to be graded against the gold answer of its question."""

    question: str
    gold: str
    prediction: str


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


JUDGES = {"exact": "stages.judges.exact:Exact", "lexical": "stages.judges.lexical:Lexical"}
