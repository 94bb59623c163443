"""Word tables: how they are written in the source, those of units and currencies, and patterns made of them."""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType


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
mile: mi | mile(s); gram: g | gram(s) | gramme(s); kg: kg | kilo(s) | kilogram(s) | kilogramme(s); lb: lb(s)
ton: ton(s); tonne: tonne(s); second: sec(s) | second(s); minute: min(s) | minute(s); hour: h | hr(s) | hour(s)
day: day(s); week: week(s); month: month(s); year: yr(s) | year(s)
km/h: km/h | kmh | kph | km per hour | kilometres per hour | kilometers per hour | kilometres an hour
km/h: kilometers an hour; mph: mph | miles per hour | miles an hour
m/s: m/s | m per second | metres per second | meters per second
km/s: km/s | km per second | kilometres per second | kilometers per second
km²: km² | km2 | km^2 | sq km | square km | square kilometre(s) | square kilometers
m²: m² | m2 | m^2 | sq m | square metre(s) | square meter(s)
square mile: sq mi | square mi | square mile(s); square foot: sq ft | square feet | square foot
litre: l | litre(s) | liter(s); ml: ml | millilitre(s) | milliliter(s)
kb: kb | kilobyte(s); mb: mb | megabyte(s); gb: gb | gigabyte(s); tb: tb | terabyte(s)
watt: w | watt(s); kw: kw | kilowatt(s); hertz: hz | hertz; khz: khz | kilohertz; mhz: mhz | megahertz
ghz: ghz | gigahertz; °: ° | degree(s); cent: ¢ | cent(s); am: am | a.m.; pm: pm | p.m.
bc: bc | bce | b.c. | b.c.e.; ad: ad | ce | a.d. | c.e.
""")
UNIT_NAMES = MEASURES | MONEY
CURRENCIES = frozenset(MONEY.values())
ALL_UNITS = frozenset(UNIT_NAMES.values())
MEASURE = re.compile(rf"[ -]?(?P<unit>{one_of(UNIT_NAMES)})(?![\w²³/])")
