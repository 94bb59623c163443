"""Read numbers in English words: one thousand and fifty-four, two thirds, nineteen eighty-four, the eighties."""

import re
from collections.abc import Sequence
from fractions import Fraction

from stages.judges.numbers.digits import Amount
from stages.judges.numbers.tables import SCALES, list_words

UNITS = list_words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS = list_words("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
CARDINAL = {word: number for number, word in enumerate(UNITS)} | {word: 10 * n for n, word in enumerate(TENS, start=2)}
_ORDINAL = (
    {word: number for number, word in enumerate(_ORDINALS.split())}
    | {word[:-1] + "ieth": 10 * n for n, word in enumerate(TENS, start=2)}
    | {word + "th": 10**power for word, power in SCALES.items()}
)
PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4} | {
    word + ending: number for word, number in _ORDINAL.items() if number > 2 for ending in ("", "s")
}
_DECADES = {word[:-1] + "ies": 10 * n for n, word in enumerate(TENS, start=2)}
NUMBER_WORDS = frozenset([*CARDINAL, *_ORDINAL, *PARTS, *SCALES, *_DECADES, "dozen"])
_NEVER_ALONE = frozenset(["quarter", "quarters", "halves", "twenties", "dozen", *SCALES])
_NOT_COUNTED = {  # after these it is no number
    "one": frozenset(list_words("no any every some each this that which")),
    "second": frozenset(list_words("per each every")),
    "half": frozenset(
        list_words(
            "first second latter former other last better top bottom upper lower each either this northern southern "
            "eastern western that"
        )
    ),
}


def is_plain_word(word: str, before: str) -> bool:
    """True if a lone number word means something else here: no one, per second, the first half, a billion."""
    if word in _NEVER_ALONE:
        return True
    words = before.replace("-", " ").split()
    return bool(words) and words[-1] in _NOT_COUNTED.get(word, ())


def read_words(text: str) -> list[Amount | str]:
    """Read words in order: numbers, and the words between them that make no number."""
    words = [*re.findall(r"[a-z]+", text), "", ""]  # so that the next two are always there
    found: list[Amount | str] = []
    place = 0
    while words[place]:
        value, place, ending = _read_next(words, place)
        if value is None or ending:
            found.append(f"{'' if value is None else value}{ending}")
        else:
            found.append(Amount.of(value))
    return found


def _read_next(words: Sequence[str], place: int) -> tuple[Fraction | None, int, str]:
    """Return (value, where it ends, its ending "th" or "s"), or (None, …, the word) for a word that is no number."""
    word = words[place]
    if word in _DECADES and word != "twenties":
        return Fraction(1900 + _DECADES[word]), place + 1, "s"
    if word == "second" and place and words[place - 1] in CARDINAL:
        return None, place + 1, word
    started = place + (word in ("a", "an"))
    if words[started] in ("half", "quarter") and (started > place or word == "half"):
        if place and words[place - 1] in _NOT_COUNTED["half"]:
            return None, place + 1, word
        return *_scale(words, started + 1, Fraction(1, PARTS[words[started]])), ""
    if words[started] == "dozen" and started > place:
        return Fraction(12), started + 1, ""
    count, after, is_ordinal = _read_count(words, place)
    if count is None:
        return None, place + 1, word
    if is_ordinal:
        return Fraction(count), after, "th"
    if 10 <= count <= 20 and words[after] in _DECADES:
        return Fraction(100 * count + _DECADES[words[after]]), after + 1, "s"
    value, later = _add_part(words, after, count)
    if later == after:
        is_dozens = words[after] == "dozen"
        return Fraction(count) * (12 if is_dozens else 1), after + is_dozens, ""
    return *_scale(words, later, value), ""


def _add_part(words: Sequence[str], place: int, count: int) -> tuple[Fraction, int]:
    """Add a fraction, as in two thirds, or two and a half; the count as it is where none follows."""
    if words[place] in PARTS and (words[place] in ("half", "quarter") or words[place].endswith("s") == (count != 1)):
        return Fraction(count, PARTS[words[place]]), place + 1
    if words[place] == "and" and words[place + 1]:
        over = 1 if words[place + 1] in ("a", "an") else CARDINAL.get(words[place + 1], 0)
        name = words[place + 2]
        if over and name in PARTS and name.endswith("s") == (over != 1):
            return count + Fraction(over, PARTS[name]), place + 3
    return Fraction(count), place


def _scale(words: Sequence[str], place: int, value: Fraction) -> tuple[Fraction, int]:
    """Multiply as in half a million, one and a half million, half a dozen."""
    named = place + (words[place] in ("a", "an"))
    if words[named] == "dozen":
        return value * 12, named + 1
    return (value * 10 ** SCALES[words[named]], named + 1) if words[named] in SCALES else (value, place)


def _read_count(words: Sequence[str], place: int) -> tuple[int | None, int, bool]:
    """Read a whole number that starts here: (value, where it ends, whether it is an ordinal)."""
    total, limit = 0, 99
    while words[place]:
        start = place + (total > 0 and words[place] == "and")
        part, after, is_ordinal = _read_below_thousand(words, start)
        if part is None:
            after = start + (words[start] in ("a", "an"))
            part = 1
        name = words[after].removesuffix("th")
        power = SCALES.get(name, 0)
        if is_ordinal or (not power and after > start and words[start] not in ("a", "an")):
            return total + part, after, is_ordinal
        if not power or power >= limit:
            break
        total, limit, place = total + part * 10**power, power, after + 1
        if words[after] != name:
            return total, place, True
    return total or None, place, False


def _read_below_thousand(words: Sequence[str], place: int) -> tuple[int | None, int, bool]:
    """Read a number below 1000, or a year such as nineteen eighty-four."""
    value, after, is_ordinal = _read_below_hundred(words, place)
    if value is None and words[place] in ("a", "an") and words[place + 1] == "hundred":
        value, after = 1, place + 1
    if value is None and words[place] == "hundred":
        value, after = 1, place
    if value is None or is_ordinal:
        return value, after, is_ordinal
    if words[after] == "hundredth":
        return value * 100, after + 1, True
    if words[after] == "hundred" and value:
        more, later, is_ordinal = _read_below_hundred(words, after + 1 + (words[after + 1] == "and"))
        return (value * 100, after + 1, False) if more is None else (value * 100 + more, later, is_ordinal)
    if 10 <= value <= 20:
        more, later, is_ordinal = _read_below_hundred(words, after)
        if more is not None and more >= 10 and not is_ordinal:
            return value * 100 + more, later, False
    return value, after, False


def _read_below_hundred(words: Sequence[str], place: int) -> tuple[int | None, int, bool]:
    word, following = words[place], words[place + 1] if words[place] else ""
    if _ORDINAL.get(word, 100) < 100:
        return _ORDINAL[word], place + 1, True
    value = CARDINAL.get(word)
    if value is None or value < 20:
        return value, place + (value is not None), False
    if 1 <= CARDINAL.get(following, 0) <= 9:
        return value + CARDINAL[following], place + 2, False
    if 1 <= _ORDINAL.get(following, 0) <= 9:
        return value + _ORDINAL[following], place + 2, True
    return value, place + 1, False
