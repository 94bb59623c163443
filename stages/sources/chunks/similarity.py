"""Texts that share many of their words with another, found without comparing it with each of them."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
_FEW = 16  # texts that are cheaper to compare one by one
_SLACK = 1e-6  # words: for the rounding of shares


class WordIndex(Generic[Item]):
    """Texts by their words. `least`: the share of the longer text's words, above 0 to 1, from which two are alike.

    The rare words of a text are looked up first: few texts have enough of them, and only these are compared. A word's
    second occurrence in a text counts as another word.
    """

    def __init__(self, texts: Sequence[tuple[Item, Mapping[str, int]]], least: float) -> None:
        self._texts, self._least = texts, least
        self._sizes = np.array([sum(words.values()) for _, words in texts], dtype=np.int64)
        self._numbers: dict[tuple[str, int], int] = {}
        numbers, places = array("q"), array("q")
        for place, (_, words) in enumerate(texts if len(texts) > _FEW else ()):
            for word in _list_occurrences(words):
                numbers.append(self._numbers.setdefault(word, len(self._numbers)))
                places.append(place)
        order = np.argsort(np.array(numbers), kind="stable")
        self._places = np.array(places, dtype=np.int64)[order]  # of the texts with word 0, then of those with word 1 …
        self._starts = np.searchsorted(np.array(numbers)[order], np.arange(len(self._numbers) + 1))

    def find_alike(self, words: Mapping[str, int]) -> list[Item]:
        """Return the texts that share enough of the words (how often each occurs), the most alike first."""
        size, found = sum(words.values()), self._count_common(words)
        shares = ((common / max(1, size, int(self._sizes[place])), place) for place, common in found)
        alike = sorted((-share, place) for share, place in shares if share >= self._least)
        return [self._texts[place][0] for _, place in alike]

    def _count_common(self, words: Mapping[str, int]) -> list[tuple[int, int]]:
        """The places of all texts that may be alike, each with how many words it has in common."""
        few = list(range(len(self._texts)))
        if len(self._texts) > _FEW:
            known = [self._numbers[each] for each in _list_occurrences(words) if each in self._numbers]
            known.sort(key=lambda number: int(self._starts[number + 1] - self._starts[number]))  # the rarest first
            needed = self._least * np.maximum(sum(words.values()), self._sizes) - _SLACK  # in common, of each text
            rare = max(0, len(known) - int(needed.min() / 2))
            found = self._count_texts(known[:rare])
            few = np.flatnonzero(found + len(known) - rare >= needed).tolist()
            if len(few) > _FEW:
                found = found + self._count_texts(known[rare:])
                few = np.flatnonzero(found >= needed).tolist()
                return [(place, int(found[place])) for place in few]
        return [(place, (Counter(words) & Counter(self._texts[place][1])).total()) for place in few]

    def _count_texts(self, numbers: Iterable[int]) -> NDArray[np.int64]:
        """How many of these words each text has."""
        found = [self._places[self._starts[number] : self._starts[number + 1]] for number in numbers]
        whole = np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
        return np.bincount(whole, minlength=len(self._texts))


def _list_occurrences(words: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    return ((word, number) for word, count in words.items() for number in range(count))
