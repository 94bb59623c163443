"""Find whole dates, however they are written: May 5, 1990; the 5th of May 1990; 1990-05-05; 5/5/1990.

A date in digits alone may be read in two ways, the month or the day first. Two dates are the same if one way agrees.
Of 5–7 May 1990, or of 2 May and 9 June 1990, each end is a whole date, and no day between them is.
A number before a day that is not smaller belongs to other words: Game 7 – 5 June 1990.
"""

import re
from collections.abc import Iterator

from stages.judges.numbers.tables import cache_texts, list_words

_MONTHS = list_words("jan feb mar apr may jun jul aug sep oct nov dec")
_MONTH = (
    r"\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_NUMBER = r"\d{1,2}(?:st|nd|rd|th)?\b"
_DAY = rf"(?<![\w.,/-]){_NUMBER}"
_YEAR = r"(?P<year>\d{4})(?![\w/-])"
_TO = r"(?: ?[-–—] ?| (?:to|until|till|through|and|&) )(?:the )?"
_NAMED = (  # up to five days, of which the text says the year once, and perhaps the month: 5–7 May 1990
    re.compile(
        rf"(?P<days>{_MONTH} (?:the )?{_DAY}(?:{_TO}(?:{_MONTH} )?{_NUMBER}){{0,4}}),? (?:in )?{_YEAR}", re.IGNORECASE
    ),
    re.compile(
        rf"(?P<days>{_DAY}(?:(?:{_TO}| (?:of )?{_MONTH}(?:{_TO}|, )){_NUMBER}){{0,4}} (?:day )?(?:of )?{_MONTH}),? "
        rf"(?:of |in )?{_YEAR}",
        re.IGNORECASE,
    ),
)
_NO_DAY = 32
_DAY_OR_MONTH = re.compile(rf"\d+|{_MONTH}", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(?<![\w/.-])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d|[-/.]\d)")
_YEAR_LAST = re.compile(r"(?<![\w/.-])(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d|[-/.]\d)")

_Date = tuple[int, int, int]  # year, month, day
_Readings = frozenset[_Date]


@cache_texts()
def find_dates(text: str) -> tuple[_Readings, ...]:
    """Return every whole date of a text, each in all ways in which it can be read."""
    plain = " ".join(text.split())
    return tuple(readings for readings in _read_dates(plain) if readings)


def _read_dates(text: str) -> Iterator[_Readings]:
    for named in _NAMED:
        for found in named.finditer(text):
            words = _DAY_OR_MONTH.findall(found["days"])
            month, below, is_first = 0, _NO_DAY, words[-1].isdigit()
            for word in words if is_first else reversed(words):  # a month is said beside the day, or once
                if not word.isdigit():
                    month, below = 1 + _MONTHS.index(word[:3].lower()), _NO_DAY
                elif is_first or int(word) < below:  # in Game 7 – 5 June 1990, 7 is no day
                    yield _keep_real((int(found["year"]), month, int(word)))
                    below = int(word)
    for found in _YEAR_FIRST.finditer(text):
        year, first, second = int(found[1]), int(found[3]), int(found[4])
        yield _keep_real((year, first, second))
    for found in _YEAR_LAST.finditer(text):
        first, second, year = int(found[1]), int(found[3]), int(found[4])
        yield _keep_real((year, first, second), (year, second, first))


def _keep_real(*readings: _Date) -> _Readings:
    return frozenset(each for each in readings if 1 <= each[1] <= 12 and 1 <= each[2] <= 31)


def names_other_date(gold: str, claim: str) -> bool:
    """True if a text names whole dates, and a date of the gold answer is none of them."""
    said = find_dates(claim)
    return bool(said) and not all(any(date & other for other in said) for date in find_dates(gold))
