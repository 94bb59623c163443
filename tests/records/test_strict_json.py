"""Strict JSON: what another reader of JSON would not accept, or would read as something else, is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.records.strict_json import (
    MAX_DEPTH,
    MAX_VALUES,
    STRINGS,
    JsonFault,
    explain,
    parse_json,
    parse_loosely,
    sanitize,
)

INTEGERS = st.integers(-(2**63), 2**64 - 1)
PLAIN = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES)
def test_what_is_json_is_read_as_it_is(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "text",
    ["NaN", "[1, Infinity]", "1e400", "", "{", "[" * 99_999, "9" * 5000, "18446744073709551616", '{"a":1,"a":1}', "01"],
)
def test_strict_json_raises_value_error_only(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 0, -1, 1e308, -0.0, 5e-324])
def test_numbers_that_64_bits_hold_are_read(number: float) -> None:
    assert parse_json(json.dumps([number])) == [number]


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400])
def test_integers_that_64_bits_do_not_hold_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="which 64 bits do not hold"):
        parse_json(f'{{"seed": {number}}}')


@pytest.mark.parametrize("text", ['{"task": 1, "edit": 2, "task": 1}', '[{"a": {"task": 1, "task": 2}}]'])
def test_a_key_that_occurs_twice_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the key 'task' occurs twice$"):
        parse_json(text)


def test_keys_that_become_one_by_their_half_characters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^the key '�' occurs twice$"):
        parse_json('{"\\ud800": 1, "\\udc00": 2}')


def test_one_bad_value_does_not_spoil_the_document_around_it() -> None:
    document = parse_loosely('[{"a": 1}, {"a": [NaN]}, {"a": 1, "a": 2}, {"b": 1e999}, {"c": 1}]')
    assert [isinstance(value, JsonFault) for value in document] == [False, False, True, False, False]
    assert sanitize(document[0]) == {"a": 1}
    for bad in (1, 2, 3):
        with pytest.raises(JsonFault):
            sanitize(document[bad])


def test_nesting_is_refused_from_one_depth_on_wherever_it_is_read() -> None:
    assert parse_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2))


def test_values_are_counted_and_commas_in_texts_are_not() -> None:
    assert len(parse_json(json.dumps([0] * (MAX_VALUES - 1)))) == MAX_VALUES - 1
    assert parse_json(json.dumps("," * (MAX_VALUES + 1)))
    for text in (json.dumps([0] * MAX_VALUES), json.dumps([[0]] * (MAX_VALUES // 2)), "[" + "1," * (MAX_VALUES + 2)):
        with pytest.raises(ValueError, match="more than 200,000 values"):
            parse_json(text)


@given(st.lists(st.sampled_from(['"', "\\", "a", ",", "\n", "{", "é"])).map("".join))
def test_strings_end_where_a_reader_of_json_ends_them(text: str) -> None:
    outside, inside, escaped = [], False, False
    for letter in text:
        if not inside and letter != '"':
            outside.append(letter)
        inside = inside != (letter == '"' and not escaped)
        escaped = inside and letter == "\\" and not escaped
    assert STRINGS.sub("", text) == "".join(outside)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": \n1,, }', "not JSON: Expecting property name enclosed in double quotes at line 2, column 3"),
        ("[1", "not JSON: Expecting ',' delimiter at column 3: the line ends early, is the file cut off?"),
        ("[-Infinity]", "not JSON: -Infinity is not JSON"),
        (b"[\xff]", "not UTF-8 (byte 1)"),
        ("[" * 9999, "not JSON: nested too deeply"),
    ],
)
def test_the_reason_is_one_line(text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_json(text)
    assert explain(caught.value) == words
