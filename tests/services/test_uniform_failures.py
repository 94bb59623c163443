"""Calls that all fail in the same words end the run early; what one prompt or one call is at fault for never does."""

import time
from typing import Any

import pytest

from stages.errors import BadConfig
from stages.services.base import Call
from stages.services.retry import ENOUGH_AT_END, ENOUGH_CALLS
from tests.services.asking import SLACK_S, Outcome, asked, call, calls, serving
from tests.services.behaviours import Behaviour, ok, status
from tests.services.scripts import Script, always, in_turn, prompt_of

UNSUPPORTED = status(400, "Unsupported parameter: 'temperature'", {"param": "temperature"})


def numbered(words: str, code: int = 400) -> Script:
    return lambda n, body: status(code, words.format(prompt_of(body)))


def unended(out: Outcome, count: int) -> bool:
    """Whether all calls were sent, and failed each for itself."""
    return out.error is None and len(out.replies) == out.asked == count and not out.texts


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_a_parameter_that_the_model_does_not_take_ends_the_run(concurrency: int) -> None:
    out = asked(always(UNSUPPORTED), calls(10_000), concurrency=concurrency)
    assert isinstance(out.error, BadConfig)
    words = "refuses every call in the same words (status 400: Unsupported parameter: 'temperature')"
    assert f"/v1: {words}; correct the parameter that it names, or give another model than m as --model" in str(
        out.error
    )
    assert ENOUGH_CALLS <= out.asked < ENOUGH_CALLS + concurrency and out.seconds < SLACK_S
    assert len(out.replies) < ENOUGH_CALLS + concurrency and all(reply.failure for reply in out.replies)


@pytest.mark.parametrize("concurrency", [2, 8, 16])
def test_fewer_calls_that_were_all_end_it_too_and_one_stays_open(concurrency: int) -> None:
    for _ in range(2):
        out = asked(always(UNSUPPORTED), calls(8), concurrency=concurrency)
        assert isinstance(out.error, BadConfig) and len(out.replies) < out.asked == 8


def test_the_last_of_failures_that_came_at_once_is_held_back_until_it_is_known_that_no_call_follows() -> None:
    with serving(always(UNSUPPORTED), concurrency=8) as (there, server):
        for one in calls(8):
            server.submit(one)
        while there.at_once or len(there.asked) < 8:
            time.sleep(0.01)
        time.sleep(0.3)  # until all have come
        assert len(server.take(wait=True)) == 7 and server.open == 1
        for _ in range(2):
            with pytest.raises(BadConfig, match="refuses every call in the same words"):
                server.take(wait=True)


def test_a_handful_of_calls_fail_each_for_itself() -> None:
    assert unended(asked(always(UNSUPPORTED), calls(ENOUGH_AT_END - 1)), ENOUGH_AT_END - 1)


@pytest.mark.parametrize(
    "first", [ok(), status(400, "odd prompt"), status(422, "Unsupported parameter: 'temperature'")]
)
def test_an_answer_of_another_kind_shows_that_calls_may_fare_better(first: Behaviour) -> None:
    out = asked(in_turn(first, UNSUPPORTED), calls(50), concurrency=1)
    assert (out.error, len(out.replies), out.asked) == (None, 50, 50)


@pytest.mark.parametrize(
    "script",
    [
        numbered("This model's maximum context length is 4096 tokens, you asked for 5013"),
        numbered("max_tokens must be at most max_model_len=64"),
        numbered("Use 'max_completion_tokens' instead."),
        numbered("prompt {} is odd"),
        numbered("Request Entity Too Large", 413),
        always(status(400, "filtered", {"code": "content_filter"})),
    ],
)
def test_what_may_be_mended_or_concerns_a_prompt_never_counts(script: Script) -> None:
    assert unended(asked(script, calls(50)), 50)


def test_the_same_prompt_again_and_again_says_nothing_of_others() -> None:
    assert unended(asked(always(UNSUPPORTED), [call(str(number), "why") for number in range(50)]), 50)


def test_what_a_call_expects_never_counts() -> None:
    sent = [call(str(number), final=(404, 400)) for number in range(50)]
    assert unended(asked(always(status(400)), sent), 50)


def test_calls_that_are_mended_do_not_hide_that_all_fail() -> None:
    def picky(n: int, body: Any) -> Behaviour:
        return status(400, "Use 'max_completion_tokens' instead.") if "max_tokens" in body else UNSUPPORTED

    def sent(number: int) -> Call:
        one = call(str(number))
        return Call(one.id, one.path, {**one.body, "max_tokens" if number % 2 else "max_completion_tokens": 9})

    out = asked(picky, [sent(number) for number in range(200)], concurrency=4)
    assert isinstance(out.error, BadConfig) and 2 * ENOUGH_CALLS - 5 <= out.asked < 2 * ENOUGH_CALLS + 9


def test_replies_that_were_held_back_come_with_the_next() -> None:
    def late(n: int, body: Any) -> Behaviour:
        return UNSUPPORTED if n < 9 else ok(prompt_of(body))

    for concurrency in (1, 2, 8):
        out = asked(late, calls(30), concurrency=concurrency)
        assert out.error is None and len(out.replies) == len({reply.id for reply in out.replies}) == 30
        assert len(out.texts) == 21
