"""The rule of a card's gate: `learned>10 & lost<2`. Comparisons of names and numbers, `&` before `|`, parentheses.

Nothing is computed but comparisons. What an unscored answer would come to decides nothing: a comparison holds if it
holds at both ends of its measures.
"""

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.errors import BadConfig

_MOST_LETTERS, _MOST_NESTED = 2000, 20
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))|(?P<compare><=|>=|==|!=|<|>|=)|(?P<join>&&?|\|\|?)|(?P<bracket>[()])"
    r'|(?P<name>[^\W\d][\w.-]*)|"(?P<quoted>[^"]+)")'
)
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Bounds:
    """What a measure is: between `low` and `high`, which are equal where every answer is scored."""

    low: float
    high: float

    def describe(self) -> str:
        """Say it, as the end of a sentence."""
        if self.low == self.high:
            return f"is {self.low:.4g}"
        return f"is between {self.low:.4g} and {self.high:.4g}, as answers are unscored"


Measures = Mapping[str, Bounds | str]  # a text says why it was not measured


@dataclass(frozen=True)
class Condition:
    """`learned>10`: each side is a name, or a number."""

    left: str | float
    sign: str
    right: str | float
    text: str

    def holds(self, measures: Mapping[str, Bounds]) -> bool:
        """True if it holds whatever unscored answers come to."""
        left, right = (
            measures[side] if isinstance(side, str) else Bounds(side, side) for side in (self.left, self.right)
        )
        if self.sign in ("=", "=="):
            return left.low == left.high == right.low == right.high
        if self.sign == "!=":
            return left.high < right.low or right.high < left.low
        low, high = (left.low, right.high) if self.sign[0] == ">" else (left.high, right.low)
        return _HOLDS[self.sign](low, high)


@dataclass(frozen=True)
class Joined:
    """Rules of which all have to hold (`&`), or one (`|`)."""

    join: str
    rules: "tuple[Condition | Joined, ...]"

    def holds(self, measures: Mapping[str, Bounds]) -> bool:
        """True if all of them hold, or one."""
        return (all if self.join == "&" else any)(rule.holds(measures) for rule in self.rules)


@dataclass(frozen=True)
class GateExpression:
    """A rule that was read. `text` is what was given."""

    text: str
    rule: Condition | Joined

    def find_failures(self, measures: Measures) -> list[str]:
        """Return why the gate does not hold, a sentence each; empty if it does.

        It never holds with a measure that was not measured.
        """
        asked = list(_list_comparisons(self.rule))
        names = dict.fromkeys(side for each in asked for side in (each.left, each.right) if isinstance(side, str))
        missing = [f"{name} was not measured: {why}" for name in names if isinstance(why := measures[name], str)]
        if missing:
            return missing
        known = {name: found for name in names if isinstance(found := measures[name], Bounds)}
        if self.rule.holds(known):
            return []
        failed = [each for each in asked if not each.holds(known)]
        return [f"{each.text} does not hold: {_tell_sides(each, known)}" for each in failed]


def read_gate_expression(text: str, known: Collection[str]) -> GateExpression:
    """Read a rule about these names. Raises BadConfig for what is no rule, and for an unknown name."""
    if len(text) > _MOST_LETTERS:
        raise BadConfig(f"--gate: {len(text)} letters are too many for a rule; {_MOST_LETTERS} are the most")
    reader = _Reader(text, known)
    rule = reader.read_any(0)
    if reader.at < len(reader.tokens):
        raise reader.refuse("& or | or the end")
    return GateExpression(text, rule)


def _list_comparisons(rule: Condition | Joined) -> Iterator[Condition]:
    if isinstance(rule, Condition):
        yield rule
        return
    for each in rule.rules:
        yield from _list_comparisons(each)


def _tell_sides(comparison: Condition, known: Mapping[str, Bounds]) -> str:
    names = [side for side in (comparison.left, comparison.right) if isinstance(side, str)]
    return " and ".join(f"{name} {known[name].describe()}" for name in dict.fromkeys(names)) or "it never does"


class _Reader:
    """Reads the tokens of a rule from left to right."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        self.text, self.known, self.at = text, known, 0
        self.tokens: list[tuple[str, str, int]] = []  # kind, text, where it begins
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                bad = text[place:].lstrip()
                raise BadConfig(f"--gate {text}: cannot be read at {bad[:20]!r}; {_EXAMPLE}")
            self.tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            place = match.end()

    def peek(self) -> tuple[str, str]:
        kind, text, _ = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", 0)
        return kind, text

    def refuse(self, wanted: str) -> BadConfig:
        kind, found = self.peek()
        where = "at the end" if kind == "end" else f"at {found!r}"
        return BadConfig(f"--gate {self.text}: {wanted} is wanted {where}; {_EXAMPLE}")

    def read_any(self, depth: int) -> Condition | Joined:
        return self._read_joined("|", lambda: self._read_joined("&", lambda: self._read_term(depth)))

    def _read_joined(self, join: str, read: Callable[[], Condition | Joined]) -> Condition | Joined:
        rules = [read()]
        while self.peek()[1] in (join, 2 * join) and self.peek()[0] == "join":
            self.at += 1
            rules.append(read())
        return rules[0] if len(rules) == 1 else Joined(join, tuple(rules))

    def _read_term(self, depth: int) -> Condition | Joined:
        if self.peek() == ("bracket", "("):
            if depth >= _MOST_NESTED:
                raise BadConfig(f"--gate {self.text}: more than {_MOST_NESTED} parentheses in one another")
            self.at += 1
            rule = self.read_any(depth + 1)
            if self.peek() != ("bracket", ")"):
                raise self.refuse("& or | or )")
            self.at += 1
            return rule
        first = self.at
        left = self._read_side()
        kind, sign = self.peek()
        if kind != "compare":
            raise self.refuse("a comparison (< <= > >= = !=)")
        self.at += 1
        right = self._read_side()
        return Condition(left, sign, right, "".join(_show(token) for token in self.tokens[first : self.at]))

    def _read_side(self) -> str | float:
        kind, text = self.peek()
        if kind not in ("number", "name", "quoted"):
            raise self.refuse("a name or a number")
        if kind != "number" and text not in self.known:
            raise BadConfig(f"--gate {self.text}: nothing is called {text!r}; there are {', '.join(self.known)}")
        self.at += 1
        return float(text) if kind == "number" else text


_EXAMPLE = "a rule looks like 'learned>10 & lost<2'"


def _show(token: Sequence[object]) -> str:
    return f'"{token[1]}"' if token[0] == "quoted" else str(token[1])
