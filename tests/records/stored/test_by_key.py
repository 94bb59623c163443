"""Records by their keys are read when they are asked for, and travel in portions."""

import pickle
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from stages.records.jsonl import encode_line
from stages.records.record import Record
from stages.records.stored.by_key import ItemsByKey, Portion, RecordsByKey
from stages.records.stored.lines import InputReader, StoredRecords
from tests.invented import a_task

LINES = [Record(task=a_task(name), meta={"name": name}) for name in ("Ada", "Bo", "Cy")]
BARE = [line.grow(meta=None) for line in LINES]


def store(folder: Path, lines: Iterable[Record]) -> StoredRecords:
    file, end = folder / "lines.jsonl", 0
    file.write_bytes(b"".join(map(encode_line, lines)))
    found = StoredRecords(file, InputReader(str(file), [folder]))
    for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        found.add(number, end, line.removesuffix(b"\n"))
        end += len(line)
    return found


def key(record: Record) -> list[str]:
    return [record.task.id]


@pytest.fixture(params=["stored", "held"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> RecordsByKey:
    lines = store(tmp_path, LINES) if request.param == "stored" else LINES
    return RecordsByKey(lines, key, partial(Record.grow, meta=None))


def test_records_are_found_by_their_keys_in_their_order(records: RecordsByKey) -> None:
    assert list(records) == [line.task.id for line in LINES]
    assert (list(records.values()), len(records)) == (BARE, 3)
    assert (LINES[1].task.id in records, "other" in records, records.get("other")) == (True, False, None)
    assert list(records.change_with(lambda line: line).values()) == LINES


def test_those_without_some_keys_keep_their_order(records: RecordsByKey) -> None:
    left = records.without({LINES[1].task.id})
    assert list(left.items()) == [(line.task.id, line) for line in (BARE[0], BARE[2])]
    assert LINES[1].task.id in records


def test_a_record_may_have_several_keys_and_of_two_with_one_the_later_counts() -> None:
    several = RecordsByKey(LINES, lambda line: [f"{line.task.name}/{number}" for number in range(2)])
    assert list(several) == ["Ada/0", "Ada/1", "Bo/0", "Bo/1", "Cy/0", "Cy/1"]
    assert several["Bo/1"] == LINES[1]
    same = RecordsByKey(LINES, lambda line: ["same"])
    assert (list(same), same["same"]) == (["same"], LINES[2])


def test_a_key_that_is_held_is_given_for_one_that_is_like_it(records: RecordsByKey) -> None:
    held = next(iter(records))
    assert records.get_held("".join(held)) is held
    assert records.get_held("other") == "other"


def test_they_travel_with_nothing_in_them_and_a_portion_makes_of_a_lease_what_was_there(records: RecordsByKey) -> None:
    whole, (first, second, third) = len(pickle.dumps(records)), records
    portion, same = pickle.loads(pickle.dumps((records, records)))  # noqa: S301
    assert isinstance(portion, Portion)
    assert portion is same  # of a worker's, what a lease brings is in all
    assert (len(portion), whole < 1000) == (0, True)
    portion.unpack(pickle.loads(pickle.dumps(records.pack([third, first]))))  # noqa: S301
    assert dict(portion) == {third: BARE[2], first: BARE[0]}
    portion.unpack(records.pack([second]))
    assert dict(portion) == {second: BARE[1]}


def test_other_items_travel_in_the_same_way() -> None:
    items = ItemsByKey({"a": 1, "b": 2})
    assert dict(items) == {"a": 1, "b": 2}
    portion = pickle.loads(pickle.dumps(items))  # noqa: S301
    portion.unpack(items.pack(["b"]))
    assert dict(portion) == {"b": 2}
