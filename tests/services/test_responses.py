"""What every kind of response means: an answer, one call's failure, or the end of the run."""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import BadConfig, Denied, SealError
from stages.services.base import Failure
from stages.services.client import Server
from stages.services.responses import HttpResponse, TransientError, classify_response, error_message, get_retry_after_s
from tests.services.asking import CANARY, SLACK_S, TRIED_S, answered, asked, call, calls, outcome, serving
from tests.services.behaviours import (
    Behaviour,
    body,
    broken_chunks,
    completion,
    cut_off,
    echo,
    echo_escaped,
    hang_up,
    huge,
    limited,
    no_http,
    ok,
    page,
    raw,
    redirect,
    reset,
    reset_midway,
    status,
)
from tests.services.scripted import scripted
from tests.services.scripts import always, echoes, in_turn, prompt_of

# ---- good answers


def test_answers_come_back_by_id_and_are_counted() -> None:
    out = asked(echoes, calls(40))
    assert out.texts == {str(number): str(number) for number in range(40)}
    assert (out.usage.calls, out.usage.retries, out.usage.failed) == (40, 0, 0)
    assert (out.usage.prompt_tokens, out.usage.completion_tokens, out.usage.cost) == (120, 80, None)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (body({"choices": []}), {"choices": []}),
        (ok(None, usage=None), completion("chat", None, usage=None)),
        (ok("no", "content_filter"), completion("chat", "no", "content_filter")),
        (body({"choices": ["\ud800"]}), {"choices": ["\ufffd"]}),
        (raw(b'\xef\xbb\xbf\n\n{"choices": []}\n', "text/plain; charset=latin-1"), {"choices": []}),
        (huge(3_000_000), completion("chat", "x" * 3_000_000)),
    ],
)
def test_any_json_object_is_an_answer_whatever_it_says(behaviour: Behaviour, expected: object) -> None:
    (reply,) = answered(behaviour).replies
    assert (reply.body, reply.failure) == (expected, None)


def test_a_call_may_ask_for_text() -> None:
    (reply,) = asked(always(raw(b"Success: loaded", "text/plain")), [call("0", plain=True)]).replies
    assert reply.body == {"text": "Success: loaded"}


# ---- one call's failure


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_request_that_is_wrong_is_not_sent_again(code: int) -> None:
    out = answered(status(code, "max_tokens is not supported\nmore"))
    assert out.replies[0].failure == Failure("api_error", f"status {code}: max_tokens is not supported", code)
    assert (out.asked, out.usage.failed) == (1, 1)


TROUBLE = [
    (status(408), "api_error: status 408: scripted 408"),
    (status(409), "api_error: status 409: scripted 409"),
    (status(500), "api_error: status 500: scripted 500"),
    (page(502), "api_error: status 502: 502 Bad Gateway"),
    (status(503), "api_error: status 503: scripted 503"),
    (limited(), "api_error: status 429: scripted 429"),
    (cut_off(500), "api_error: status 500"),
    (body({"error": {"code": 502, "message": "no model is up"}}), "api_error: status 502: no model is up"),
    (reset(), "api_error: closes the connection without an answer"),
    (hang_up(), "api_error: closes the connection without an answer"),
    (no_http(), "api_error: does not speak HTTP (RemoteProtocolError)"),
    (reset_midway(), "truncated: sends an answer that is cut off"),
    (cut_off(), "truncated: sends an answer that is cut off"),
    (broken_chunks(), "truncated: sends an answer that is cut off"),
    (raw(b'{"choices": ['), "unparsable: answers broken JSON"),
    (raw('{"text": "é"}'.encode("latin-1")), "unparsable: answers broken JSON"),
    (page(200), "unparsable: answers something that is not JSON (text/html)"),
    (body(["yes"]), "unparsable: answers JSON that is no object"),
    (echo(500), "api_error: status 500: not good: Bearer (key)\ufffd[31m"),
    (echo_escaped(500), "api_error: status 500: not good: Bearer (key)"),
]


@pytest.mark.parametrize(("behaviour", "words"), TROUBLE)
def test_trouble_is_tried_again_for_the_whole_time_and_then_a_failure(behaviour: Behaviour, words: str) -> None:
    out = answered(behaviour)
    assert (out.failure, out.error) == (words, None)
    assert out.usage.retries == out.asked - 1
    assert TRIED_S <= out.seconds < TRIED_S + SLACK_S
    assert out.notes[-1].endswith(f"{words.partition(': ')[2]}, trying again for up to {TRIED_S} s")


def test_trouble_of_any_kind_may_pass() -> None:
    tries: Counter[str] = Counter()

    def heal(n: int, asked: Mapping[str, Any]) -> Behaviour:
        prompt = prompt_of(asked)
        tries[prompt] += 1
        return TROUBLE[int(prompt)][0] if tries[prompt] <= 2 else ok(prompt)

    out = asked(heal, calls(len(TROUBLE)), retry_for_s=2.0)
    assert out.texts == {str(number): str(number) for number in range(len(TROUBLE))}
    assert set(tries.values()) == {3} and out.usage.retries == 2 * len(TROUBLE)


def test_the_waits_between_tries_grow() -> None:
    with serving(always(status(500)), retry_for_s=1.0) as (there, server):
        outcome(there, server, [call("0")])
        moments = [request.at_s for request in there.asked]
    waits = [later - earlier for earlier, later in pairwise(moments)]
    assert 4 <= len(waits) <= 12
    assert 0.06 <= waits[0] < waits[2] < 1.0


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.services.connection.MAX_BYTES", 100_000)
    out = answered(huge(3_000_000))
    assert (out.failure, out.asked) == ("unparsable: answers more than 100,000 bytes", 1)


