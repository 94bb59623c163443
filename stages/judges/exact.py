"""The exact judge: equal after SQuAD v1.1 normalisation (case, punctuation, articles, spaces; arXiv 1606.05250)."""

import re
import string
from collections.abc import Iterable, Iterator

from stages.judges.base import Case, Verdict

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


class Exact:
    """Right if the answer equals a gold answer once normalised. An empty answer is wrong, also to an empty gold."""

    name = "exact"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            answer = normalise(case.prediction)
            yield Verdict(bool(answer) and answer in map(normalise, case.golds))
