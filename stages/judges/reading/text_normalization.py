"""Make words comparable: case, accents, punctuation, endings, spellings of numbers, and scripts without spaces.

Everything takes time linear in the text. Only English endings are known, and Korean particles; other languages are
compared by the beginnings of their words. What stands without spaces in a script that writes none is one word.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

from stages.judges.numbers.digits import is_fraction
from stages.judges.numbers.tables import (
    ALL_UNITS,
    CURRENCIES,
    PLAIN,
    CharacterTable,
    NumberStyle,
    cache_texts,
    list_words,
)
from stages.judges.numbers.tokens import split_numbers
from stages.judges.reading.letters import (
    ALIKE,
    SHOWN,
    UNSPACED,
    compose,
    find_names,
    get_forms,
    is_marked,
    is_phrase,
    list_pairs,
    mark,
    read_numeral,
)

_MOST_WORDS = 1 << 14  # that are remembered
_LONGEST = 40  # letters: what is longer is no English word
_SHORTEST_SHARED = 5  # letters that two words must at least begin with, if they are to count as one
_LONGEST_ENDING = 3  # letters by which each of two such words may go on differently
_OF_NAMES = frozenset(  # endings that make another name or thing: Robertson, Nigeria, neutrino, methanol
    {"son", "ton", "dra", "ra", "ina", "na", "ia", "ez", "ino", "ol"}
)
CHOICE = "or"
NOT = "not"
_TO = "to"


ARTICLES = frozenset({"a", "an", "the"})
_FUNCTION_WORDS = ARTICLES.union(
    CURRENCIES,
    list_words(
        "of in on at by for to from with as and or but nor so than then that this these those it its he she they them "
        "his her their we our you your i my me him who whom whose which what when where why how is are was were be "
        "been being am do does did done has have had having will would can could might shall should must there "
        "here also about into over under after before during between through such some any all both each more most "
        "other only very just s t approximately around circa roughly etwa environ в году год года °"
    ),
)
_DENIALS = list_words(
    "no never none nor neither without cannot nobody nothing isnt wasnt arent werent dont doesnt didnt hasnt havent "
    "hadnt wont wouldnt cant couldnt shouldnt nicht nie kein keine keinen pas jamais niet geen ikke inte nao не нет"
)
_SHORT_FORMS = {"bce": "bc", "ce": "ad", "percentage": "percent", "grey": "gray", "st": "saint", "mt": "mount"}
_SAME = dict.fromkeys(_DENIALS, NOT) | _SHORT_FORMS
_BRITISH = re.compile(
    "(?<=[a-z]{3})o(u)r(?=(?:s|ed|ing|ful|ite|able|hood|ly)?$)|(?<=[a-z]{2}t)(re)$"
)  # colour, theatre

_INITIALS = re.compile(r"\b(?:[^\W\d_]\. ?){2,}")  # u.s. and b.c., once folded
_JOINED = re.compile(r"(?<=\d)[:/-]")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\d\s.]+")
_ACCENTED = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"  # of Latin, Greek and Cyrillic letters
_POINTED = "\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed"  # Hebrew points, Arabic vowel signs
_ACCENTS = re.compile(f"[{_ACCENTED}{_POINTED}]")  # the signs of Indian scripts are letters
_SIDE_BY_SIDE = re.compile(rf"(?<={UNSPACED.pattern})  (?={UNSPACED.pattern})")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_UMLAUT = re.compile("[äöüøå]")
_STROKED = str.maketrans({"đ": "d", "ł": "l", "ø": "o", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ħ": "h"})
_PARTICLE = re.compile(
    "(?<=[가-힣]{2})(?:은|는|이|가|을|를|에|의|로|와|과|도|만|에서|으로|에게|까지|부터|이다|다|입니다|이에요|예요|이었다|였다)$"
    "|(?<=^[년월일명개살번])(?:입니다|이다|이에요|예요|에|은|는|이|가|을|를)$"  # behind a number
)
_WRITTEN_OUT = {"%": " percent ", "&": " and ", ".": "."} | dict.fromkeys("'’ʼ`·・", "")
_WRITTEN_OUT |= {chr(code): shown for code, shown in SHOWN.items()}


def _fold(letter: str) -> str:
    """Small and without accents; a digit of any script in ours; a space for what is no letter."""
    if letter in _WRITTEN_OUT:
        return _WRITTEN_OUT[letter]
    digit = unicodedata.decimal(letter, None)
    if digit is not None:
        return str(digit)
    parts = unicodedata.normalize("NFKD", letter.upper().casefold()).casefold()
    parts = _ACCENTS.sub("", parts).translate(_STROKED)
    kept = "".join(part if unicodedata.category(part)[0] in "LMN" else " " for part in parts)
    return f" {kept} " if UNSPACED.match(kept) else kept


_FOLDED = CharacterTable(_fold)


@cache_texts()
def split_words(text: str, style: NumberStyle = PLAIN) -> tuple[str, ...]:
    """Split a text into comparable words, in order: numbers in digits, every denial as `not`."""
    pieces = split_numbers(mark(text), style)
    return tuple(word for known, piece in pieces for word in (_parts(piece) if known else _between(piece)))


def _parts(number: str) -> list[str]:
    """The 19th is number 19; 16:9, 4/4 and 9/11/2001 are several numbers."""
    if not is_number(number):
        return [number]
    parts = [number] if is_fraction(number) else _JOINED.split(number.removesuffix("th"))
    return [word for part in parts for word in (_TO, part)][1:]


def _between(text: str) -> list[str]:
    folded = _SIDE_BY_SIDE.sub("", text.translate(_FOLDED))
    if not folded.isascii():
        folded = unicodedata.normalize("NFC", folded)  # Korean syllables
    folded = _INITIALS.sub(lambda found: found[0].replace(".", "").replace(" ", "").lower() + " ", folded)
    return [_SAME.get(word, word) for word in _TOKEN.findall(folded)]


def respell(text: str) -> dict[str, str]:
    """Map words' spellings without umlauts to the words: {mueller: muller}."""
    plain = compose(text).lower()
    if _UMLAUT.search(plain) is None:
        return {}
    return {
        other: word
        for word, other in zip(split_words(plain), split_words(plain.translate(_UMLAUTS)), strict=False)
        if word != other
    }


