"""The gate: fewer at once when the server says it is too many, more again when it goes well."""

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from stages.services.concurrency import ConcurrencyLimiter


def entered(gate: ConcurrencyLimiter, count: int) -> list[float]:
    moments = []
    for _ in range(count):
        moment = gate.enter()
        assert moment is not None
        moments.append(moment)
    return moments


def test_too_many_halves_the_number_once_per_round_trip() -> None:
    gate = ConcurrencyLimiter(16)
    inside = entered(gate, 16)
    assert [gate.leave(moment, crowded=True) for moment in inside] == [True] + [False] * 15
    assert gate.limit == 8
    assert gate.leave(entered(gate, 8)[0], crowded=True)
    assert gate.limit == 4


def test_the_number_is_that_of_those_inside_and_never_below_one() -> None:
    gate = ConcurrencyLimiter(100)
    assert gate.leave(entered(gate, 10)[0], crowded=True)
    assert gate.limit == 5
    alone = ConcurrencyLimiter(1)
    assert not alone.leave(entered(alone, 1)[0], crowded=True)
    assert alone.limit == 1


def test_each_window_of_successes_lets_one_more_in_up_to_the_most() -> None:
    gate = ConcurrencyLimiter(4)
    gate.leave(entered(gate, 2)[0], crowded=True)
    limits = []
    for _ in range(12):
        gate.leave(entered(gate, 1)[0], good=True) if gate.inside < gate.limit else gate.leave(0.0, good=True)
        limits.append(gate.limit)
    assert limits == [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]


def test_who_does_not_fit_waits_until_someone_leaves() -> None:
    gate, came = ConcurrencyLimiter(1), threading.Event()
    (inside,) = entered(gate, 1)
    thread = threading.Thread(target=lambda: came.set() if gate.enter() else None, daemon=True)
    thread.start()
    assert not came.wait(0.05)
    gate.leave(inside)
    assert came.wait(9.0)
    thread.join()


def test_a_closed_gate_turns_away_who_waits_and_who_comes() -> None:
    gate, found = ConcurrencyLimiter(1), []
    entered(gate, 1)
    thread = threading.Thread(target=lambda: found.append(gate.enter()), daemon=True)
    thread.start()
    time.sleep(0.02)
    gate.close()
    thread.join(9.0)
    assert found == [None] and gate.enter() is None


@given(st.integers(1, 20), st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_the_limit_stays_between_one_and_the_most(most: int, leavings: list[tuple[bool, bool]]) -> None:
    gate = ConcurrencyLimiter(most)
    for crowded, good in leavings:
        (moment,) = entered(gate, 1)
        gate.leave(moment, crowded=crowded, good=good and not crowded)
        assert 1 <= gate.limit <= most and gate.inside == 0
