"""Tables of units, currencies and scales, and how texts write numbers: with a decimal comma, or as versions."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from types import MappingProxyType
from typing import ParamSpec, TypeVar, cast

_P = ParamSpec("_P")
_T = TypeVar("_T")
_MOST_LETTERS = 4000  # of a text that is kept for long
_LONG_TEXTS = 4  # that are kept: those of the case that is being graded


def cache_texts(entries: int = 1024) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Keep a function's latest results by its arguments: questions and gold answers recur, long answers do not."""

    def decorate(read: Callable[_P, _T]) -> Callable[_P, _T]:
        of_short, of_long = (cast("Callable[_P, _T]", lru_cache(size)(read)) for size in (entries, _LONG_TEXTS))

        @wraps(read)
        def look_up(*arguments: _P.args, **named: _P.kwargs) -> _T:
            is_long = len(str(arguments[0])) > _MOST_LETTERS
            return (of_long if is_long else of_short)(*arguments, **named)

        return look_up

    return decorate


class CharacterTable(dict[int, str]):
    """A table for `str.translate` that calls `find` for each character it meets first, and keeps the result."""

    def __init__(self, find: Callable[[str], str], known: Mapping[int, str] = MappingProxyType({})) -> None:
        super().__init__(known)
        self.find = find

    def __missing__(self, code: int) -> str:
        self[code] = found = self.find(chr(code))
        return found


def list_words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def read_table(text: str) -> dict[str, str]:
    """Read a table: `name: way to write it | another; name: …`, where `metre(s)` is both metre and metres."""
    found: dict[str, str] = {}
    for entry in re.split(r"[;\n]", text.strip()):
        name, _, ways = entry.strip().partition(": ")
        for way in ways.split(" | "):
            found |= {way.replace("(s)", ""): name, way.replace("(s)", "s"): name}
    return found


def one_of(names: Iterable[str]) -> str:
    """Return a pattern for any of these names. Of two that begin alike the longer is tried first."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


SCALES = {
    **{"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "quadrillion": 15},
    **{"lakh": 5, "crore": 7},
}  # powers of ten
SCALE = re.compile(rf"[ -]?(?P<scale>{'|'.join([*SCALES, 'dozen'])})s?\b")
MONEY = read_table("""
$: $ | us$ | usd | dollar(s) | us dollar(s); €: € | eur | euro(s); £: £ | gbp | pound(s) | pounds sterling
¥: ¥ | jpy | yen; ₹: ₹ | inr | rupee(s); ₽: ₽ | rub | rouble(s) | ruble(s); A$: a$ | aud | australian dollars
C$: c$ | cad | canadian dollars; HK$: hk$; NZ$: nz$; ₩: ₩; ₺: ₺; ₪: ₪; CHF: chf
""")
MEASURES = read_table("""
percent: % | percent | per cent | pct | percentage; permille: ‰ | per mille | permille
celsius: °c | degree(s) celsius | degrees c | celsius; fahrenheit: °f | degree(s) fahrenheit | degrees f | fahrenheit
mm: mm | millimetre(s) | millimeter(s); cm: cm | centimetre(s) | centimeter(s); metre: m | metre(s) | meter(s)
km: km | kilometre(s) | kilometer(s); inch: inch | inches; foot: ft | foot | feet; yard: yd | yard(s)
nm: nm | nanometre(s) | nanometer(s); mg: mg | milligram(s)
mile: mi | mile(s); gram: g | gram(s) | gramme(s); kg: kg | kilo(s) | kilogram(s) | kilogramme(s); lb: lb(s)
ton: ton(s); tonne: tonne(s); second: sec(s) | second(s); minute: min(s) | minute(s); hour: h | hr(s) | hour(s)
day: day(s); week: week(s); month: month(s); year: yr(s) | year(s)
km/h: km/h | kmh | kph | km per hour | kilometres per hour | kilometers per hour | kilometres an hour
km/h: kilometers an hour; mph: mph | miles per hour | miles an hour
m/s: m/s | m per second | metres per second | meters per second
km/s: km/s | km per second | kilometres per second | kilometers per second
km²: km² | km2 | km^2 | sq km | square km | square kilometre(s) | square kilometers
m²: m² | m2 | m^2 | sq m | square metre(s) | square meter(s)
m³: m³ | m3 | m^3 | cubic metre(s) | cubic meter(s)
square mile: sq mi | square mi | square mile(s); square foot: sq ft | square feet | square foot
litre: l | litre(s) | liter(s); ml: ml | millilitre(s) | milliliter(s)
kb: kb | kilobyte(s); mb: mb | megabyte(s); gb: gb | gigabyte(s); tb: tb | terabyte(s)
kbit: kbit(s) | kilobit(s); mbit: mbit(s) | megabit(s); gbit: gbit(s) | gigabit(s); tbit: tbit(s) | terabit(s)
kbit/s: kbps | kbit/s | kilobits per second; mbit/s: mbps | mbit/s | megabits per second
gbit/s: gbps | gbit/s | gigabits per second; mb/s: mb/s | megabytes per second; gb/s: gb/s | gigabytes per second
watt: w | watt(s); kw: kw | kilowatt(s); hertz: hz | hertz; khz: khz | kilohertz; mhz: mhz | megahertz
milliwatt: milliwatt(s); megawatt: mw | megawatt(s); millihertz: millihertz
ghz: ghz | gigahertz; kwh: kwh | kilowatt hour(s); volt: v | volt(s)
°: ° | degree(s); cent: ¢ | cent(s); am: am | a.m.; pm: pm | p.m.
bc: bc | bce | b.c. | b.c.e.; ad: ad | ce | a.d. | c.e.
""")
UNIT_NAMES = MEASURES | MONEY
BY_CASE = {  # names whose capitals make them another unit
    **{"Kb": "kbit", "Mb": "mbit", "Gb": "gbit", "Tb": "tbit"},
    **{"Mb/s": "mbit/s", "Gb/s": "gbit/s", "MBps": "mb/s", "GBps": "gb/s", "mW": "milliwatt", "mHz": "millihertz"},
}
CURRENCIES = frozenset(MONEY.values())
ALL_UNITS = frozenset(UNIT_NAMES.values())
MEASURE = re.compile(
    rf"[ -]?(?P<unit>{one_of(UNIT_NAMES)})(?![\w²³/\ue000-\uf8ff])"
)  # private: marks of reading.letters


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
    """The way in which a case writes numbers. `keeps_zeros`: 3.10 is not 3.1."""

    decimal_comma: bool = False
    keeps_zeros: bool = False


PLAIN = NumberStyle()


def detect_style(*texts: str) -> NumberStyle:
    """Detect the number style of texts that belong together, by their words."""
    grouped = any(_GROUPED.search(text) for text in texts)
    return NumberStyle(grouped and sum(map(_count_comma_words, texts)) > 0, any(map(_names_version, texts)))


@cache_texts()
def _count_comma_words(text: str) -> int:
    """Count how many more words are of languages with a decimal comma than of English."""
    words = text[:_MOST_READ].lower().split()
    return sum((word in _WITH_COMMA) - (word in _WITH_POINT) for word in words)


@cache_texts()
def _names_version(text: str) -> bool:
    """True if there is a version, such as Python 3.10; not: costs 3.10 dollars, about 3.10."""
    return _VERSION.search(text) is not None or any(
        match[1].lower() not in _NO_NAMES and not any(what.match(text, match.end()) for what in (MEASURE, SCALE))
        for match in _NAMED.finditer(text)
    )