def is_number(word: str) -> bool:
    return word[word[0] in "-±" :][:1].isdigit()


def find_units(found: Sequence[str]) -> Mapping[str, AbstractSet[str]]:
    """Return each number with the units that follow it, "" where none does."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    for word, following in pairwise([*found, ""]):
        if is_number(word):
            known[word].add(following if following in ALL_UNITS else "")
    return known


def find_ranges(found: Sequence[str]) -> set[tuple[str, str]]:
    """Return the numbers with "to" between them: ranges, scores, ratios, times."""
    threes = zip(found, found[1:], found[2:], strict=False)
    return {(one, other) for one, to, other in threes if to == _TO and is_number(one) and is_number(other)}


def drop_function_words(found: Iterable[str]) -> list[str]:
    """Return the content words only."""
    return [word for word in found if word not in _FUNCTION_WORDS]


@cache_texts(_MOST_WORDS)
def stem(word: str) -> str:
    """Strip a word's English ending (Snowball) or its Korean particle."""
    english = len(word) <= _LONGEST and word.isascii() and word.isalpha() and not word[0].isupper()
    return _english(_BRITISH.sub(_american, word)) if english else _PARTICLE.sub("", word)


def _american(found: re.Match[str]) -> str:
    return "or" if found[1] else "er"


def _english(word: str) -> str:
    from snowballstemmer.english_stemmer import EnglishStemmer  # type: ignore[import-untyped]

    return str(EnglishStemmer().stemWord(word))  # a new one each time: it works on a state of its own


@cache_texts(_MOST_WORDS)
def get_keys(word: str) -> frozenset[str]:
    """Return a word's keys. Two words are alike if they share one: equal stems, or like beginnings and other endings.

    A numeral has that of its number, too. Words with signs that are letters (Indian scripts) are compared whole.
    """
    if is_marked(word):
        worth = read_numeral(word.upper()) if word in ("v", "x") or word[0].isupper() else None
        return frozenset({word, word.lower() if len(word) > 1 else word, str(worth or word)})
    if UNSPACED.match(word):
        return get_forms(word)
    if is_number(word) or not word.isalpha():
        return frozenset({word})
    known = stem(word)
    ending = max((len(each) for each in _OF_NAMES if known.endswith(each)), default=_LONGEST_ENDING + 1)
    shortest = max(_SHORTEST_SHARED, len(known) + 1 - min(ending, _LONGEST_ENDING + 1))
    return frozenset(
        {known} | {known[:length] for length in range(shortest, len(known)) if known[length:] not in _OF_NAMES}
    )


def get_all_keys(found: Iterable[str]) -> frozenset[str]:
    """Return the keys of all words, and of the names within text without spaces."""
    return frozenset().union(*(find_names(word) if UNSPACED.match(word) else get_keys(word) for word in set(found)))


def has_word(word: str, known: frozenset[str]) -> bool:
    """True if a word, or most of a phrase without spaces, has one of these keys."""
    if is_phrase(word):
        return len(known & list_pairs(word)) >= ALIKE * len(list_pairs(word))
    return not known.isdisjoint(get_keys(word))
