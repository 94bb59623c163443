"""Exact numbers of any length, and their one canonical spelling."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd

SCALES = {
    **{"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "quadrillion": 15},
    **{"lakh": 5, "crore": 7},
}  # powers of ten
SCALE = re.compile(rf"[ -]?(?P<scale>{'|'.join([*SCALES, 'dozen'])})s?\b")
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
    """Return whether it is a proper fraction such as 2/3; not 4/4."""
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
