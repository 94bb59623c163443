"""Leases: every line is made once, whoever dies, and only what kills its workers is given up."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stages.cluster.leases import Lease, Leases


def keys(count: int) -> list[list[str]]:
    return [[str(number)] for number in range(count)]


def take_units(*units: list[str]) -> Lease:
    """A lease of all these units."""
    lease = Leases(units, most=len(units), workers=0.5).take()  # type: ignore[arg-type]
    assert lease
    return lease


def sizes(leases: Leases) -> list[int]:
    found = []
    while lease := leases.take():
        found.append(len(lease.units))
    return found


def test_leases_are_long_at_first_and_single_lines_at_the_end() -> None:
    assert sizes(Leases(keys(40), most=8, workers=2)) == [8, 8, 8, 6, 4, 2, 1, 1, 1, 1]


def test_a_lease_is_bounded_by_its_work_not_by_its_lines() -> None:
    leases = Leases([[f"{cost} a"] for cost in (8, 8, 1, 1, 1, 1)], most=64, workers=2, cost_of=lambda key: int(key[0]))
    assert sizes(leases) == [1, 1, 1, 1, 1, 1]
    even = Leases([[f"{cost} a"] for cost in (8, *[1] * 32)], most=64, workers=2, cost_of=lambda key: int(key[0]))
    assert sizes(even)[:2] == [9, 9]


def test_lines_that_cost_nothing_are_taken_together() -> None:
    assert sizes(Leases(keys(100), most=64, workers=2, cost_of=lambda key: 0.0)) == [64, 36]


def test_few_lines_are_shared_by_all_workers() -> None:
    assert sizes(Leases(keys(4), most=64, workers=4)) == [1, 1, 1, 1]


def test_the_longest_lines_are_begun_first_and_equals_in_their_order() -> None:
    leases = Leases(
        [["a"], ["b"], ["c"], ["d"]], most=1, workers=1, cost_of={"a": 1, "b": 3, "c": 1, "d": 2}.__getitem__
    )
    assert [leases.take().keys for _ in range(4)] == [["b"], ["d"], ["a"], ["c"]]  # type: ignore[union-attr]


def test_a_unit_stays_together() -> None:
    leases = Leases([["a", "b"], ["c"]], most=1, workers=1, cost_of=lambda key: 1)
    assert leases.take().keys == ["a", "b"]  # type: ignore[union-attr]


def test_what_a_dead_worker_had_finished_is_not_done_again() -> None:
    leases = Leases(keys(2), most=4, workers=1)
    lease = take_units(["a"], ["b"], ["c"])
    lease.finish("b")
    assert leases.lose(lease) == []
    assert [leases.take().keys for _ in range(2)] == [["a"], ["c"]]  # type: ignore[union-attr]


def test_a_lease_of_a_node_that_is_gone_comes_back_whole() -> None:
    leases = Leases([], most=4, workers=1)
    leases.give_back(take_units(["a"], ["b"]))
    assert leases.take().keys == ["a", "b"]  # type: ignore[union-attr]


def test_a_line_that_kills_its_worker_alone_is_tried_once_more_and_given_up() -> None:
    leases = Leases([["a"]], most=4, workers=1)
    first = leases.take()
    assert first and leases.lose(first) == []
    second = leases.take()
    assert second and leases.lose(second) == ["a"]
    assert leases.take() is None


def test_of_a_unit_that_kills_its_workers_what_is_finished_stays_and_only_the_rest_is_given_up() -> None:
    leases = Leases([["a", "b", "c"]], most=4, workers=1)
    first = leases.take()
    assert first
    first.finish("a")
    assert leases.lose(first) == []
    second = leases.take()
    assert second and second.keys == ["b", "c"]
    second.finish("b")
    assert leases.lose(second) == ["c"]
    assert leases.take() is None


@given(
    count=st.integers(1, 60),
    most=st.integers(1, 16),
    workers=st.integers(1, 5),
    poison=st.sets(st.integers(0, 59), max_size=3),
    chance=st.randoms(use_true_random=False),
)
def test_whoever_dies_all_lines_but_the_deadly_ones_are_made_once(
    count: int, most: int, workers: int, poison: set[int], chance: "object"
) -> None:
    leases = Leases(keys(count), most=most, workers=workers)
    made, given_up = Counter[str](), []
    while lease := leases.take():
        for key in list(lease.keys):
            if int(key) in poison:
                given_up += leases.lose(lease)
                break
            if len(lease.keys) > 1 and chance.random() < 0.2:  # type: ignore[attr-defined]
                leases.give_back(lease)
                break
            made[key] += 1
            lease.finish(key)
    there = {str(number) for number in range(count)}
    deadly = {str(number) for number in poison} & there
    assert set(made) == there - deadly
    assert set(given_up) == deadly
    assert set(made.values()) <= {1}
