"""Make numbers comparable: every spelling of a number becomes the same token, and another number another token.

    1,854   1 854   1'854   ١٨٥٤   one thousand eight hundred and fifty-four         1854
    1.5 million   1,5 Mio   1.5×10^6   1½ million   one and a half million          1500000
    -5 %   −5%   minus five per cent                                                -5 percent
    nineteenth   '80s   1914–18   09:30   ¾   half a dozen          19th 1980s 1914 to 1918 9:30 0.75 6

What could be read in two ways is read as in English, unless the text is plainly in a language that writes decimals with
a comma. Everything takes time linear in the text: long digits stay text.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction

from stages.judges.numbers.digits import RUN, Amount, read_digits
from stages.judges.numbers.spelled import CARDINAL, NUMBER_WORDS, PARTS, is_plain_word, read_words
from stages.judges.numbers.tables import (
    BY_CASE,
    CURRENCIES,
    MEASURE,
    MONEY,
    PLAIN,
    SCALE,
    UNIT_NAMES,
    CharacterTable,
    NumberStyle,
    cache_texts,
    list_words,
    one_of,
)

_MOST_EXPONENT_DIGITS = 15
_OF_NUMBERS = {"k": 3, "K": 3, "M": 6}  # 5k, 5M
_OF_MONEY = {**_OF_NUMBERS, "m": 6, "b": 9, "B": 9, "t": 12, "T": 12}  # $5m
_ABBREVIATED = {"tn": 12, "trn": 12}
_ABBREVIATED |= dict.fromkeys(
    list_words("millionen millones milioni milhões miljoen млн миллион миллиона миллионов"), 6
)
_ABBREVIATED |= dict.fromkeys(list_words("mn mln mio ma mya"), 6)
_ABBREVIATED |= dict.fromkeys(list_words("mrd milliarde milliarden milliard milliards miliardi miljard bn"), 9)
_ABBREVIATED |= dict.fromkeys(list_words("млрд миллиард миллиарда миллиардов"), 9)
_NOT_UNITS = frozenset("MGH")  # 3G is no 3 g

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPT = f"[-+⁺⁻]?[{'⁰¹²³⁴⁵⁶⁷⁸⁹'}]++"
_SIGNS = {"٫": ".", "٬": ",", "٪": "%", "’": "'", "‘": "'", "ʼ": "'", "−": "-", "℃": "°C", "℉": "°F", "￥": "¥"}
_SMALL = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}  # no letter becomes two
_FULL_WIDTH = range(0xFF01, 0xFF5F)

_WORD = rf"(?:{one_of(NUMBER_WORDS)})\b"
_NUMBER = re.compile(
    rf"(?P<run>{RUN})|\b(?P<words>(?:an? (?=(?:half|quarter|dozen|hundred|thousand|[mbtr]+illion)\b))?"
    rf"{_WORD}(?:(?:[ -]|,? and )(?:an? )?{_WORD})*+)"
)
_CODES = one_of(name for name in MONEY if name.isalpha() and len(name) == 3 and name != "yen")
_BEFORE = re.compile(  # a number
    r"(?:(?P<compared>[<>])=? ?)?(?P<sign>(?<![\w)\].%°+-])[-+]|± ?|\b(?:minus|negative)[ -])?"
    rf"(?:(?P<money>\b(?:us|hk|nz|a|c)\$|[$€£¥₹₽₩₺₪]|\b(?:{_CODES})\b) ?|(?P<era>\b(?:ad|a\.d\.)) )?"
    r"(?P<inner>(?<=[$€£¥₹₽₩₺₪])[-+])?\Z"
)
_REACH = 20  # letters before a number that may belong to it
_POWER = re.compile(
    rf"(?: ?(?P<times>[×x*·⋅]|\\times|\\cdot) ?10(?=\^|\*\*|[-+⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]))?"
    rf"(?:(?:\^|\*\*)[{{(]?(?P<raised>[-+]?\d++)[)}}]?|(?P<superscript>{_SUPERSCRIPT}))|e(?P<e>[-+]?\d++)(?!\w)"
)
_ENDING = re.compile(r"(?:(?P<nth>st|nd|rd|th)|'?(?P<decade>s))\b")
_AND_PART = re.compile(r" and (an?|one|two|three)[ -](half|thirds?|quarters?)\b")
_ABBREVIATION = re.compile(rf" ?(?P<scale>{one_of(_ABBREVIATED)})\b\.?")
_LETTER = re.compile(r" ?([kKMmbBtT])\b")
_TO = re.compile(r" ?- ?")
_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_PLUS_OR_MINUS = re.compile(r"\+ ?/ ?-")

Piece = tuple[bool, str]


@cache_texts()
def split_numbers(text: str, style: NumberStyle = PLAIN) -> Sequence[Piece]:
    """Split a text in order: (True, token) for a number or its unit, (False, text) for what is between."""
    return tuple(_split(_PLUS_OR_MINUS.sub("±", _FRACTION.sub(r"\1/\2", text.translate(_FOLDED))), style))


def _split(text: str, style: NumberStyle) -> Iterator[Piece]:
    small = text.translate(_SMALL)
    end = 0
    while match := _NUMBER.search(small, end):
        if match["words"] and is_plain_word(match["words"], small[max(0, match.start() - _REACH) : match.start()]):
            yield False, text[end : match.end()]
            end = match.end()
            continue
        before = _BEFORE.search(small, max(end, match.start() - _REACH), match.start())
        between = text[end : before.start() if before else match.start()]
        if end and _TO.fullmatch(between):
            yield True, "to"
        elif between:
            yield False, between
        tokens, end = _read(before, match, text, small, style)
        yield from ((True, token) for token in tokens)
    if text[end:]:
        yield False, text[end:]


def _read(
    before: re.Match[str] | None, match: re.Match[str], text: str, small: str, style: NumberStyle
) -> tuple[list[str], int]:
    """Return the tokens of a match, and where it ends."""
    money, era, sign, inner, compared = (
        before.group("money", "era", "sign", "inner", "compared") if before else [None] * 5
    )
    unit = MONEY.get(money or "") or ("ad" if era else None)
    parts = read_words(match["words"]) if match["words"] else read_digits(match["run"], style)
    end = _take_endings(parts, text, small, match.end(), unit)
    measure = None if unit else MEASURE.match(small, end)
    written = text[measure.start("unit") : measure.end()] if measure else ""
    if measure and written not in _NOT_UNITS:
        unit, end = BY_CASE.get(written) or UNIT_NAMES[measure["unit"]], measure.end()
    tokens = _write(parts, {"": "", "+": "", "±": "±"}.get((sign or inner or "").strip(), "-"), unit)
    if compared:
        tokens = ["less" if compared == "<" else "more", "than", *tokens]
    return tokens, end


def _write(parts: Sequence[Amount | str], sign: str, unit: str | None) -> list[str]:
    """Return the tokens of a number or a range. Both ends of a range get its unit."""
    found: list[str] = []
    for place, part in enumerate(parts):
        text = part if isinstance(part, str) else part.write()
        found.append(sign + text if place == 0 and text != "0" else text)
        if unit and (place == len(parts) - 1 or (place == 0 and "to" in parts)):
            found.append(unit)
    return found


def _take_endings(parts: list[Amount | str], text: str, small: str, end: int, unit: str | None) -> int:
    """Apply the exponent, ending or scale that follows the parts. Returns where the number then ends."""
    last = parts[-1]
    if isinstance(last, Amount) and (power := _POWER.match(small, end)):
        parts[-1] = last = _raise(last, power)
        end = power.end()
    if not isinstance(last, Amount):
        return end
    if last.power == 0 and last.over == 1:
        if ending := _ENDING.match(small, end):
            before = small[max(0, end - 6) : end - 2]
            parts[-1] = last.write() + "th" if ending["nth"] else _write_decade(last.digits, before)
            return ending.end()
        if len(last.digits) <= 3 and (more := _AND_PART.match(small, end)):
            part = Fraction(CARDINAL.get(more[1], 1), PARTS[more[2]])
            parts[-1] = last = Amount.of(int(last.digits) + part)
            end = more.end()
    first = parts[0]
    scaled = [last]
    if isinstance(first, Amount) and len(parts) == 3 and len(first.digits) <= len(last.digits):
        scaled = [first, last]  # 5–10 million
    while scale := SCALE.match(small, end):
        end = scale.end()
        scaled = [amount.scale(scale["scale"]) for amount in scaled]
    zeros, end = _read_abbreviation(text, small, end, unit)
    scaled = [amount.shift(zeros) for amount in scaled]
    parts[-1] = scaled[-1]
    if len(scaled) == 2:
        parts[0] = scaled[0]
    return end


def _read_abbreviation(text: str, small: str, end: int, unit: str | None) -> tuple[int, int]:
    """Return the power of ten of an abbreviation, and where it ends: 5 bn, 5k, $5 m."""
    if short := _ABBREVIATION.match(small, end):
        return _ABBREVIATED[short["scale"]], short.end()
    if (letter := _LETTER.match(text, end)) and (unit in CURRENCIES or letter.start(1) == end):
        power = (_OF_MONEY if unit in CURRENCIES else _OF_NUMBERS).get(letter[1])
        return (power, letter.end()) if power else (0, end)
    return 0, end


def _raise(base: Amount, power: re.Match[str]) -> Amount | str:
    """Read powers: 10² and 2^10, or 1e3 and 5×10³."""
    exponent = power["raised"] or power["e"] or power["superscript"].translate(_SUPERSCRIPTS)
    number = base.write()
    if len(exponent) > _MOST_EXPONENT_DIGITS:
        return f"{number}^{exponent}"
    if power["times"] or power["e"]:
        return base.shift(int(exponent))
    if number == "10":
        return Amount("1", int(exponent))
    if base.power or base.over != 1 or len(number) > 3 or not 0 <= int(exponent) <= 100:
        return f"{number}^{exponent}"
    return Amount(str(int(number) ** int(exponent)))


def _write_decade(digits: str, before: str) -> str:
    """Write a decade in full: the 80s are the 1980s."""
    is_short = before.endswith(("the ", "'")) and "30" <= digits <= "90" and digits[1:] == "0"
    return f"19{digits}s" if is_short else f"{digits}s"


def _fold(letter: str) -> str:
    """Fold a character: digits of any script to ours, signs and blanks to one form each, ½ to 1⁄2."""
    digit = unicodedata.decimal(letter, None)
    if digit is not None:
        return str(digit)
    if letter in _SIGNS:
        return _SIGNS[letter]
    plain = unicodedata.normalize("NFKC", letter)
    if "⁄" in plain and len(plain) > 1:
        return f" {plain}"
    if ord(letter) in _FULL_WIDTH:
        return plain
    kind = unicodedata.category(letter)
    return {"Zs": " ", "Pd": "-", "Cf": ""}.get(kind, letter)


_FOLDED = CharacterTable(_fold)
