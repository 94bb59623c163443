"""The exact judge: equal after SQuAD v1.1 normalisation (case, punctuation, articles, spaces; arXiv 1606.05250).

Unlike there, what tells two answers apart is kept: an `a` is an article only before a word (vitamin A), a sign that
belongs to a letter stays (C++, A-, Na+). Punctuation is that of every script; a text of nothing else is compared as it
is. Numbers are compared as numbers: 7.4 is not 74, and one that is written otherwise is the same.
"""

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator

from stages.judges.base import Case, Verdict
from stages.judges.numbers.tables import CURRENCIES, CharacterTable, NumberStyle, cache_texts, detect_style
from stages.judges.numbers.tokens import split_numbers
from stages.judges.reading.letters import NUMERAL, SHOWN, compose, mark_signs, read_numeral, spell_out
from stages.judges.several_golds import grade_any_gold

_ARTICLES = re.compile(r"(?<![\w.'’-])(?:an|the|a(?=\s+[\"'“‘(\[«]*[^\W_]))(?![\w'’-])")
_WAR_I = re.compile(r"(?<=\b[Ww]ar )I\b")
_CENTURY = re.compile(r"(?<=\d) +(?= centur)")  # behind a Roman numeral
_ALL_ARTICLES = frozenset({"a", "an", "the"})


def _drop_punctuation(letter: str) -> str:
    return "" if letter in string.punctuation or unicodedata.category(letter)[0] == "P" else letter


_KEPT = CharacterTable(_drop_punctuation, SHOWN)


@cache_texts()
def normalise(text: str) -> str:
    """Lower-case, drop punctuation and articles, collapse spaces. A text of which nothing is left stays as it is."""
    folded = unicodedata.normalize("NFC", mark_signs(text).casefold().replace("i\u0307", "i").replace("ı", "i"))
    kept = _ARTICLES.sub(" ", folded)
    if _ALL_ARTICLES.issuperset(kept.translate(_KEPT).split()):
        kept = folded  # The The
    return " ".join(kept.translate(_KEPT).split()) or compose(text).strip() or text.strip()


def is_equal(case: Case) -> bool:
    """True if the answer equals the first gold answer once both are normalised, numbers compared as numbers."""
    style = detect_style(case.question, case.gold, case.prediction)
    gold, answer = normalise(case.gold), normalise(case.prediction)
    if answer and answer == gold and _numbers(case.gold, style) == _numbers(case.prediction, style):
        return True
    said = _with_numbers(case.prediction, style)
    return bool(said) and said == _with_numbers(case.gold, style)


def _numbers(text: str, style: NumberStyle) -> list[str]:
    """Return the numbers and units of a text, without currencies, which normalising drops as well."""
    return [piece for known, piece in split_numbers(text, style) if known and piece not in CURRENCIES]


@cache_texts()
def _with_numbers(text: str, style: NumberStyle) -> tuple[str, ...]:
    """Return the normalised words, with each number in its one canonical form."""
    tokens: dict[str, str] = {}

    def stand_in(number: str) -> str:
        tokens[f"number{len(tokens)}"] = number
        return f" number{len(tokens) - 1} "

    shown = _CENTURY.sub("th", NUMERAL.sub(_in_digits, _WAR_I.sub("1", spell_out(text))))
    pieces = split_numbers(shown, style)
    normal = normalise("".join(stand_in(piece) if known else piece for known, piece in pieces))
    return tuple(tokens.get(word, word) for word in normal.split())


def _in_digits(numeral: re.Match[str]) -> str:
    number = read_numeral(numeral[0].upper())
    return f" {number} " if number else numeral[0]


class ExactJudge:
    """Right if the answer equals a gold answer after normalisation. An empty answer is wrong, even to an empty gold."""

    name = "exact"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            yield Verdict(grade_any_gold(case, is_equal))
