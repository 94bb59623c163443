"""The quick way to read a line and the strict one agree on any bytes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.records.jsonl import Lines, Reject, to_json
from stages.records.parser import RecordParser, _record, read_records
from stages.records.record import Record, Section
from tests.invented import a_line, a_task

BO = a_task("Bo")
TEXTS = [to_json(a_line(a_task(), [True, None], seed=seed)) for seed in (0, 1)]
TEXTS += [to_json(a_line(BO, [True, False], sample=n)) for n in (0, 1)] + [to_json(Record(task=BO))]
COMPACT = json.dumps(json.loads(TEXTS[0]), separators=(",", ":"))
PIECES = [
    *(
        '"v": 1, ',
        '"task": {}, ',
        '"edit": null',
        ', "edit": {"id": "x"}',
        ', "score": null',
        ',"task":1',
        ",",
        "}",
        "{",
    ),
    *("NaN", "1e999", "-1", "1.0", "true", "9" * 25, '"\\ud800"', "\\ud83e\\uddad", "\ufeff", "\r", "[" * 101, "\x00"),
]
Outcome = list[tuple[str, Any]]


def outcome(lines: list[bytes], needs: tuple[Section, ...] = (), *, quick: bool) -> Outcome:
    """Every record, and every refusal with its place, in order."""
    refused: Outcome = []

    def refuse(reject: Reject) -> None:
        refused.append(("refused", reject))

    slow = Lines(lines, "f", lambda value: _record(value, needs), refuse)
    read = read_records(lines, "f", needs, refuse) if quick else slow
    return [*((to_json(record), record) for record in read), *refused]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good line, or one with a piece cut out and another put in."""
    line = draw(st.sampled_from([*TEXTS, COMPACT])).encode()
    if draw(st.booleans()):
        return line
    start, length = draw(st.integers(0, len(line))), draw(st.integers(0, 40))
    put = draw(st.sampled_from([piece.encode() for piece in PIECES]) | st.binary(max_size=4))
    return line[:start] + put + line[start + length :]


@given(st.lists(damaged(), max_size=6))
@settings(deadline=None)
def test_any_lines_give_the_same_records_and_the_same_refusals(lines: list[bytes]) -> None:
    assert outcome(lines, quick=True) == outcome(lines, quick=False)


CHANGES = [
    (', "adapter": {', ', "task": {}, "adapter": {'),  # a key twice, where the task is not read again
    (', "adapter": {', ', "v": 1, "adapter": {'),
    (', "adapter": {', ', "edit": null, "adapter": {'),
    (', "adapter": {', ', "adapter": null, "adapter": {'),
    (', "adapter": {', ', "more": 1, "adapter": {'),
    (', "adapter": {', ',, "adapter": {'),
    ('"rank": 4', '"rank": 4, "rank": 4'),
    ('"rank": 4', '"rank": NaN'),
    ('"rank": 4', '"rank": 1e999'),
    ('"rank": 4', '"rank": 18446744073709551616'),
    ('"rank": 4', '"rank": "\\ud800"'),
    ('"rank": 4', f'"rank": {"[" * 100}{"]" * 100}'),
    ('"rank": 4', f'"rank": {"[" * 9999}'),
    ('"v": 1, ', '"v": 1.0, '),
    ('"v": 1, ', '"v": 2, '),
    ('"v": 1, ', '"v": true, '),
    ('"value": null', '"value": 1.0'),
    ('{"v": 1, ', '{"score": null, "v": 1, '),
    ('"bounds": null, ', ""),  # what is left out is derived
    ('"judge": "exact", ', ""),
    ('"fault": null, ', ""),
    ("}}", "}},}"),
    ("}}", "}}}"),
    ("}}", "}} x"),
    ("}}", "}"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_fault_behind_what_is_known_already_is_found(old: str, new: str) -> None:
    at = TEXTS[1].rfind(old)
    assert at >= 0
    bad = TEXTS[1][:at] + new + TEXTS[1][at + len(old) :]
    lines = [TEXTS[0].encode(), bad.encode(), TEXTS[1].encode()]
    found = outcome(lines, quick=True)
    assert found == outcome(lines, quick=False)
    assert found[0][0] == TEXTS[0]


def test_lines_in_a_row_share_their_task_and_self_edit() -> None:
    parser = RecordParser()
    first, second, third, other = (parser.parse(text) for text in [*TEXTS[:2], COMPACT, TEXTS[2]])
    assert first.task is second.task and first.edit is second.edit
    assert third == first  # its text is another
    assert other.task == BO


@pytest.mark.parametrize("text", [*TEXTS, COMPACT])
def test_a_good_line_takes_the_quick_way(text: str) -> None:
    assert isinstance(RecordParser().parse(text), Record)
