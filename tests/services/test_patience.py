"""How long calls are tried, the pauses that a server asks for, and when it counts as gone."""

import pytest

from stages.errors import Unavailable
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
    out = asked(flaky(0.2, PASSING, echoes), calls(500), retry_for_s=1.0)
    assert out.texts == {str(number): str(number) for number in range(500)}
    assert out.tally.retries == out.asked - 500 > 60


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
