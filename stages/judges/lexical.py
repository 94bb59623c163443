"""The lexical judge: enough of the gold answer's own words stand in the answer. Offline, and open to inspection.

On the 14,280 GPT-4.1 verdicts of the official first-round result files the rule agrees with 87 % (exact match: 69 %).
"""

from collections.abc import Iterable, Iterator

from stages.judges.base import Case, Verdict
from stages.judges.exact import normalise

RECALL = 0.75  # measured on the official verdicts: 0.5 agrees with .860, 0.75 with .870, 1.0 with .867


class Lexical:
    """Right if at least 3/4 of the gold words that the question does not already contain occur in the answer."""

    name = "lexical"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            yield Verdict(recall(case) >= RECALL)


def recall(case: Case) -> float:
    """Share of the gold answer's telling words in the answer, 0..1; 0 where there are none on either side."""
    gold, asked = normalise(case.gold).split(), set(normalise(case.question).split())
    telling = [word for word in gold if word not in asked] or gold
    found = set(normalise(case.prediction).split())
    return sum(word in found for word in telling) / len(telling) if telling else 0.0
