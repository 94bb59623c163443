"""Numbers made comparable: however a number is written it becomes the same token, and another number another token.

    1,854   1 854   1'854   ١٨٥٤   one thousand eight hundred and fifty-four         1854
    1.5 million   1,5 Mio   1.5×10^6   1½ million   one and a half million          1500000
    -5 %   −5%   minus five per cent                                                -5 percent
    nineteenth   '80s   1914–18   09:30   ¾   half a dozen          19th 1980s 1914 to 1918 9:30 0.75 6

What could be read in two ways is read as in English, unless the text is plainly in a language that writes decimals with
a comma. Everything takes time linear in the text: long digits stay text.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd

_LONGEST = 9  # digits of what is calculated with
_LARGEST = 40  # zeros that are written out
_EXACT_POWER = 15  # digits of an exponent


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _each(names: str, meaning: str) -> dict[str, str]:
    return dict.fromkeys(names.split("|"), meaning)


UNITS = _listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ORDINALS = _listed(
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
TENS = _listed("twenty thirty forty fifty sixty seventy eighty ninety")
_CARDINAL = {word: number for number, word in enumerate(UNITS)} | {word: 10 * n for n, word in enumerate(TENS, start=2)}
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "quadrillion": 15} | {
    "lakh": 5,
    "crore": 7,
}  # powers of ten
_ORDINAL = (
    {word: number for number, word in enumerate(_ORDINALS)}
    | {word[:-1] + "ieth": 10 * n for n, word in enumerate(TENS, start=2)}
    | {word + "th": 10**power for word, power in _SCALES.items()}
)
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4} | {
    word + ending: number for word, number in _ORDINAL.items() if number > 2 for ending in ("", "s")
}
_DECADES = {word[:-1] + "ies": 10 * n for n, word in enumerate(TENS, start=2)}
_SPELLED = frozenset(_CARDINAL) | set(_ORDINAL) | set(_PARTS) | set(_SCALES) | set(_DECADES) | {"dozen"}
_NEVER_ALONE = frozenset({"quarter", "quarters", "halves", "twenties", "dozen"}) | set(_SCALES)
_NOT_COUNTED = {  # after these it is no number
    "one": frozenset(_listed("no any every some each this that which")),
    "second": frozenset(_listed("per each every")),
    "half": frozenset(_listed("first second latter former other last better top bottom upper lower each either this"))
    | set(_listed("northern southern eastern western that")),
}

_ATTACHED = {"k": 3, "K": 3, "M": 6}  # 5k, 5M
_FOREIGN = _each("millionen|millones|milioni|milhões|miljoen|млн|миллион|миллиона|миллионов", "million") | _each(
    "mrd|milliarde|milliarden|milliard|milliards|miliardi|miljard|млрд|миллиард|миллиарда|миллиардов", "billion"
)
_ABBREVIATED = {name: _SCALES[scale] for name, scale in _FOREIGN.items()} | {
    "mn": 6,
    "mln": 6,
    "mio": 6,
    "bn": 9,
    "tn": 12,
    "trn": 12,
    "ma": 6,
    "mya": 6,
}
_OF_MONEY = {"m": 6, "b": 9, "B": 9, "t": 12, "T": 12}  # $5m
_MONEY = (
    _each("$|us$|usd|dollar|dollars|us dollar|us dollars", "$")
    | _each("€|eur|euro|euros", "€")
    | _each("£|gbp|pound|pounds|pounds sterling", "£")
    | _each("¥|jpy|yen", "¥")
    | _each("₹|inr|rupee|rupees", "₹")
    | _each("₽|rub|rouble|roubles|ruble|rubles", "₽")
    | _each("a$|aud|australian dollars", "A$")
    | _each("c$|cad|canadian dollars", "C$")
    | {"hk$": "HK$", "nz$": "NZ$", "₩": "₩", "₺": "₺", "₪": "₪", "chf": "CHF"}
)
_MEASURES = (
    _each("%|percent|per cent|pct|percentage", "percent")
    | _each("‰|per mille|permille", "permille")
    | _each("°c|degree celsius|degrees celsius|degrees c|celsius", "celsius")
    | _each("°f|degree fahrenheit|degrees fahrenheit|degrees f|fahrenheit", "fahrenheit")
    | _each("mm|millimetre|millimetres|millimeter|millimeters", "mm")
    | _each("cm|centimetre|centimetres|centimeter|centimeters", "cm")
    | _each("m|metre|metres|meter|meters", "metre")
    | _each("km|kilometre|kilometres|kilometer|kilometers", "km")
    | _each("inch|inches", "inch")
    | _each("ft|foot|feet", "foot")
    | _each("yd|yard|yards", "yard")
    | _each("mi|mile|miles", "mile")
    | _each("g|gram|grams|gramme|grammes", "gram")
    | _each("kg|kilo|kilos|kilogram|kilograms|kilogramme|kilogrammes", "kg")
    | _each("lb|lbs", "lb")
    | _each("ton|tons", "ton")
    | _each("tonne|tonnes", "tonne")
    | _each("sec|secs|second|seconds", "second")
    | _each("min|mins|minute|minutes", "minute")
    | _each("h|hr|hrs|hour|hours", "hour")
    | _each("day|days", "day")
    | _each("week|weeks", "week")
    | _each("month|months", "month")
    | _each("yr|yrs|year|years", "year")
    | _each(
        "km/h|kmh|kph|km per hour|kilometres per hour|kilometers per hour|kilometres an hour|kilometers an hour", "km/h"
    )
    | _each("mph|miles per hour|miles an hour", "mph")
    | _each("m/s|m per second|metres per second|meters per second", "m/s")
    | _each("km/s|km per second|kilometres per second|kilometers per second", "km/s")
    | _each("km²|km2|km^2|sq km|square km|square kilometres|square kilometers|square kilometre", "km²")
    | _each("m²|m2|m^2|sq m|square metres|square meters|square metre|square meter", "m²")
    | _each("sq mi|square mi|square miles|square mile", "square mile")
    | _each("sq ft|square feet|square foot", "square foot")
    | _each("l|litre|litres|liter|liters", "litre")
    | _each("ml|millilitre|millilitres|milliliter|milliliters", "ml")
    | _each("kb|kilobyte|kilobytes", "kb")
    | _each("mb|megabyte|megabytes", "mb")
    | _each("gb|gigabyte|gigabytes", "gb")
    | _each("tb|terabyte|terabytes", "tb")
    | _each("w|watt|watts", "watt")
    | _each("kw|kilowatt|kilowatts", "kw")
    | _each("hz|hertz", "hertz")
    | _each("khz|kilohertz", "khz")
    | _each("mhz|megahertz", "mhz")
    | _each("ghz|gigahertz", "ghz")
    | _each("°|degree|degrees", "°")
    | _each("¢|cent|cents", "cent")
    | _each("am|a.m.", "am")
    | _each("pm|p.m.", "pm")
    | _each("bc|bce|b.c.|b.c.e.", "bc")
    | _each("ad|ce|a.d.|c.e.", "ad")
)
CURRENCIES = frozenset(_MONEY.values())
MEASURED = CURRENCIES | set(_MEASURES.values())
_UNIT_NAMES = _MEASURES | _MONEY
_CAPITALS = frozenset("MGH")  # 3G is no 3 g

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_RAISED = f"[-+⁺⁻]?[{'⁰¹²³⁴⁵⁶⁷⁸⁹'}]++"
_SIGNS = {"٫": ".", "٬": ",", "٪": "%", "’": "'", "‘": "'", "ʼ": "'", "−": "-", "℃": "°C", "℉": "°F", "￥": "¥"}
_SMALL = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}  # no letter becomes two
_FULL_WIDTH = range(0xFF01, 0xFF5F)


def _any(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


_RUN = (  # digits, with what may stand between them
    r"(?:\d++|(?<![\w.])\.(?=\d)\d++)"
    r"(?:(?:[.,:](?=\d)|'(?=\d{3}(?!\d))|(?<!\d{4}) (?=\d{3}(?![\d/⁄]))|(?<!\d{4}) (?=\d{1,3}[/⁄]\d)"
    r"| ?[-/⁄] ?(?=\d)| to (?=\d))\d++)*+"
)
_CODES = _any(name for name in _MONEY if name.isalpha() and len(name) == 3 and name != "yen")
_WORDS = rf"(?:{_any(_SPELLED)})\b"
_NUMBER = re.compile(
    rf"(?P<run>{_RUN})|\b(?P<words>(?:an? (?=(?:half|quarter|dozen|hundred|thousand|[mbtr]+illion)\b))?"
    rf"{_WORDS}(?:(?:[ -]|,? and )(?:an? )?{_WORDS})*+)"
)
_CODES = _any(name for name in _MONEY if name.isalpha() and len(name) == 3 and name != "yen")
_BEFORE = re.compile(  # a number
    r"(?:(?P<compared>[<>])=? ?)?(?P<sign>(?<![\w)\].%°+-])[-+]|± ?|\b(?:minus|negative)[ -])?"
    rf"(?:(?P<money>\b(?:us|hk|nz|a|c)\$|[$€£¥₹₽₩₺₪]|\b(?:{_CODES})\b) ?|(?P<era>\b(?:ad|a\.d\.)) )?"
    r"(?P<inner>(?<=[$€£¥₹₽₩₺₪])[-+])?\Z"
)
_REACH = 20  # letters before a number that may belong to it
_POWER = re.compile(
    rf"(?: ?(?P<times>[×x*·⋅]|\\times|\\cdot) ?10(?=\^|\*\*|[-+⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]))?"
    rf"(?:(?:\^|\*\*)[{{(]?(?P<raised>[-+]?\d++)[)}}]?|(?P<superscript>{_RAISED}))|e(?P<e>[-+]?\d++)(?!\w)"
)
_ENDING = re.compile(r"(?:(?P<nth>st|nd|rd|th)|'?(?P<decade>s))\b")
_AND_PART = re.compile(r" and (an?|one|two|three)[ -](half|thirds?|quarters?)\b")
_SCALE = re.compile(rf"[ -]?(?P<scale>{_any([*_SCALES, 'dozen'])})s?\b")
_ABBREVIATION = re.compile(rf" ?(?P<scale>{_any(_ABBREVIATED)})\b\.?")
_LETTER = re.compile(r" ?([kKMmbBtT])\b")
_MEASURE = re.compile(rf"[ -]?(?P<unit>{_any([*_MONEY, *_MEASURES])})(?![\w²³/])")
_TO = re.compile(r" ?- ?")
_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_PLUS_OR_MINUS = re.compile(r"\+ ?/ ?-")

_GROUPED = re.compile(r"\d{1,3}[.,]\d{3}(?!\d)")
_WITH_COMMA = frozenset(
    _listed(
        "der das und ist wie viele wann wo wer ein eine einen im von den dem nicht auf für le les des est sont combien "
        "quel quelle dans et un une du aux au el los las qué cuántos cuántas cuándo es son del una por il gli quanti "
        "quante che nel della os são quantos quantas em do da de la het een hoeveel zijn och är hur många er hvor mange"
    )
)
_WITH_POINT = frozenset(
    _listed("the of is were how many much what which when who where and at to by for with did does")
)
_NAMED = re.compile(r"\b([^\W\d_]++) \d++\.\d*0(?![\d.])")
_NO_NAMES = frozenset(
    _listed(
        "a about all an and approximately are around as at be between by costs down equals exactly for from had has is "
        "least most nearly of on only or over paid than the to under up was were with"
    )
)
_VERSION = re.compile(r"\b(?:versions?|releases?)\b|\bv\.? ?\d", re.IGNORECASE)


@dataclass(frozen=True)
class Style:
    """How the texts of a case write numbers. `comma`: decimals have one; `versions`: 3.10 is not 3.1."""

    comma: bool = False
    versions: bool = False


PLAIN = Style()


def detect_style(*texts: str) -> Style:
    """What the texts that belong together tell by their words."""
    comma = versions = False
    if any(_GROUPED.search(text) for text in texts):
        found = [word for text in texts for word in text[:10_000].lower().split()]
        comma = sum(word in _WITH_COMMA for word in found) > sum(word in _WITH_POINT for word in found)
    versions = any(_VERSION.search(text) or any(map(_is_named, _NAMED.finditer(text))) for text in texts)
    return Style(comma, versions)


def _is_named(match: re.Match[str]) -> bool:
    """Python 3.10; not: costs 3.10 dollars, about 3.10."""
    return match[1].lower() not in _NO_NAMES and not any(
        what.match(match.string, match.end()) for what in (_MEASURE, _SCALE)
    )


@dataclass(frozen=True)
class Amount:
    """digits × 10^power / over, exact. `over` is other than 1 for few digits only."""

    digits: str
    power: int = 0
    over: int = 1
    zeros: bool = False  # those at its end count: versions

    def token(self) -> str:
        if self.over != 1:
            return _fraction(Fraction(int(self.digits), self.over), self.power)
        digits = self.digits.lstrip("0")
        kept = digits if self.zeros and self.power < 0 else digits.rstrip("0")
        return _decimal(kept, self.power + len(digits) - len(kept)) if kept else "0"

    def times(self, power: int) -> "Amount":
        return replace(self, power=self.power + power)

    def scaled(self, name: str) -> "Amount":
        """By a word: million, dozen."""
        if name in _SCALES:
            return self.times(_SCALES[name])
        small = len(self.digits) <= _LONGEST and self.power >= -_LONGEST
        return _amount(Fraction(self.token()) * 12) if small else self


def _decimal(digits: str, power: int) -> str:
    """Without an exponent, unless it would be long."""
    if not -_LARGEST <= power <= _LARGEST and not -len(digits) < power < 0:
        return f"{digits}e{power}"
    if power >= 0:
        return digits + "0" * power
    padded = digits.rjust(1 - power, "0")
    return f"{padded[:power]}.{padded[power:]}"


def _fraction(value: Fraction, power: int) -> str:
    """value × 10^power, in decimals where these end."""
    rest, places = value.denominator, 0
    while gcd(rest, 10) > 1:
        rest, places = rest // gcd(rest, 10), places + 1
    if rest == 1:
        return Amount(str(int(value * 10**places)), power - places).token()
    if abs(power) > _LARGEST:
        return f"{value}e{power}"
    return str(value * Fraction(10) ** power)


def _amount(value: Fraction | int) -> Amount:
    return Amount(str(value.numerator), over=value.denominator)


def split_numbers(text: str, style: Style = PLAIN) -> Iterator[tuple[bool, str]]:
    """The text in pieces, in order: (True, token) for a number or its unit, (False, text) for what is between."""
    text = _PLUS_OR_MINUS.sub("±", _FRACTION.sub(r"\1/\2", text.translate(_FOLDED)))
    small = text.translate(_SMALL)
    end = 0
    while match := _NUMBER.search(small, end):
        if match["words"] and _is_word(match):
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
    before: re.Match[str] | None, match: re.Match[str], text: str, small: str, style: Style
) -> tuple[list[str], int]:
    """The tokens of what was found, and where it ends."""
    money, era, sign, inner, compared = (
        before.group("money", "era", "sign", "inner", "compared") if before else [None] * 5
    )
    unit = _MONEY.get(money or "") or ("ad" if era else None)
    parts = _spelled(match["words"]) if match["words"] else _written(match["run"], style)
    end = _take_endings(parts, text, small, match.end(), unit)
    measure = None if unit else _MEASURE.match(small, end)
    if measure and text[measure.start("unit") : measure.end()] not in _CAPITALS:
        unit, end = _UNIT_NAMES[measure["unit"]], measure.end()
    said = (sign or inner or "").strip()
    tokens = _tokens(parts, {"": "", "+": "", "±": "±"}.get(said, "-"), unit)
    if compared:
        tokens = ["less" if compared == "<" else "more", "than", *tokens]
    return tokens, end


def _is_word(match: re.Match[str]) -> bool:
    """Whether a lone word says something else: no one, per second, the first half, a billion of them."""
    word = match["words"]
    if word in _NEVER_ALONE:
        return True
    before = match.string[max(0, match.start() - _REACH) : match.start()].replace("-", " ").split()
    return bool(before) and before[-1] in _NOT_COUNTED.get(word, ())


def _tokens(parts: Sequence[Amount | str], sign: str, unit: str | None) -> list[str]:
    """Both ends of a range have its unit."""
    found: list[str] = []
    for place, part in enumerate(parts):
        said = part if isinstance(part, str) else part.token()
        found.append(sign + said if place == 0 and said != "0" else said)
        if unit and (place == len(parts) - 1 or (place == 0 and "to" in parts)):
            found.append(unit)
    return found


def _take_endings(parts: list[Amount | str], text: str, small: str, end: int, unit: str | None) -> int:
    """Changes the parts by the exponent, ending or scale that follows them. Where the number ends then."""
    last = parts[-1]
    if isinstance(last, Amount) and (power := _POWER.match(small, end)):
        parts[-1] = last = _raised(last, power)
        end = power.end()
    if not isinstance(last, Amount):
        return end
    if last.power == 0 and last.over == 1:
        if ending := _ENDING.match(small, end):
            before = small[max(0, end - 6) : end - 2]
            parts[-1] = last.token() + "th" if ending["nth"] else _decade(last.digits, before)
            return ending.end()
        if len(last.digits) <= 3 and (more := _AND_PART.match(small, end)):
            part = Fraction(_CARDINAL.get(more[1], 1), _PARTS[more[2]])
            parts[-1] = last = _amount(int(last.digits) + part)
            end = more.end()
    first = parts[0]
    alike = isinstance(first, Amount) and len(parts) == 3 and len(first.digits) <= len(last.digits)  # 5–10 million
    scaled = [first, last] if alike and isinstance(first, Amount) else [last]
    while scale := _SCALE.match(small, end):
        end = scale.end()
        scaled = [amount.scaled(scale["scale"]) for amount in scaled]
    zeros, end = _short_scale(text, small, end, unit)
    scaled = [amount.times(zeros) for amount in scaled]
    parts[-1] = scaled[-1]
    if alike:
        parts[0] = scaled[0]
    return end


def _short_scale(text: str, small: str, end: int, unit: str | None) -> tuple[int, int]:
    """The power of ten of an abbreviation, and where it ends: 5 bn, 5k, $5 m."""
    if short := _ABBREVIATION.match(small, end):
        return _ABBREVIATED[short["scale"]], short.end()
    if (letter := _LETTER.match(text, end)) and (unit in CURRENCIES or letter.start(1) == end):
        power = (_ATTACHED | _OF_MONEY if unit in CURRENCIES else _ATTACHED).get(letter[1])
        return (power, letter.end()) if power else (0, end)
    return 0, end


def _raised(base: Amount, power: re.Match[str]) -> Amount | str:
    """10² and 2^10, or 1e3 and 5×10³."""
    exponent = power["raised"] or power["e"] or power["superscript"].translate(_SUPERSCRIPTS)
    number = base.token()
    if len(exponent) > _EXACT_POWER:
        return f"{number}^{exponent}"
    if power["times"] or power["e"]:
        return base.times(int(exponent))
    if number == "10":
        return Amount("1", int(exponent))
    if base.power or base.over != 1 or len(number) > 3 or not 0 <= int(exponent) <= 100:
        return f"{number}^{exponent}"
    return Amount(str(int(number) ** int(exponent)))


def _decade(digits: str, before: str) -> str:
    """1980s; the 80s are the same."""
    return (
        f"19{digits}s"
        if before.endswith(("the ", "'")) and "30" <= digits <= "90" and digits[1:] == "0"
        else f"{digits}s"
    )


def _written(run: str, style: Style) -> list[Amount | str]:
    """What digits with signs between them say: one number, a range, or what stays as it is, such as 3.1.2."""
    ends = re.split(r" ?- ?| to ", run)
    if len(ends) == 2:
        first, last = ends
        if len(first) == 4 and len(last) == 2 and (first + last).isdecimal() and last > first[2:]:
            last = first[:2] + last  # 1914-18
        return [*_undashed(first, style), "to", *_undashed(last, style)]
    return _undashed(run, style) if len(ends) == 1 else ["-".join(map(_bare, ends))]


def _undashed(run: str, style: Style) -> list[Amount | str]:
    fields = re.split(r" ?[/⁄] ?", run)
    if len(fields) == 2 and (value := _parts_of_one(*fields, certain="⁄" in run)) is not None:
        return [_amount(value)]
    if len(fields) > 1:
        return ["/".join(map(_bare, fields))]
    return [_bare(run)] if ":" in run else _plain(run, style)


def is_fraction(token: str) -> bool:
    """Whether it is a number such as 2/3; not 4/4."""
    over, _, under = token.lstrip("-±").partition("/")
    return (
        over.isdecimal()
        and under.isdecimal()
        and max(len(over), len(under)) <= 2 * _LONGEST
        and gcd(int(over), int(under)) == 1
    )


def _parts_of_one(over: str, under: str, *, certain: bool) -> Fraction | None:
    """1/2 and 1 1/2. What could be reduced, such as 4/4 and 9/12, is no number but a time, an odd or a date."""
    whole, _, over = over.rpartition(" ")
    if not (all(digits.isdecimal() for digits in (whole or "0", over, under)) and under.strip("0")):
        return None
    certain = certain or bool(whole)
    if max(len(whole), len(over), len(under)) > (_LONGEST if certain else 3):
        return None
    if not certain and (gcd(int(over), int(under)) > 1 or int(under) == 1):
        return None
    return int(whole or 0) + Fraction(int(over), int(under))


def _bare(run: str) -> str:
    """Without the zeros before a number."""
    return re.sub(r"(?<![\d.])0++(?=\d)", "", run)


def _plain(run: str, style: Style) -> list[Amount | str]:
    """Digits, with points, commas, blanks and apostrophes between them."""
    parts, between = re.split(r"[., ']", run), re.sub(r"\d", "", run)
    if len(parts) == 1:
        return [Amount(run)]
    group = between[0]
    groups = len(between) - len(between.lstrip(group))
    ended = len(between) == groups + 1 and between[-1] in ".,"
    grouped = (ended or len(between) == groups) and _is_grouped(parts[: groups + 1], group)
    if grouped and (ended or groups > 1 or not _is_decimal(parts, group, style)):
        decimals = parts[-1] if ended else ""
        return [Amount("".join(parts), -len(decimals), zeros=style.versions)]
    if len(parts) == 2 and group in ".,":
        return [Amount("".join(parts), -len(parts[1]), zeros=style.versions)]
    for separator in " ,":
        if separator in run:
            return [each for part in run.split(separator) if part for each in _plain(part, style)]
    return [run]


def _is_grouped(parts: Sequence[str], group: str) -> bool:
    """Whether digits stand in threes, or as in India: 1,00,000."""
    first, *middle, last = parts
    threes = 1 <= len(first) <= 3 and all(len(part) == 3 for part in middle)
    indian = group == "," and 1 <= len(first) <= 2 and all(len(part) == 2 for part in middle)
    return (threes or indian) and len(last) == 3


def _is_decimal(parts: Sequence[str], group: str, style: Style) -> bool:
    """Whether three digits behind one point or comma are decimals."""
    return group in ".," and (not parts[0].strip("0") or (group == ",") is style.comma)


def _spelled(said: str) -> list[Amount | str]:
    """What words say, in order: numbers, and those words between them that make no number."""
    words = [*re.findall(r"[a-z]+", said), "", ""]  # so that the next two are always there
    found: list[Amount | str] = []
    place = 0
    while words[place]:
        value, place, told = _next(words, place)
        if value is None or told == "th" or told == "s":
            found.append(f"{value}{told}" if value is not None else told)
        else:
            found.append(_amount(value))
    return found


def _next(words: Sequence[str], place: int) -> tuple[Fraction | None, int, str]:
    """(value, where it ends, its ending "th" or "s"), or (None, …, the word) for a word that is no number."""
    word = words[place]
    if word in _DECADES and word != "twenties":
        return Fraction(1900 + _DECADES[word]), place + 1, "s"
    if word == "second" and place and words[place - 1] in _CARDINAL:
        return None, place + 1, word
    started = place + (word in ("a", "an"))
    if words[started] in ("half", "quarter") and (started > place or word == "half"):
        if place and words[place - 1] in _NOT_COUNTED["half"]:
            return None, place + 1, word
        return *_scaled(words, started + 1, Fraction(1, _PARTS[words[started]])), ""
    if words[started] == "dozen" and started > place:
        return Fraction(12), started + 1, ""
    count, after, nth = _count(words, place)
    if count is None:
        return None, place + 1, word
    if nth:
        return Fraction(count), after, "th"
    if 10 <= count <= 20 and words[after] in _DECADES:
        return Fraction(100 * count + _DECADES[words[after]]), after + 1, "s"
    part, later = _part(words, after, count)
    if later == after:
        return Fraction(count) * (12 if words[after] == "dozen" else 1), after + (words[after] == "dozen"), ""
    return *_scaled(words, later, part), ""


def _part(words: Sequence[str], place: int, count: int) -> tuple[Fraction, int]:
    """Two thirds, or two and a half; the count as it is where no part follows."""
    if words[place] in _PARTS and (words[place] in ("half", "quarter") or words[place].endswith("s") == (count != 1)):
        return Fraction(count, _PARTS[words[place]]), place + 1
    if words[place] == "and" and words[place + 1]:
        over = 1 if words[place + 1] in ("a", "an") else _CARDINAL.get(words[place + 1], 0)
        name = words[place + 2]
        if over and name in _PARTS and name.endswith("s") == (over != 1):
            return count + Fraction(over, _PARTS[name]), place + 3
    return Fraction(count), place


def _scaled(words: Sequence[str], place: int, value: Fraction) -> tuple[Fraction, int]:
    """Half a million, one and a half million, half a dozen."""
    named = place + (words[place] in ("a", "an"))
    if words[named] == "dozen":
        return value * 12, named + 1
    return (value * 10 ** _SCALES[words[named]], named + 1) if words[named] in _SCALES else (value, place)


def _count(words: Sequence[str], place: int) -> tuple[int | None, int, bool]:
    """(value, where it ends, whether it is an ordinal) of a whole number that starts here."""
    total, limit = 0, 99
    while words[place]:
        start = place + (total > 0 and words[place] == "and")
        part, after, nth = _below_thousand(words, start)
        if part is None:
            after = start + (words[start] in ("a", "an"))
            part = 1
        name = words[after].removesuffix("th")
        power = _SCALES.get(name, 0)
        if nth or (not power and after > start and words[start] not in ("a", "an")):
            return total + part, after, nth
        if not power or power >= limit:
            break
        total, limit, place = total + part * 10**power, power, after + 1
        if words[after] != name:
            return total, place, True
    return total or None, place, False


def _below_thousand(words: Sequence[str], place: int) -> tuple[int | None, int, bool]:
    """Or a year, such as nineteen eighty-four."""
    value, after, nth = _below_hundred(words, place)
    if value is None and words[place] in ("a", "an") and words[place + 1] == "hundred":
        value, after = 1, place + 1
    if value is None and words[place] == "hundred":
        value, after = 1, place
    if value is None or nth:
        return value, after, nth
    if words[after] == "hundredth":
        return value * 100, after + 1, True
    if words[after] == "hundred" and value:
        more, later, nth = _below_hundred(words, after + 1 + (words[after + 1] == "and"))
        return (value * 100, after + 1, False) if more is None else (value * 100 + more, later, nth)
    if 10 <= value <= 20:
        more, later, nth = _below_hundred(words, after)
        if more is not None and more >= 10 and not nth:
            return value * 100 + more, later, False
    return value, after, False


def _below_hundred(words: Sequence[str], place: int) -> tuple[int | None, int, bool]:
    word, following = words[place], words[place + 1] if words[place] else ""
    if word in _ORDINAL and _ORDINAL[word] < 100:
        return _ORDINAL[word], place + 1, True
    value = _CARDINAL.get(word)
    if value is None or value < 20:
        return value, place + (value is not None), False
    if 1 <= _CARDINAL.get(following, 0) <= 9:
        return value + _CARDINAL[following], place + 2, False
    if 1 <= _ORDINAL.get(following, 0) <= 9:
        return value + _ORDINAL[following], place + 2, True
    return value, place + 1, False


class _Folded(dict[int, str]):
    """What becomes of each letter, found when it is first met; for `str.translate`."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _fold(chr(code))
        return found


def _fold(letter: str) -> str:
    """A digit of any script in ours, one form of each sign and blank, ½ as 1⁄2; others as they are."""
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


_FOLDED = _Folded()
