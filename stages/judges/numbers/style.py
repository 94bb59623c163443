"""Detect how texts write numbers: with a decimal comma, or as versions."""

import re
from dataclasses import dataclass
from functools import lru_cache

from stages.judges.numbers.amounts import SCALE
from stages.judges.numbers.tables import MEASURE, list_words

_GROUPED = re.compile(r"\d{1,3}[.,]\d{3}(?!\d)")
_WITH_COMMA = frozenset(
    list_words(
        "der das und ist wie viele wann wo wer ein eine einen im von den dem nicht auf für le les des est sont combien "
        "quel quelle dans et un une du aux au el los las qué cuántos cuántas cuándo es son del una por il gli quanti "
        "quante che nel della os são quantos quantas em do da de la het een hoeveel zijn och är hur många er hvor "
        "mange"
    )
)
_WITH_POINT = frozenset(
    list_words("the of is were how many much what which when who where and at to by for with did does")
)
_MOST_READ = 10_000  # characters that tell the language
_NAMED = re.compile(r"\b([^\W\d_]++) \d++\.\d*0(?![\d.])")
_NO_NAMES = frozenset(
    list_words(
        "a about all an and approximately are around as at be between by costs down equals exactly for from had has is "
        "least most nearly of on only or over paid than the to under up was were with"
    )
)
_VERSION = re.compile(r"\b(?:versions?|releases?)\b|\bv\.? ?\d", re.IGNORECASE)


@dataclass(frozen=True)
class NumberStyle:
    """How the texts of a case write numbers. `keeps_zeros`: 3.10 is not 3.1."""

    decimal_comma: bool = False
    keeps_zeros: bool = False


PLAIN = NumberStyle()


def detect_style(*texts: str) -> NumberStyle:
    """Detect the number style of texts that belong together, by their words."""
    grouped = any(_GROUPED.search(text) for text in texts)
    return NumberStyle(grouped and sum(map(_count_comma_words, texts)) > 0, any(map(_names_version, texts)))


@lru_cache(maxsize=1024)
def _count_comma_words(text: str) -> int:
    """Count how many more words are of languages with a decimal comma than of English."""
    words = text[:_MOST_READ].lower().split()
    return sum((word in _WITH_COMMA) - (word in _WITH_POINT) for word in words)


@lru_cache(maxsize=1024)
def _names_version(text: str) -> bool:
    """Return whether there is a version, such as Python 3.10; not: costs 3.10 dollars, about 3.10."""
    return _VERSION.search(text) is not None or any(
        match[1].lower() not in _NO_NAMES and not any(what.match(text, match.end()) for what in (MEASURE, SCALE))
        for match in _NAMED.finditer(text)
    )
