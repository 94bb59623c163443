"""The time left: by what waits, what is in work and how fast it went of late; none without a basis, never negative."""

import pytest

from seal_cli.terminal.estimate import Requests, Steady, at_least_some


def test_steady_work_goes_by_the_speed_of_the_recent_half() -> None:
    work = Steady(100, started=0.0)
    assert work.left_s(5.0) is None  # nothing was done
    for second in range(1, 11):
        work.add(second, 2)  # slow at first
    for second in range(11, 21):
        work.add(second, 6)
    assert work.left_s(20.0) == pytest.approx((100 - 80) / 6)
    assert work.left_s(21.0) == pytest.approx((100 - 80) / 6 - 1)


def test_what_is_late_takes_longer_and_what_is_done_takes_no_time() -> None:
    work = Steady(10, started=0.0)
    work.add(5.0, 5)
    assert work.left_s(100.0) == pytest.approx(0.25 * 95)
    work.add(101.0, 5)
    assert work.left_s(101.0) is None
    work.add(102.0, 5)  # more than was told of
    assert (work.done, work.left_s(102.0)) == (10, None)


def test_batches_that_come_in_bursts_take_a_batch_s_time_each() -> None:
    work = Requests(250, started=0.0)
    for batch in range(3):
        work.begin(3 + 10.0 * batch, 50)  # three seconds of loading count for nothing
        work.settle(13 + 10.0 * batch, 50)
    work.begin(33.0, 50)
    assert work.left_s(33.0) == pytest.approx(20)
    assert work.left_s(40.0) == pytest.approx(13)


def test_how_long_a_first_batch_takes_nobody_knows() -> None:
    work = Requests(20, started=0.0)
    work.begin(0.0, 10)
    assert work.left_s(8.0) is None
    work.settle(10.0, 10)
    assert work.left_s(10.0) == pytest.approx(10)


def test_a_server_that_is_asked_many_at_a_time_is_as_fast_as_they_are_many() -> None:
    """After the first answers there is no speed to see yet: fifteen more are on their way."""
    work = Requests(64, started=0.0)
    for _ in range(16):
        work.begin(0.0, 1)
    work.settle(1.0, 1)
    work.begin(1.0, 1)
    assert work.left_s(1.0) == pytest.approx(47 / 16 + 1)


def test_a_request_that_takes_longer_than_any_before_has_no_end_in_sight() -> None:
    work = Requests(2, started=0.0)
    work.begin(0.0, 1)
    work.settle(1.0, 1)
    work.begin(1.0, 1)
    assert work.left_s(41.0) == pytest.approx(10)


def test_more_than_was_expected_is_not_counted() -> None:
    work = Requests(3, started=0.0)
    work.begin(0.0, 5)
    work.settle(1.0, 2)
    assert (work.done, work.flying) == (2, 1)
    work.settle(2.0, 5)
    assert (work.done, work.flying, work.left_s(2.0)) == (3, 0, None)


def test_the_past_stays_small_and_keeps_its_ends() -> None:
    work = Steady(10**6, started=0.0)
    for step in range(20_000):
        work.add(step * 0.01, 10)
    assert len(work.past.points) < 1500
    assert work.left_s(200.0) == pytest.approx(800, rel=0.02)


def test_never_below_zero() -> None:
    assert at_least_some(0.0, 0.0) == 0.0
    assert at_least_some(5.0, 3.0) == 2.0
    assert at_least_some(5.0, 50.0) == 12.5
