"""The rule of a gate: what it means, what it refuses, and that nothing unscored and nothing unmeasured passes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import BadConfig
from stages.reporting.cards.expression import Bounds, GateExpression, read_gate_expression

KNOWN = ("learned", "lost", "in-context", "my row")
NUMBERS = st.integers(-100, 100) | st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 2))
SIGNS = st.sampled_from(["<", "<=", ">", ">=", "=", "==", "!="])


def read(text: str) -> GateExpression:
    return read_gate_expression(text, KNOWN)


def passes(text: str, **measures: float) -> bool:
    found = {name.replace("_", "-"): Bounds(value, value) for name, value in measures.items()}
    return not read(text).find_failures(found)


def test_a_rule_compares_names_with_numbers_and_with_each_other() -> None:
    assert passes("learned>10 & lost<2", learned=11, lost=1)
    assert not passes("learned>10 & lost<2", learned=11, lost=2)
    assert passes("learned>=in-context", learned=3, in_context=3)
    assert passes("-1.5<lost", lost=-1)
    assert passes("lost = 0 | lost != 0", lost=0)


def test_and_binds_before_or_and_parentheses_before_both() -> None:
    assert passes("learned>10 | learned>5 & lost<2", learned=11, lost=9)
    assert not passes("(learned>10 | learned>5) & lost<2", learned=11, lost=9)
    assert passes("learned>10||learned>5&&lost<2", learned=6, lost=1)


def test_a_comparison_holds_only_if_it_does_whatever_unscored_answers_come_to() -> None:
    open_lost = {"lost": Bounds(1, 3), "learned": Bounds(5, 5)}
    assert read("lost<2").find_failures(open_lost) == [
        "lost<2 does not hold: lost is between 1 and 3, as answers are unscored"
    ]
    assert read("lost<4 & lost<learned & lost!=5").find_failures(open_lost) == []
    assert read("lost=1").find_failures(open_lost)
    assert read("lost!=2").find_failures(open_lost)


def test_a_measure_that_was_not_measured_fails_the_gate_even_beside_one_that_holds() -> None:
    why = read("learned>10 | lost<2").find_failures({"learned": Bounds(20, 20), "lost": "no anchors were asked"})
    assert why == ["lost was not measured: no anchors were asked"]


def test_only_comparisons_that_failed_are_told() -> None:
    found = {"learned": Bounds(20, 20), "lost": Bounds(4, 4), "my row": Bounds(1, 1)}
    assert read('learned>10 & lost<2 & "my row">0').find_failures(found) == ["lost<2 does not hold: lost is 4"]
    assert read('"my row">9').find_failures(found) == ['"my row">9 does not hold: my row is 1']


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a name or a number is wanted at the end"),
        ("learned", r"a comparison \(< <= > >= = !=\) is wanted at the end"),
        ("learned>10 lost<2", "& or | or the end is wanted at 'lost'"),
        ("1<lost<2", "& or | or the end is wanted at '<'"),
        ("(lost<2", r"& or | or \) is wanted at the end"),
        ("lost<2)", r"& or | or the end is wanted at '\)'"),
        ("lost<two", "nothing is called 'two'; there are learned, lost, in-context, my row"),
        ("__import__('os')>1", "cannot be read at"),
        ("lost<2; rm", "cannot be read at '; rm'"),
        ("lost<nan", "nothing is called 'nan'"),
        ("(" * 30 + "lost<2" + ")" * 30, "more than 20 parentheses in one another"),
        ("lost<2 & " * 500 + "lost<2", "letters are too many for a rule"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_place(text: str, told: str) -> None:
    with pytest.raises(BadConfig, match=told):
        read(text)


RULES = st.recursive(
    st.tuples(st.sampled_from(KNOWN) | NUMBERS, SIGNS, st.sampled_from(KNOWN) | NUMBERS),
    lambda inner: st.tuples(inner, st.sampled_from(["&", "|"]), inner),
    max_leaves=6,
)


def write(rule: object) -> str:
    """A rule as text, with parentheses around every part."""
    left, sign, right = rule  # type: ignore[misc]
    if sign in ("&", "|"):
        return f"({write(left)}) {sign} ({write(right)})"
    return f"{write_side(left)}{sign} {write_side(right)}"


def write_side(side: object) -> str:
    return f'"{side}"' if side == "my row" else str(side)


def means(rule: object, values: dict[str, float]) -> bool:
    left, sign, right = rule  # type: ignore[misc]
    if sign == "&":
        return means(left, values) and means(right, values)
    if sign == "|":
        return means(left, values) or means(right, values)
    one, other = (values.get(side, side) if isinstance(side, str) else float(side) for side in (left, right))
    return bool(eval(f"{one!r} {'==' if sign == '=' else sign} {other!r}"))  # noqa: S307 — of the test's own signs


@given(RULES, st.lists(NUMBERS, min_size=4, max_size=4))
def test_a_rule_means_what_python_says_it_means(rule: object, numbers: list[float]) -> None:
    values = dict(zip(KNOWN, map(float, numbers), strict=True))
    measures = {name: Bounds(value, value) for name, value in values.items()}
    assert (read(write(rule)).find_failures(measures) == []) == means(rule, values)


@given(RULES, st.lists(st.tuples(NUMBERS, NUMBERS), min_size=4, max_size=4), st.lists(st.booleans(), min_size=4))
def test_what_passes_with_bounds_passes_at_every_end_of_them(
    rule: object, numbers: list[tuple[float, float]], ends: list[bool]
) -> None:
    bounds = {name: Bounds(*map(float, sorted(pair))) for name, pair in zip(KNOWN, numbers, strict=True)}
    values = {name: each.high if end else each.low for (name, each), end in zip(bounds.items(), ends, strict=False)}
    if not read(write(rule)).find_failures(bounds):
        assert means(rule, values)


@given(st.text(alphabet='learnd<>=!&|() 0123456789.-"\n\x00é', max_size=40))
def test_any_text_is_a_rule_or_is_refused(text: str) -> None:
    try:
        read(text)
    except BadConfig as error:
        assert "--gate" in str(error)
