"""Compare a gold answer and an answer: their words, their numbers, and what they have in common."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

from stages.judges.base import Case
from stages.judges.numbers.tables import NumberStyle, cache_texts, detect_style
from stages.judges.reading.claims import extract_claim
from stages.judges.reading.letters import is_marked, strip_asides
from stages.judges.reading.text_normalization import (
    NOT,
    drop_function_words,
    find_units,
    get_all_keys,
    has_word,
    is_number,
    respell,
    split_words,
    stem,
)

_TELLING_UNITS = frozenset({"percent", "permille", "bc"})  # 5 % is not 5


@dataclass(frozen=True)
class Comparison:
    """The words of a case, each number in digits."""

    case: Case
    claim: str  # what counts of the answer
    style: NumberStyle
    asked: frozenset[str]  # stems of the question's words
    gold: Sequence[str]
    answer: Sequence[str]

    @cached_property
    def key_words(self) -> Sequence[str]:
        """The gold answer's content words that are not in the question; if none remain, all of these, or all words."""
        content = drop_function_words(self.gold)
        return self._drop_asked(content) or unique(content) or unique(self.gold)

    @cached_property
    def matches(self) -> frozenset[str]:
        """The key words that the answer has. A number with another unit is none."""
        return match(self.key_words, self.answer) - self._of_another_unit

    @cached_property
    def decisive(self) -> frozenset[str]:
        """The key words that are letters, numerals and formulas: without them it is another vitamin or another war."""
        found = frozenset(word for word in self.key_words if is_marked(word))
        return found.intersection(split_words(strip_asides(self.case.gold))) if found else found

    @cached_property
    def numbers(self) -> list[str]:
        """The gold answer's numbers: those that are not in the question, if there are such."""
        numbers = [word for word in unique(self.gold) if is_number(word)]
        return self._drop_asked(numbers) or numbers

    @cached_property
    def missing_numbers(self) -> list[str]:
        found = set(self.answer) - self._of_another_unit
        return [word for word in self.numbers if word not in found]

    @cached_property
    def _of_another_unit(self) -> frozenset[str]:
        """The numbers that the answer has with other units alone: 5 euros for $5, 5 % for 5; 5 for $5 is none."""
        found, wanted = find_units(self.answer), find_units(self.gold)
        shared = found.keys() & wanted.keys()
        return frozenset(number for number in shared if not self._allows(wanted[number], found[number]))

    def _allows(self, wanted: AbstractSet[str], found: AbstractSet[str]) -> bool:
        """True if a number with the units of `found` may stand for the same with those of `wanted`."""
        wanted, found = ({"" if unit == "°" else unit for unit in side} for side in (wanted, found))
        if "" in wanted:
            return any(unit not in _TELLING_UNITS or unit in self.asked for unit in found)
        return "" in found or not wanted.isdisjoint(found)

    def _drop_asked(self, words: Iterable[str]) -> list[str]:
        """The different words that the question does not contain. What is denied is never the question's."""
        return [word for word in unique(words) if word == NOT or stem(word) not in self.asked]


def compare_words(case: Case) -> Comparison:
    style = detect_style(case.question, case.gold, case.prediction)
    claim = extract_claim(case.question, case.gold, case.prediction)
    plain = respell(case.gold) | respell(claim)
    gold, answer = ([plain.get(word, word) for word in split_words(text, style)] for text in (case.gold, claim))
    return Comparison(case, claim, style, _list_stems(case.question, style), gold, answer)


def unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def match(wanted: Iterable[str], among: Iterable[str]) -> frozenset[str]:
    """Return the wanted words that occur among others, apart from their endings."""
    known = get_all_keys(among)
    return frozenset(word for word in wanted if has_word(word, known))


@cache_texts()
def _list_stems(text: str, style: NumberStyle) -> frozenset[str]:
    return frozenset(map(stem, split_words(text, style)))
