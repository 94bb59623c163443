"""Exact numbers with one spelling, and how they are read: 1,854.5 and 1 1/2 and 1914-18; others (3.1.2) stay text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd

from stages.judges.numbers.tables import SCALES, NumberStyle

MOST_DIGITS = 9  # of what is calculated with
_MOST_ZEROS = 40  # that are written out


@dataclass(frozen=True)
class Amount:
    """The exact number digits × 10^power / over. `over` is other than 1 only for few digits."""

    digits: str
    power: int = 0
    over: int = 1
    keeps_zeros: bool = False  # those at its end count: versions

    @classmethod
    def of(cls, value: Fraction | int) -> "Amount":
        return cls(str(value.numerator), over=value.denominator)

    def write(self) -> str:
        """Write the number in digits, without an exponent, and in decimals if these end, unless that is long."""
        if self.over != 1:
            return _write_fraction(Fraction(int(self.digits), self.over), self.power)
        digits = self.digits.lstrip("0")
        kept = digits if self.keeps_zeros and self.power < 0 else digits.rstrip("0")
        return _write_decimal(kept, self.power + len(digits) - len(kept)) if kept else "0"

    def shift(self, power: int) -> "Amount":
        """Multiply by 10^power."""
        return replace(self, power=self.power + power)

    def scale(self, name: str) -> "Amount":
        """Multiply by what a word says: million, dozen."""
        if name in SCALES:
            return self.shift(SCALES[name])
        is_small = len(self.digits) <= MOST_DIGITS and self.power >= -MOST_DIGITS
        return Amount(str(int(self.digits) * 12), self.power, self.over) if is_small else self


def is_fraction(text: str) -> bool:
    """True if it is a proper fraction such as 2/3; not 4/4."""
    over, _, under = text.lstrip("-±").partition("/")
    return (
        over.isdecimal()
        and under.isdecimal()
        and max(len(over), len(under)) <= 2 * MOST_DIGITS
        and gcd(int(over), int(under)) == 1
    )


def _write_decimal(digits: str, power: int) -> str:
    if not -_MOST_ZEROS <= power <= _MOST_ZEROS and not -len(digits) < power < 0:
        return f"{digits}e{power}"
    if power >= 0:
        return digits + "0" * power
    padded = digits.rjust(1 - power, "0")
    return f"{padded[:power]}.{padded[power:]}"


def _write_fraction(value: Fraction, power: int) -> str:
    rest, places = value.denominator, 0
    while gcd(rest, 10) > 1:
        rest, places = rest // gcd(rest, 10), places + 1
    if rest == 1:
        return Amount(str(int(value * 10**places)), power - places).write()
    if abs(power) > _MOST_ZEROS:
        return f"{value}e{power}"
    return str(value * Fraction(10) ** power)


RUN = (  # digits, with what may stand between them
    r"(?:\d++|(?<![\w.])\.(?=\d)\d++)"
    r"(?:(?:[.,:](?=\d)|'(?=\d{3}(?!\d))|(?<!\d{4}) (?=\d{3}(?![\d/⁄]))|(?<!\d{4}) (?=\d{1,3}[/⁄]\d)"
    r"| ?[-/⁄] ?(?=\d)| to (?=\d))\d++)*+"
)


def read_digits(run: str, style: NumberStyle) -> list[Amount | str]:
    """Read one number, or a range with "to" between its ends; anything else stays as it is written."""
    ends = re.split(r" ?- ?| to ", run)
    if len(ends) == 2:
        first, last = ends
        if len(first) == 4 and len(last) == 2 and (first + last).isdecimal() and last > first[2:]:
            last = first[:2] + last  # 1914-18
        return [*_read_undashed(first, style), "to", *_read_undashed(last, style)]
    return _read_undashed(run, style) if len(ends) == 1 else ["-".join(map(_strip_zeros, ends))]


def _read_undashed(run: str, style: NumberStyle) -> list[Amount | str]:
    fields = re.split(r" ?[/⁄] ?", run)
    if len(fields) == 2 and (value := _read_fraction(*fields, is_certain="⁄" in run)) is not None:
        return [Amount.of(value)]
    if len(fields) > 1:
        return ["/".join(map(_strip_zeros, fields))]
    return [_strip_zeros(run)] if ":" in run else _read_separated(run, style)


def _read_fraction(over: str, under: str, *, is_certain: bool) -> Fraction | None:
    """Read 1/2 and 1 1/2. What could be reduced, such as 4/4 and 9/12, is no number but a time, odds or a date."""
    whole, _, over = over.rpartition(" ")
    if not (all(digits.isdecimal() for digits in (whole or "0", over, under)) and under.strip("0")):
        return None
    is_certain = is_certain or bool(whole)
    if max(len(whole), len(over), len(under)) > (MOST_DIGITS if is_certain else 3):
        return None
    if not is_certain and (gcd(int(over), int(under)) > 1 or int(under) == 1):
        return None
    return int(whole or 0) + Fraction(int(over), int(under))


def _strip_zeros(run: str) -> str:
    """Strip leading zeros."""
    return re.sub(r"(?<![\d.])0++(?=\d)", "", run)


def _read_separated(run: str, style: NumberStyle) -> list[Amount | str]:
    """Read digits with points, commas, blanks and apostrophes between them."""
    parts, between = re.split(r"[., ']", run), re.sub(r"\d", "", run)
    if len(parts) == 1:
        return [Amount(run)]
    group = between[0]
    groups = len(between) - len(between.lstrip(group))
    has_decimals = len(between) == groups + 1 and between[-1] in ".,"
    grouped = (has_decimals or len(between) == groups) and _is_grouped(parts[: groups + 1], group)
    if grouped and (has_decimals or groups > 1 or not _is_decimal(parts, group, style)):
        decimals = parts[-1] if has_decimals else ""
    elif len(parts) == 2 and group in ".,":
        decimals = parts[1]
    else:
        for separator in " ,":
            if separator in run:
                return [each for part in run.split(separator) if part for each in _read_separated(part, style)]
        return [run]
    return [Amount("".join(parts), -len(decimals), keeps_zeros=style.keeps_zeros)]


def _is_grouped(parts: Sequence[str], group: str) -> bool:
    """True if digits are grouped in threes, or as in India: 1,00,000."""
    first, *middle, last = parts
    threes = 1 <= len(first) <= 3 and all(len(part) == 3 for part in middle)
    indian = group == "," and 1 <= len(first) <= 2 and all(len(part) == 2 for part in middle)
    return (threes or indian) and len(last) == 3


def _is_decimal(parts: Sequence[str], group: str, style: NumberStyle) -> bool:
    """True if three digits after one point or comma are decimals."""
    return group in ".," and (not parts[0].strip("0") or (group == ",") is style.decimal_comma)
