"""Every reader goes on behind bad input: a record, a reject or a BadInput, quickly, and each good line is read."""

import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import tasks
from stages.errors import BadInput, one_line
from stages.records.jsonl import (
    LONGEST,
    LONGEST_ENTRY,
    Lines,
    Reject,
    raise_on_reject,
    read_bounded_lines,
    read_objects,
    reject_entry,
    to_json,
)
from stages.records.parser import read_records
from stages.records.record import Record, Section
from stages.records.strict_json import MAX_VALUES
from tests.invented import a_task
from tests.records.bad_lines import HUGE, RECORD, TASK, bad_lines
from tests.sources.bad_input import FEEDS, good

COUNT = 400
WHOLE = Record.model_validate_json(RECORD)
QUICK_S = 10.0  # some 0.3 s on a machine with nothing else to do


@pytest.mark.parametrize("reader", FEEDS)
def test_no_bad_input_stops_a_reader_or_costs_a_good_line(reader: str, tmp_path: Path) -> None:
    counts = FEEDS[reader](tmp_path, 1, COUNT)
    assert counts["rejects"] + counts["refused"] > COUNT / 20


def test_the_same_seed_makes_the_same_bad_lines_and_another_seed_others() -> None:
    assert list(bad_lines(1, 50)) == list(bad_lines(1, 50))
    assert list(bad_lines(1, 50)) != list(bad_lines(2, 50))
    assert not any(b"\n" in line for line in bad_lines(3, 200))


def split(data: bytes, needs: tuple[Section, ...] = ()) -> tuple[list[Record], list[Reject]]:
    """The records, and the rejects."""
    rejects: list[Reject] = []
    return list(read_records(read_bounded_lines(BytesIO(data)), "f", needs, rejects.append)), rejects


def test_a_bad_line_is_told_with_its_place_and_its_bytes_and_reading_goes_on() -> None:
    data = RECORD + b"\n\n \r\n" + b"caf\xe9\r\n" + RECORD + b"\n[1]\n{}\n" + RECORD
    records, rejects = split(data)
    assert records == [WHOLE] * 3
    assert [(reject.line, reject.raw, reject.reason[:12]) for reject in rejects] == [
        (4, b"caf\xe9\r", "not UTF-8 (b"),
        (6, b"[1]", "a JSON list,"),
        (7, b"{}", "an object wi"),
    ]
    assert all(data[reject.offset :].startswith(reject.raw + b"\n") for reject in rejects)
    assert [reject.where for reject in rejects] == ["f:4", "f:6", "f:7"]


def test_lines_without_their_newlines_have_the_same_places() -> None:
    data = b"[\n" + RECORD + b"\n\n]"
    rejects: list[Reject] = []
    list(read_records(data.split(b"\n"), "f", (), rejects.append))
    assert rejects == split(data)[1]


def test_a_wrong_field_and_a_missing_section_are_rejects_too() -> None:
    task = to_json(Record(task=a_task())).encode()
    records, rejects = split(task + b"\n" + RECORD + b"\n" + RECORD.replace(b'"v": 1', b'"v": 2'), ("edit",))
    assert records == [WHOLE]
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (1, "has a task but no edit (run `seal generate` first)"),
        (3, "v: input should be 1 (found 2)"),
    ]


def test_who_is_told_may_stop_the_run() -> None:
    told: list[int] = []

    def second(reject: Reject) -> None:
        told.append(reject.line)
        if len(told) == 2:
            raise_on_reject(reject)

    with pytest.raises(BadInput, match=r"^f:2: not JSON"):
        list(read_objects([b"[", b"{", b"}"], "f", second))
    assert told == [1, 2]


def test_objects_behind_a_bad_line_keep_their_number() -> None:
    rejects: list[Reject] = []
    assert list(read_objects([b"{}", b"", b"[", b'{"a": 1}'], "f", rejects.append)) == [
        ("f:1", {}),
        ("f:4", {"a": 1}),
    ]
    assert [reject.where for reject in rejects] == ["f:3"]


def test_an_error_of_ours_while_a_line_is_made_is_no_bad_line() -> None:
    def broken(value: dict[str, Any]) -> Record:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        list(Lines([b"{}"], "f", broken, lambda reject: None))


def test_a_reason_is_one_short_line_of_visible_text() -> None:
    _, (reject,) = split(json.dumps({"a\n\x1b[31m\u2028\u202e" + "k" * 5000: 1}).encode())
    assert reject.reason.startswith("an object with a��[31m��kkk")
    assert reject.reason.isprintable()
    assert len(one_line("é" * 5000)) == 300


@settings(max_examples=30)
@given(st.text(max_size=40), st.integers(0, 60))
def test_a_bad_entry_is_kept_as_text_that_is_cut_between_characters(text: str, padding: int) -> None:
    entry = {"a": "x" * (LONGEST_ENTRY - padding) + text}
    reject = reject_entry("f", "[3]: no title", entry)
    assert (reject.where, reject.line, reject.reason) == ("f", 0, "[3]: no title")
    assert LONGEST_ENTRY - 4 < len(reject.raw) <= LONGEST_ENTRY or json.loads(reject.raw) == entry
    assert json.dumps(entry, ensure_ascii=False).startswith(reject.raw.decode())


def test_a_bad_entry_with_half_a_character_or_endless_nesting_can_be_kept() -> None:
    assert reject_entry("f", "[0]: bad", {"a": "\ud800é"}).raw == '{"a": "\\ud800é"}'.encode()
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert reject_entry("f", "[0]: bad", nested).raw == b""


