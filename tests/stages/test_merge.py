"""Shards become the whole, or the reason why not."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import merge
from stages.errors import BadConfig, BadInput, MissingInput
from stages.merge import Shard, format_array
from stages.records.record import Record
from tests.invented import a_task

LINES = {n: [Record(task=a_task(f"{n}{name}")) for name in "ab"] for n in (1, 2, 3)}


def shard(part: int, count: int = 3, **settings: object) -> Shard:
    lines = LINES.get(part, [])
    return Shard(f"file-{part}", {"stage": "tasks", "seed": 0, "shard": f"{part}/{count}", **settings}, lines)


def test_shards_in_any_order_are_the_whole_in_the_order_of_their_numbers() -> None:
    assert list(merge.run([shard(3), shard(1), shard(2)])) == LINES[1] + LINES[2] + LINES[3]


def test_gaps_are_named_as_job_arrays_are_asked_for() -> None:
    with pytest.raises(MissingInput, match=r"shards 2,4-6 of 7 are missing: run these \(sbatch --array=2,4-6\)"):
        list(merge.run([shard(part, 7) for part in (1, 3, 7)]))


@given(st.sets(st.integers(1, 60), min_size=1))
def test_an_array_names_just_its_numbers(numbers: set[int]) -> None:
    found: set[int] = set()
    for part in format_array(sorted(numbers)).split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers


def test_a_shard_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="file-2: is shard 2, and so is file-2; give each once"):
        list(merge.run([shard(1), shard(2), shard(3), shard(2)]))


def test_a_line_that_is_in_two_shards_is_refused() -> None:
    twice = Shard("file-3", shard(3).settings, LINES[1][:1])
    with pytest.raises(BadInput, match=f"file-3: has a line of task {LINES[1][0].task.id} that is in file-1 too"):
        list(merge.run([shard(1), shard(2), twice]))


def test_shards_of_different_runs_are_refused() -> None:
    with pytest.raises(BadConfig, match="file-2: was made with another seed than file-1"):
        list(merge.run([shard(1), shard(2, seed=5), shard(3)]))
    with pytest.raises(BadConfig, match="file-2: is of 4 shards, but file-1 of 3"):
        list(merge.run([shard(1), shard(2, 4), shard(3)]))
    for odd in (None, "0/3", "4/3", "1/" + "9" * 30, "9" * 5000, ["1/3"], "²/3"):
        with pytest.raises(BadInput, match="whole: was not made with --shard"):
            list(merge.run([Shard("whole", {"stage": "tasks", "shard": odd}, [])]))


def test_directories_of_adapters_may_differ_and_an_empty_shard_knows_few_settings() -> None:
    empty = Shard("file-3", {"stage": "tasks", "shard": "3/3"}, [])
    assert list(merge.run([shard(1, out="a"), shard(2, out="b"), empty])) == LINES[1] + LINES[2]


EMPTY = Shard("file-1", {"stage": "tasks", "limit": None, "shard": "1/3"}, [])


@pytest.mark.parametrize("order", list(permutations((EMPTY, shard(2), shard(3, seed=5)))))
def test_an_empty_shard_never_hides_that_two_others_differ(order: tuple[Shard, ...]) -> None:
    with pytest.raises(BadConfig, match="was made with another seed than file-"):
        list(merge.run(order))


@pytest.mark.parametrize("order", list(permutations((EMPTY, shard(2, fit="a"), shard(3, fit="a", model="m")))))
def test_the_settings_of_a_run_are_all_that_its_shards_know_in_any_order(order: tuple[Shard, ...]) -> None:
    merge.check(order)
    assert merge.merge_settings(order) == {"stage": "tasks", "limit": None, "seed": 0, "fit": "a", "model": "m"}


def test_shards_of_an_input_that_has_changed_between_them_are_refused() -> None:
    one, two, three = (replace(shard(part), whole=whole) for part, whole in ((1, "a"), (2, None), (3, "b")))
    merge.check([one, two])
    with pytest.raises(BadInput, match="file-3: was made of other input than file-1; run both commands again"):
        merge.check([two, one, three])
