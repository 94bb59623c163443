"""The reader: any bytes give records or a BadInput that says where; nothing else."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.errors import BadInput, BadLine
from stages.records.jsonl import read_objects, to_json, validate
from stages.records.parser import read_records
from stages.records.record import Record, Section, SelfEdit
from stages.records.schema import SftExample
from stages.records.task import make_task
from tests.invented import a_line, a_task, an_adapter, an_edit

LINE = to_json(a_line(a_task(), [True, None])).encode()
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\x00\u2028\u2029\x85\x0b\ufeff\r\n"\\🦭'))
SURROGATES = st.text(st.sampled_from("a\ud800\udbff\udc00\udfff\ufeff🦭"), max_size=8)


def read(data: bytes, needs: tuple[Section, ...] = ()) -> list[Record]:
    return list(read_records(data.split(b"\n"), "f", needs))


def refusal(data: bytes, needs: tuple[Section, ...] = ()) -> str:
    with pytest.raises(BadInput) as caught:
        read(data, needs)
    return str(caught.value)


@given(
    st.lists(
        st.binary(max_size=12) | st.sampled_from([b"{", b"}", b"[", b'"task"', b":", b"\n", b"1", LINE]), max_size=8
    )
)
@example([b"[" * 100_000])
@example([b'{"task":' * 600 + b"1" + b"}" * 600])
@example([b'{"task": ', b"9" * 5000, b"}"])
@settings(deadline=None)
def test_any_bytes_are_records_or_a_bad_line_with_its_place(parts: list[bytes]) -> None:
    try:
        assert all(isinstance(record, Record) for record in read(b"".join(parts)))
    except BadInput as error:
        assert re.match(r"f:\d+: \S", str(error))
        assert "\n" not in str(error)


@given(st.integers(0, len(LINE)), st.integers(0, 40), st.binary(max_size=5))
@settings(deadline=None)
def test_a_damaged_line_is_a_record_or_a_bad_line_with_its_place(start: int, length: int, put: bytes) -> None:
    try:
        read(LINE + b"\n" + LINE[:start] + put + LINE[start + length :])
    except BadInput as error:
        assert re.match(r"f:[23456]: \S", str(error))


@given(
    TEXT,
    TEXT,
    TEXT,
    st.dictionaries(TEXT, TEXT | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none(), max_size=3),
)
@settings(deadline=None)
def test_whatever_text_a_record_holds_it_is_read_back_as_it_was(
    title: str, context: str, completion: str, sampling: dict[str, Any]
) -> None:
    task = make_task(title, context, [(title, f"so: {completion}")])
    edit = an_edit(task, completion=completion).model_copy(update={"sampling": sampling})
    record = Record(task=task, edit=edit, adapter=an_adapter(edit))
    assert read(to_json(record).encode() + b"\n") == [record]


@given(SURROGATES)
@settings(deadline=None)
def test_half_characters_become_the_replacement_character(text: str) -> None:
    (_, found), *_ = read_objects([json.dumps({text: [text]}).encode()], "f")
    joined = re.sub("[\ud800-\udbff][\udc00-\udfff]", "\U0001f9ad", text)
    expected = re.sub("[\ud800-\udfff]", "\ufffd", joined)
    value = next(iter(found.values()))[0]
    value.encode()
    assert re.sub("[\U00010000-\U0010ffff]", "\U0001f9ad", value) == expected
    assert list(found) == [value]


def test_a_byte_order_mark_crlf_and_blank_lines_are_accepted() -> None:
    assert read(b"\xef\xbb\xbf" + LINE + b"\r\n\r\n  \n" + LINE) == read(LINE) * 2
    assert (read(b"\xef\xbb\xbf"), read(b"\xef\xbb\xbf\r\n" + LINE)) == ([], read(LINE))


def test_a_line_separator_inside_a_string_does_not_end_the_line() -> None:
    task = make_task("Ada", "one\u2028two\u2029three\x85four", [])
    assert [record.task for record in read(to_json(Record(task=task)).encode())] == [task]


def test_blank_lines_count_when_the_place_is_named() -> None:
    assert refusal(b"\n" + LINE + b"\n\n[1]\n").startswith("f:4: ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"a": NaN}', "f:1: not JSON: NaN is not JSON"),
        (b'{"a": -Infinity}', "f:1: not JSON: -Infinity is not JSON"),
        (b'{"a": 1e999}', "f:1: not JSON: 1e999 is larger than any number"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "f:1: not JSON: nested too deeply"),
        (b'{"a": ' + b"[" * 99_999, "f:1: not JSON: nested too deeply"),
        (b'{"a": "\xff"}', "f:1: not UTF-8 (byte 7)"),
        (b'{"a": "\x00"}', "f:1: not JSON: Invalid control character at column 8"),
        (b'{"a": 1, "b": 2, "a": 3}', "f:1: the key 'a' occurs twice"),
        (b'{"a": 123456789012345678901}', "f:1: not JSON: an integer of 21 digits, which 64 bits do not hold"),
        (b'{"a": 1, b}', "f:1: not JSON: Expecting property name enclosed in double quotes at column 10"),
        (LINE[:-9], "the line ends early, is the file cut off?"),
        (b"[1, 2]", "f:1: a JSON list, but each line must be a JSON object"),
        (b"null", "f:1: a JSON null, but each line must be a JSON object"),
        (b'"text"', "f:1: a JSON str, but each line must be a JSON object"),
    ],
)
def test_a_line_that_is_no_object_is_refused_with_what_was_found(line: bytes, words: str) -> None:
    assert words in refusal(line)


def test_the_deepest_text_that_is_read_can_be_written_again() -> None:
    record = json.loads(LINE)
    record["edit"]["sampling"] = json.loads('{"a":' * 97 + "1" + "}" * 97)
    (found,) = read(json.dumps(record).encode())
    assert json.loads(to_json(found)) == record


@pytest.mark.parametrize(
    ("line", "needs", "words"),
    [
        (Record(task=a_task()), ("edit",), "f:1: has a task but no edit (run `seal generate` first)"),
        (
            Record(task=a_task(), edit=an_edit(a_task())),
            ("edit", "score"),
            "f:1: has a task and an edit but no score (run `seal eval` first)",
        ),
        (
            Record(task=a_task(), edit=an_edit(a_task())),
            ("adapter",),
            "f:1: has a task and an edit but no adapter (run `seal adapt` first)",
        ),
    ],
)
def test_a_missing_section_names_the_stage_that_makes_it(line: Record, needs: tuple[Section, ...], words: str) -> None:
    assert refusal(to_json(line).encode(), needs) == words


def test_a_line_that_has_what_is_needed_passes() -> None:
    assert len(read(LINE, ("edit", "adapter", "score"))) == 1


def test_other_objects_are_told_what_they_are() -> None:
    pair = SftExample(prompt="p", completion="c", task_id="t", edit_id="e", value=1, baseline=None)
    assert refusal(to_json(pair).encode()) == (
        "f:1: a training pair from `seal filter`, not a record (run `seal tasks` first)"
    )
    assert "an object with title, context, not a record" in refusal(b'{"title": "t", "context": "c"}')
    assert "an object with nothing, not a record" in refusal(b"{}")


def test_a_wrong_field_is_named_with_what_was_found() -> None:
    broken = LINE.replace(b'"sample": 0', b'"sample": "zero"')
    assert refusal(broken) == 'f:1: edit.sample: input should be a valid integer (found "zero")'
    assert "task.questions.0.answer: field required" in refusal(LINE.replace(b', "answer": "Velm"', b""))


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(BadLine) as caught:
        validate(SelfEdit, {"id": "x" * 1000})
    assert len(str(caught.value)) < 160
    assert str(caught.value).startswith("sample: field required (found {")


def test_the_last_of_several_bad_lines_is_never_reached() -> None:
    objects = read_objects(iter([b"{}", b"[", b"{"]), "f")
    assert next(objects) == ("f:1", {})
    with pytest.raises(BadInput, match="f:2"):
        next(objects)
