"""How long calls are tried, the waits that a server asks for, when it counts as gone, and how many run at once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import Unavailable
from stages.services.retry import ConcurrencyLimiter
from tests.services.asking import SLACK_S, TRIED_S, answered, asked, calls
from tests.services.behaviours import (
    Behaviour,
    die,
    hang,
    in_seconds,
    limited,
    ok,
    page,
    status,
)
from tests.services.scripts import PASSING, always, echoes, flaky, in_turn, poison


def test_a_service_that_dies_is_gone_after_one_call_s_time() -> None:
    out = asked(in_turn(ok(), ok(), die()), calls(50), concurrency=4, retry_for_s=1.0)
    assert isinstance(out.error, Unavailable)
    assert ": refuses the connection, for " in str(out.error)
    assert str(out.error).endswith("; start the server (for example: vllm serve MODEL), or correct --base-url")
    assert len(out.replies) <= 2 and all(reply.body for reply in out.replies)
    assert out.seconds < 1.0 + SLACK_S


def test_a_service_that_comes_back_is_waited_for() -> None:
    out = asked(in_turn(ok(), die(back_after_s=0.4), ok()), calls(20), retry_for_s=5.0)
    assert len(out.texts) == 20 and out.error is None


@pytest.mark.parametrize("concurrency", [1, 16])
@pytest.mark.parametrize("behaviour", [status(503), status(500), page(200), limited()])
def test_calls_given_up_in_a_row_are_a_service_that_is_gone(behaviour: Behaviour, concurrency: int) -> None:
    out = asked(always(behaviour), calls(500), concurrency=concurrency)
    assert isinstance(out.error, Unavailable)
    assert len(out.replies) <= (2 if concurrency == 1 else 0), "what the service could not answer is left open"
    assert out.seconds < 2 * TRIED_S + SLACK_S, "not the whole time for each call"


def test_a_silent_service_is_gone_too() -> None:
    out = asked(always(hang()), calls(50), timeout_s=0.2, concurrency=8)
    assert isinstance(out.error, Unavailable) and "no answer within 0.2 s, for" in str(out.error)
    assert out.seconds < TRIED_S + 0.2 + SLACK_S


def test_prompts_that_always_fail_do_not_end_the_run() -> None:
    out = asked(poison(0.2, status(500), echoes), calls(57), concurrency=8)  # the last ones are good
    assert out.error is None
    failed = {reply.id for reply in out.replies if reply.failure}
    assert len(out.texts) + len(failed) == 57 and len(failed) == 8
    assert out.texts.items() <= {(str(number), str(number)) for number in range(57)}


def test_random_failures_of_every_kind_change_no_answer() -> None:
    out = asked(flaky(0.2, PASSING, echoes), calls(250), concurrency=64, retry_for_s=3.0)  # waits grow with this time
    assert out.texts == {str(number): str(number) for number in range(250)}
    assert out.usage.retries == out.asked - 250 > 30


@pytest.mark.parametrize(
    ("behaviour", "pause_s"),
    [
        (limited("1"), 1.0),
        (limited(milliseconds=400), 0.4),
        (limited(milliseconds=200, code=503), 0.2),
        (limited("0.3"), 0.3),
    ],
)
def test_a_pause_that_the_server_asks_for_is_kept(behaviour: Behaviour, pause_s: float) -> None:
    out = asked(in_turn(behaviour, ok()), retry_for_s=20.0)
    assert out.texts == {"0": "yes"}
    assert pause_s <= out.seconds < 1.1 * pause_s + SLACK_S


def test_a_pause_may_be_a_date() -> None:
    date = in_seconds(2)
    out = asked(in_turn(limited(date), ok()), retry_for_s=20.0)
    assert 0.8 <= out.seconds < 2.2 + SLACK_S


def test_a_pause_beyond_the_time_left_is_not_begun() -> None:
    out = answered(limited("60"), retry_for_s=30.0)
    assert (out.failure, out.asked) == ("api_error: status 429: scripted 429", 1)
    assert out.seconds < SLACK_S


async def acquire(limiter: ConcurrencyLimiter, count: int) -> list[float]:
    return [await asyncio.wait_for(limiter.acquire(), 9.0) for _ in range(count)]


def test_too_many_halves_the_number_once_per_round_trip() -> None:
    async def check() -> None:
        limiter = ConcurrencyLimiter(16)
        slots = await acquire(limiter, 16)
        assert [await limiter.release(slot, overloaded=True) for slot in slots] == [True] + [False] * 15
        assert limiter.limit == 8
        assert await limiter.release((await acquire(limiter, 8))[0], overloaded=True)
        assert limiter.limit == 4

    asyncio.run(check())


def test_the_number_is_that_of_active_requests_and_never_below_one() -> None:
    async def check() -> None:
        limiter = ConcurrencyLimiter(100)
        assert await limiter.release((await acquire(limiter, 10))[0], overloaded=True)
        assert limiter.limit == 5
        alone = ConcurrencyLimiter(1)
        assert not await alone.release((await acquire(alone, 1))[0], overloaded=True)
        assert alone.limit == 1

    asyncio.run(check())


def test_each_window_of_successes_lets_one_more_in_up_to_the_most() -> None:
    async def check() -> list[int]:
        limiter = ConcurrencyLimiter(4)
        await limiter.release((await acquire(limiter, 2))[0], overloaded=True)
        limits = []
        for _ in range(12):
            slot = (await acquire(limiter, 1))[0] if limiter.active < limiter.limit else 0.0
            await limiter.release(slot, succeeded=True)
            limits.append(limiter.limit)
        return limits

    assert asyncio.run(check()) == [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]


def test_who_does_not_fit_waits_until_someone_leaves() -> None:
    async def check() -> None:
        limiter = ConcurrencyLimiter(1)
        (slot,) = await acquire(limiter, 1)
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await limiter.release(slot)
        await asyncio.wait_for(waiting, 9.0)

    asyncio.run(check())


@given(st.integers(1, 20), st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_the_limit_stays_between_one_and_the_most(most: int, releases: list[tuple[bool, bool]]) -> None:
    async def check() -> None:
        limiter = ConcurrencyLimiter(most)
        for overloaded, succeeded in releases:
            (slot,) = await acquire(limiter, 1)
            await limiter.release(slot, overloaded=overloaded, succeeded=succeeded and not overloaded)
            assert 1 <= limiter.limit <= most and limiter.active == 0

    asyncio.run(check())