# ---- time and memory


def reread(line: bytes, needs: tuple[Section, ...] = ()) -> tuple[list[str], list[Reject]]:
    """The titles of the records of a file with this line between two good ones, and the rejects."""
    rejects: list[Reject] = []
    file = BytesIO(b"\n".join([good(RECORD, 1), line, good(RECORD, 2)]))
    found = list(read_records(read_bounded_lines(file), "f", needs, rejects.append))
    return [record.task.title for record in found], rejects


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[" * 50_000_000, "50,000,000 bytes long; 33,554,432 are the most"),
        (b'"' + b"x" * LONGEST, "33,554,433 bytes long; 33,554,432 are the most"),
        (b"[" * LONGEST, "not JSON: nested too deeply"),
        (b'{"task": [' + b"{}," * 2_000_000 + b"1]}", "more than 200,000 values in one object"),
        (b'{"task": {' + b'"1":1,' * 1_000_000 + b'"1":1}}', "more than 200,000 values in one object"),
        (b'{"task": "' + b'\\",' * 1_000_000, "not JSON: Unterminated string at column 10: the line ends early"),
        (b'{"task": ' + b"1" * 1_000_000 + b"}", "an integer of 1000000 digits, which 64 bits do not hold"),
        (b'{"task": 1.' + b"1" * 1_000_000 + b"}", "task: input should be a valid dictionary"),
        (b'{"task": 1e' + b"1" * 1_000_000 + b"}", "1e11111111111111111111111111111111111111 is larger than any numb"),
        (b'{"task": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON: nested too deeply"),
        (b'{"' + b"k" * 1_000_000 + b'": 1, "' + b"k" * 1_000_000 + b'": 1}', "the key 'kkkkkkkkkkkk"),
        (b'{"' + b"k" * 1_000_000 + b'": 1}', "an object with kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk, not a record"),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else "",
)
def test_a_line_that_would_eat_time_or_memory_is_rejected_at_once(line: bytes, reason: str) -> None:
    started = time.process_time()
    titles, (reject,) = reread(line)
    assert time.process_time() - started < QUICK_S
    assert titles == ["Zoë 1!", "Zoë 2!"]
    assert reason in reject.reason
    assert (reject.line, reject.offset) == (2, len(good(RECORD, 1)) + 1)
    assert reject.raw == line[: LONGEST + 1]


@pytest.mark.parametrize("number", range(len(HUGE)))
def test_a_huge_value_anywhere_in_a_record_is_taken_or_rejected_at_once(number: int) -> None:
    started = time.process_time()
    for value in (b'"Zo\xc3\xab"', b"1.0", b"null", b'{"rank": 4}', b'"Velm"', b'"stop"'):
        line = RECORD.replace(value, HUGE[number]().encode(), 1)
        titles, rejects = reread(line)
        assert len(titles) + len(rejects) == 3
    assert time.process_time() - started < QUICK_S


def test_a_long_text_with_many_commas_is_no_line_of_many_values() -> None:
    line = RECORD.replace(b'"A line."', json.dumps('a, \\"b\\", ' * MAX_VALUES).encode())
    assert len(line) > 2_000_000
    titles, rejects = reread(line)
    assert (titles, rejects) == (["Zoë 1!", "Zoë", "Zoë 2!"], [])


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    class Endless(BytesIO):
        """Gives zeros until it has given `left` bytes; says how many were asked for at once."""

        left, most = 10 * LONGEST, 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 < size <= LONGEST + 1
            self.most = min(size, self.left)
            self.left -= self.most
            return b"\0" * self.most

    rejects: list[Reject] = []
    assert list(read_records(read_bounded_lines(Endless()), "f", (), rejects.append)) == []
    assert [(reject.line, len(reject.raw)) for reject in rejects] == [(1, LONGEST + 1)]
    assert rejects[0].reason == f"{10 * LONGEST:,} bytes long; 33,554,432 are the most"


def test_lines_that_are_handed_over_whole_are_not_longer_either() -> None:
    rejects: list[Reject] = []
    lines = [RECORD, RECORD + b" " * LONGEST, RECORD]
    assert list(read_records(lines, "f", (), rejects.append)) == [WHOLE] * 2
    assert [(reject.line, reject.raw == lines[1]) for reject in rejects] == [(2, True)]


def test_lines_behind_a_line_that_is_too_long_keep_their_place() -> None:
    lines = [b"", TASK, b"x" * (LONGEST + 3_000_000), b"", b"\xff", RECORD, b"["]
    rejects: list[Reject] = []
    assert len(list(read_records(read_bounded_lines(BytesIO(b"\n".join(lines))), "f", (), rejects.append))) == 1
    starts = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))]
    assert [(reject.line, reject.offset) for reject in rejects] == [(n + 1, starts[n]) for n in (1, 2, 4, 6)]


def test_a_text_that_is_too_long_for_one_passage_says_so(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(b"x" * (LONGEST + 1))
    (tmp_path / "short.txt").write_bytes(b"x" * 10)
    rejects: list[Reject] = []
    found: Iterator[object] = tasks.run(str(tmp_path), refuse=rejects.append)
    assert len(list(found)) == 1
    assert [reject.reason for reject in rejects] == [
        "more than 33,554,432 bytes, too long for one text; split it into several files: split -C 30M"
    ]