# ---- what ends the run


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        (status(401), Denied, "refuses the key in OPENAI_API_KEY (status 401: Incorrect API key provided); export"),
        (cut_off(401), Denied, "refuses the key in OPENAI_API_KEY (status 401); export OPENAI_API_KEY=…"),
        (echo(401), Denied, "(status 401: not good: Bearer (key)\ufffd[31m)"),
        (status(402), Denied, "no credit is left for the key in OPENAI_API_KEY (status 402: scripted 402); add some"),
        (status(429, error={"code": "insufficient_quota"}), Denied, "no credit is left for the key in OPENAI_API_KEY"),
        (status(403), Denied, "does not allow this to the key in OPENAI_API_KEY (status 403: scripted 403); export"),
        (status(404), BadConfig, "has no model m (status 404: The model `m` does not exist.); give one of its own"),
        (raw(b'{"detail": "Not Found"}', status=404), BadConfig, "/v1/chat/completions (status 404: Not Found); corr"),
        (status(405), BadConfig, "correct --base-url or --model m, see what is there: curl http://127.0.0.1:"),
        (redirect(f"/{CANARY}"), BadConfig, "redirects to /(key) (status 307); give that address as --base-url"),
    ],
)
def test_what_every_call_would_hear_ends_the_run_at_once(
    behaviour: Behaviour, kind: type[SealError], words: str
) -> None:
    out = asked(always(behaviour), calls(50), concurrency=2, retry_for_s=60.0)
    assert type(out.error) is kind and words in str(out.error)
    assert str(out.error).startswith("http://127.0.0.1:")
    assert out.replies == [] and out.asked <= 2 and out.seconds < SLACK_S


def test_a_missing_key_is_told_from_a_wrong_one() -> None:
    out = answered(status(401), key=None)
    assert "asks for a key, and OPENAI_API_KEY is not set (status 401" in str(out.error)
    assert str(out.error).endswith("; export OPENAI_API_KEY=…")


def test_a_forgotten_v1_is_the_advice() -> None:
    with scripted(always(raw(b'{"detail": "Not Found"}', status=404))) as there:
        root = there.url.removesuffix("/v1")
        server = Server(root, key=None)
        server.submit(call("0"))
        with pytest.raises(BadConfig, match=f"give --base-url {root}/v1$"):
            server.take(wait=True)
        server.close()


def test_a_call_that_asks_for_it_is_told_of_a_missing_model() -> None:
    (reply,) = asked(always(status(404)), [call("0", final=(404,))]).replies
    assert reply.failure == Failure("api_error", "status 404: The model `m` does not exist.", 404)


def test_replies_that_had_come_are_handed_out_before_the_error() -> None:
    out = asked(in_turn(*[ok()] * 5, status(402)), calls(20), concurrency=1)
    assert list(out.texts) == ["0", "1", "2", "3", "4"]
    assert isinstance(out.error, Denied)


def test_the_error_is_raised_each_time() -> None:
    with serving(always(status(401))) as (_, server):
        server.submit(call("0"))
        for _ in range(2):
            with pytest.raises(Denied):
                server.take(wait=True)
        assert server.open == 1


# ---- words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"error": {"message": "one"}}, "one"),
        ({"error": "one"}, "one"),
        ({"object": "error", "message": "one", "code": 404}, "one"),
        ({"detail": [{"loc": ["body"], "msg": "one"}, {"msg": "two"}]}, "one"),
        ({"error": {"message": {"text": 3}}}, ""),
        ({"error": {}}, ""),
        ([], ""),
        (3, ""),
        ("plain words", "plain words"),
        ("<html><title>502 Bad\nGateway</title>", "502 Bad\nGateway"),
        ("<html>", "an HTML page"),
    ],
)
def test_the_words_of_an_error_are_found_wherever_servers_put_them(error: object, words: str) -> None:
    assert error_message(error) == words


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (status(400, "filtered", {"code": "content_filter"}), "refused: status 400: filtered"),
        (status(403, "flagged", {"metadata": {"reasons": ["x"]}}), "refused: status 403: flagged"),
        (status(400, "not supported", {"param": "max_tokens"}), "api_error: status 400: not supported (parameter max_"),
        (status(400, "max_tokens: no", {"param": "max_tokens"}), "api_error: status 400: max_tokens: no"),
    ],
)
def test_a_refused_prompt_and_a_bad_parameter_are_told(behaviour: Behaviour, words: str) -> None:
    out = answered(behaviour)
    assert out.failure.startswith(words) and out.asked == 1


@given(st.integers(200, 599), st.binary(max_size=200) | st.from_regex(rb'\{"error": .{0,60}\}', fullmatch=True))
def test_any_answer_has_a_meaning(code: int, content: bytes) -> None:
    verdict = classify_response("http://h/v1", CANARY, call("0"), HttpResponse(code, {"retry-after": "x"}, content))
    assert isinstance(verdict, Mapping | Failure | TransientError | SealError)


NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 99 Nov 2023 22:00:00 GMT"}, None),
    ],
)
def test_a_pause_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert get_retry_after_s(headers, NOW) == seconds


@given(st.text(), st.text())
def test_any_header_is_a_pause_or_none(seconds: str, milliseconds: str) -> None:
    found = get_retry_after_s({"retry-after": seconds, "retry-after-ms": milliseconds}, NOW)
    assert found is None or 0 <= found < float("inf")
