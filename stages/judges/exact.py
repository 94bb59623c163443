"""The exact judge: equal after SQuAD v1.1 normalisation (case, punctuation, articles, spaces; arXiv 1606.05250).

Unlike there, what tells two answers apart is kept: an `a` is an article only before a word (vitamin A), a sign that
belongs to a letter stays (C++, A-, Na+). Punctuation is that of every script; a text of nothing else is compared as it
is.
"""

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator

from stages.judges.base import Case, Verdict
from stages.judges.reading.letters import SHOWN, composed, mark_signs
from stages.judges.several import any_gold

ARTICLES = re.compile(r"(?<![\w.'’-])(?:an|the|a(?=\s+[\"'“‘(\[«]*[^\W_]))(?![\w'’-])")
ALL_ARTICLES = frozenset({"a", "an", "the"})


class _Kept(dict[int, int | str | None]):
    """What becomes of each sign, found when it is first met; for `str.translate`."""

    def __missing__(self, code: int) -> int | str | None:
        punctuation = chr(code) in string.punctuation or unicodedata.category(chr(code))[0] == "P"
        self[code] = found = None if punctuation else code
        return found


KEPT = _Kept(SHOWN)


def normalise(text: str) -> str:
    """Small letters, without punctuation and articles, single spaces. The text itself if nothing is left of it."""
    folded = unicodedata.normalize("NFC", mark_signs(text).casefold().replace("i\u0307", "i").replace("ı", "i"))
    kept = ARTICLES.sub(" ", folded)
    if ALL_ARTICLES.issuperset(kept.translate(KEPT).split()):
        kept = folded  # The The
    return " ".join(kept.translate(KEPT).split()) or composed(text).strip() or text.strip()


class Exact:
    """Right if the answer equals a gold answer once normalised. An empty answer is wrong, also to an empty gold."""

    name = "exact"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            yield Verdict(any_gold(case, is_equal))


def is_equal(case: Case) -> bool:
    """Whether the answer is the gold answer once normalised; any others are not looked at."""
    answer = normalise(case.prediction)
    return bool(answer) and answer == normalise(case.gold)
