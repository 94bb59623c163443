"""Texts of any language as the terms that BM25 compares: no dictionary, no stop words, no guess at the language.

A word stands for itself by its stem: the English one (Snowball) in Latin letters, the Arabic one in Arabic letters, a
Korean one without its particle. Since German, Russian and others inflect otherwise, a longer word has its first five
letters as a second term, an old way of stemming without a language: Verfassung finds verfassungsgemäß. A script that
writes no spaces (Chinese, Japanese, Thai, ...) is cut into pairs of letters, as Lucene's CJK analyzer does.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from stages.judges.reading.letters import UNSPACED
from stages.judges.reading.text_normalization import stem

_BEGINNING = 5  # letters
_INDIC = "\u0900-\u0963\u0966-\u0dff\u0f00-\u0fbc"  # their vowel signs are no letters to Python, and no word's end
_WORD = re.compile(rf"(?P<unspaced>{UNSPACED.pattern}+)|(?:(?!{UNSPACED.pattern})[^\W_]|[{_INDIC}])+")
_ACCENTS = re.compile(  # of Latin, Greek, Cyrillic; points and vowel signs of Hebrew and Arabic, and its long line
    "[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]"
)
_ALEFS = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ى": "ي", "ة": "ه", "ک": "ك", "ی": "ي"})
_ARABIC = re.compile("[\u0620-\u064a]+")
_MOST_WORDS = 1 << 16  # that are remembered


def split_terms(text: str) -> list[str]:
    """Split a text into terms, in order. Takes time linear in the text."""
    plain = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold())))
    return [term for word in _WORD.finditer(plain) for term in _list_terms(word[0], bool(word["unspaced"]))]


def _list_terms(word: str, unspaced: bool) -> Iterator[str] | tuple[str, ...]:
    if unspaced:
        return (word[at : at + 2] for at in range(max(1, len(word) - 1)))
    return _read_word(word)


@lru_cache(_MOST_WORDS)
def _read_word(word: str) -> tuple[str, ...]:
    if _ARABIC.fullmatch(word):
        return (_stem_arabic(word.translate(_ALEFS)),)  # its endings and its article, which stands at the beginning
    is_long = len(word) > _BEGINNING and not word.isdecimal()
    return (stem(word), f"{word[:_BEGINNING]}…") if is_long else (stem(word),)


def _stem_arabic(word: str) -> str:
    from snowballstemmer.arabic_stemmer import ArabicStemmer  # type: ignore[import-untyped]

    return str(ArabicStemmer().stemWord(word))  # a new one each time: it works on a state of its own
