"""The engine behind a server: what is asked, what comes back, and the adapters that are put there and taken off."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from stages.engines import openai
from stages.engines.openai import OpenAIEngine
from stages.errors import BadConfig, BadInput, Denied, Unavailable
from stages.interfaces import Completion, Request
from stages.records.thoughts import remove_thoughts
from stages.services.vllm_server import ServerInfo, get_room_for_completion, probe_server
from stages.settings import ANSWERING, Sampling
from tests.services import behaviours as does
from tests.services.adapters import Adapters
from tests.services.asking import CANARY, serving
from tests.services.behaviours import Behaviour, slow
from tests.services.scripts import Script, always, echoes, in_turn, prompt_of
from tests.services.serving import JSON, served

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=11, seed=5)


def request(name: str, adapter: str | None = None, prompt: Any = None) -> Request:
    return Request(name, prompt or f"say {name}", SAMPLING, Path(adapter) if adapter else None)


def said(
    script: Script, requests: Iterable[Request], *, server: ServerInfo = ServerInfo(), **named: Any
) -> dict[str, Any]:
    """{id: completion}, and under "asked" what the server was asked."""
    most = named.pop("max_loras", 8)
    with serving(script, **named) as (there, transport):
        engine = OpenAIEngine("m", transport, server=server, max_loras=most)
        found: dict[str, Any] = {completion.id: completion for completion in engine.sample(requests)}
        return {**found, "asked": there.asked}


def one(script: Script, **named: Any) -> Completion:
    found: Completion = said(script, [request("0")], **named)["0"]
    return found


def test_a_text_goes_to_completions_and_messages_go_to_chat() -> None:
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    found = said(echoes, [request("text"), request("chat", prompt=turns)])
    assert (found["text"].text, found["chat"].text) == ("say text", "hello")
    asked = {asked.path: asked.body for asked in found["asked"]}
    settings = {"model": "m", "max_tokens": 11, "temperature": 0.7, "top_p": 0.9, "seed": 5}
    assert asked["/v1/completions"] == {**settings, "prompt": "say text"}
    assert asked["/v1/chat/completions"] == {**settings, "messages": turns}


def test_a_schema_goes_with_the_request_that_has_one() -> None:
    asked = replace(request("bound"), schema={"type": "object"})
    found = said(echoes, [asked, request("free")])["asked"]
    bodies = {each.body["prompt"]: each.body for each in found}
    obeyed = {"type": "json_schema", "json_schema": {"name": "self_edit", "strict": True, "schema": {"type": "object"}}}
    assert bodies["say bound"]["response_format"] == obeyed
    assert "response_format" not in bodies["say free"]


def test_vllm_is_told_to_leave_the_checkpoints_own_sampling_aside() -> None:
    found = said(echoes, [request("0")], server=ServerInfo(("m",), vllm=True))
    body = found["asked"][0].body
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (-1, 0.0, 1.0)


def test_what_comes_of_an_adapter_behind_its_work_is_no_answer_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "_CLEANUP_S", 0.0)  # as of a server that is slow to take it off
    with serving(Adapters(), concurrency=1) as (_, transport):
        engine = OpenAIEngine("m", transport)
        broken_off = engine.sample([request("0", "a"), request("1", "a")])
        assert next(broken_off).text == "a: say 0"
        broken_off.close()  # type: ignore[attr-defined]
        assert [each.text for each in engine.sample([request("2")])] == ["no adapter: say 2"]


def test_answers_leave_as_they_come() -> None:
    def first_is_slow(n: int, body: Any) -> does.Behaviour:
        return does.slow(5) if prompt_of(body) == "say 0" else does.ok("quick")

    with serving(first_is_slow, concurrency=4) as (_, transport):
        completions = OpenAIEngine("m", transport).sample(request(str(n)) for n in range(9))
        assert {completion.id for completion in islice(completions, 8)} == {str(n) for n in range(1, 9)}


@pytest.mark.parametrize(
    ("behaviour", "finish", "text", "tokens"),
    [
        (does.ok("done"), "stop", "done", 2),
        (does.ok("cut", finish="length"), "length", "cut", 2),
        (does.ok("who knows", finish=None), "unknown", "who knows", 2),
        (does.ok("odd", finish="tool_calls"), "unknown", "odd", 2),
        (does.ok("done", finish="eos_token"), "stop", "done", 2),
        (does.ok("", usage=None), "stop", "", None),
        (does.ok("x", usage={"completion_tokens": "many"}), "stop", "x", None),
        (does.ok("x", usage={"completion_tokens": -1}), "stop", "x", None),
        (does.ok("x", usage=[3]), "stop", "x", None),
    ],
)
def test_what_the_server_says_of_an_answer_is_kept(
    behaviour: does.Behaviour, finish: str, text: str, tokens: int | None
) -> None:
    read = None if tokens is None else does.USAGE["prompt_tokens"]
    assert one(always(behaviour)) == Completion("0", text, finish, tokens, prompt_tokens=read)  # type: ignore[arg-type]


def test_a_refusal_is_the_models_own() -> None:
    found = one(always(does.ok("I will", finish="content_filter")))
    assert (found.finish, found.text) == ("refused", "I will")
    assert str(found.error).startswith("refused: ")
    message = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
    spoken = one(always(does.body({"choices": [{"message": message, "finish_reason": "stop"}]})))
    assert (spoken.finish, spoken.text, spoken.error) == ("refused", "", "refused: I can't help with that.")


HALF = {"text": "half", "finish_reason": "stop"}


def events(*data: Any, end: str = "data: [DONE]\n\n") -> Behaviour:
    """An answer as server-sent events, each text of which is one."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in data]
    return does.raw(("".join(f": ping\r\n\r\ndata: {text}\n\n" for text in texts) + end).encode(), "text/event-stream")


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (does.body({}), "unparsable: the reply has no text"),
        (does.body({"choices": []}), "unparsable: the reply has no text"),
        (does.body({"choices": [7]}), "unparsable: the reply has no text"),
        (does.ok(None), "unparsable: the reply has no text"),
        *((does.ok("half", finish=each), f"api_error: ended by {each}") for each in ("abort", "error", "banana")),
        (
            does.body({"choices": [{**HALF, "error": {"message": "provider died"}}]}),
            "api_error: ended by provider died",
        ),
        (does.body({"choices": [HALF], "error": {"code": 502}}), "api_error: ended by {'code': 502}"),
        (does.status(413, "too large"), "api_error: "),
        (does.status(422, "no"), "api_error: "),
    ],
)
def test_an_answer_without_a_text_is_a_failure_of_the_service(behaviour: does.Behaviour, error: str) -> None:
    found = one(always(behaviour))
    assert (found.finish, found.text, found.tokens) == ("failed", "", None)
    assert str(found.error).startswith(error)


def message(finish: str | None = "stop", usage: object = does.USAGE, **fields: object) -> does.Behaviour:
    """A chat's answer with these fields beside the role."""
    choice = {"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish}
    return does.body({"choices": [choice], "usage": usage})


THOUGHT_OF = {"completion_tokens": 11, "completion_tokens_details": {"reasoning_tokens": 11}}
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Bo?"}]}, {"type": "text", "text": "Ada"}]


@pytest.mark.parametrize(
    ("behaviour", "finish", "text", "answer"),
    [
        (message(content="Ada", reasoning_content="Bo?"), "stop", "<think>\nBo?\n</think>\n\nAda", "\n\nAda"),
        (message(content="Ada", reasoning="Bo?"), "stop", "<think>\nBo?\n</think>\n\nAda", "\n\nAda"),
        (message(content="Ad", reasoning="Bo?", finish="length"), "length", "<think>\nBo?\n</think>\n\nAd", "\n\nAd"),
        (message(content="Ada", reasoning_content=None), "stop", "Ada", "Ada"),
        (message(content="<think>\nBo?\n</think>Ada", reasoning="Bo?"), "stop", "<think>\nBo?\n</think>Ada", "Ada"),
        (message(content=PARTS), "stop", "<think>\nBo?\n</think>\n\nAda", "\n\nAda"),
        (message(content=[{"type": "text", "text": "A"}, {"type": "text", "text": "da"}]), "stop", "Ada", "Ada"),
        (message(content="", reasoning="Bo?"), "stop", "<think>\nBo?\n</think>\n\n", "\n\n"),
        (message(content="", reasoning_content="Bo", finish="length"), "length", "<think>\nBo", None),
        (message(content=None, reasoning="Bo", finish="length"), "length", "<think>\nBo", None),
        (message(content=" \n", reasoning="Bo", finish="length"), "length", "<think>\nBo", None),
        (message(content=None, reasoning_content="Bo, Ada."), "stop", "<think>\nBo, Ada.", None),
        (message(content="Ada", tool_calls=[{"type": "function"}], finish="tool_calls"), "unknown", "Ada", "Ada"),
    ],
)
def test_a_thought_that_the_server_tells_apart_is_kept_before_the_text(
    behaviour: does.Behaviour, finish: str, text: str, answer: str | None
) -> None:
    found = one(always(behaviour))
    assert (found.finish, found.text, found.error) == (finish, text, None)
    assert remove_thoughts(found.text) == answer


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (message(content="", usage=THOUGHT_OF, finish="length"), "the model thought until --max-tokens; take more"),
        (message(content=None, usage=THOUGHT_OF, finish="length"), "the model thought until --max-tokens; take more"),
        (message(content="", finish="length"), "truncated: the reply has no text up to --max-tokens"),
        (message(content=None, tool_calls=[{}], finish="tool_calls"), "unparsable: the reply calls a tool and has no"),
        (message(content=None, reasoning="x", tool_calls=[{}]), "unparsable: the reply calls a tool and has no text"),
        (message(content=None, function_call={"name": "x"}), "unparsable: the reply calls a tool and has no text"),
        (message(content=[]), "unparsable: the reply has no text"),
        (message(content=[{"type": "image_url"}, 7]), "unparsable: the reply has no text"),
        (message(content={"text": "Ada"}), "unparsable: the reply has no text"),
    ],
)
def test_an_answer_that_nobody_can_see_is_lost_and_never_empty(behaviour: does.Behaviour, error: str) -> None:
    found = one(always(behaviour))
    assert (found.finish, found.text) == ("failed", "")
    assert str(found.error).startswith(error)


@pytest.mark.parametrize("content", [None, "", [{"type": "refusal", "refusal": "I cannot."}]])
def test_a_refusal_is_told_wherever_it_stands(content: object) -> None:
    fields = {"content": content} if isinstance(content, list) else {"content": content, "refusal": "I cannot."}
    found = one(always(message(**fields)))
    assert (found.finish, found.error) == ("refused", "refused: I cannot.")


def test_plain_completions_may_tell_a_thought_apart_too() -> None:
    found = one(always(does.body({"choices": [{"text": "Ada", "reasoning": "Bo?", "finish_reason": "stop"}]})))
    assert found.text == "<think>\nBo?\n</think>\n\nAda"


def test_what_concerns_every_call_ends_the_run() -> None:
    for code, kind in ((401, Denied), (403, Denied), (402, Denied), (404, BadConfig)):
        with pytest.raises(kind):
            one(always(does.status(code)))
    with pytest.raises(Unavailable):
        said(always(does.status(500)), [request(str(n)) for n in range(9)])


def test_answers_before_the_end_are_not_lost() -> None:
    with serving(in_turn(does.ok("a"), does.ok("b"), does.die()), concurrency=1) as (_, transport):
        found = []
        with pytest.raises(Unavailable):
            for completion in OpenAIEngine("m", transport).sample(request(str(n)) for n in range(9)):
                found.append(completion.id)
    assert found == ["0", "1"]


# ---- what a server wants otherwise


def test_a_completion_gets_what_the_context_has_left() -> None:
    refusal = does.status(
        400,
        "This model's maximum context length is 40 tokens. You requested 11 output tokens and 33 input tokens.",
    )
    found = said(in_turn(refusal, does.ok("short", finish="length")), [request("0")])
    assert found["0"].text == "short"
    assert [asked.body["max_tokens"] for asked in found["asked"]] == [11, 7]


@pytest.mark.parametrize(
    ("detail", "room"),
    [
        ("maximum context length is 8192 tokens. However, you requested 9000 (1000 in the messages, 8000 in", 7192),
        ("maximum context length is 100 tokens. However, you requested 5 output tokens and 100 input tokens", None),
        ("maximum context length is 100 tokens.", None),
        ("max_tokens=8192 cannot be greater than max_model_len=1024. Please request fewer output tokens.", 1024),
        ("maximum context length is 1024 tokens. Your prompt contains 15000 characters (for 1024 input tokens)", None),
        ("something else", None),
    ],
)
def test_the_room_is_read_from_what_servers_say(detail: str, room: int | None) -> None:
    assert get_room_for_completion(detail) == room


def test_a_prompt_that_never_fits_fails_alone() -> None:
    refusal = does.status(400, "maximum context length is 40 tokens; 11 output tokens and 33 input tokens")
    found = said(always(refusal), [request("0")])
    assert found["0"].finish == "failed"
    assert len(found["asked"]) == 2


def test_the_limit_is_renamed_for_all_that_follow() -> None:
    def picky(n: int, body: Any) -> does.Behaviour:
        words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return does.status(400, words) if "max_tokens" in body else does.ok("fine")

    found = said(picky, [request(str(n)) for n in range(9)], concurrency=2)
    assert [found[str(n)].text for n in range(9)] == ["fine"] * 9
    first_new = next(n for n, asked in enumerate(found["asked"]) if "max_completion_tokens" in asked.body)
    assert sum("max_tokens" in asked.body for asked in found["asked"]) <= 4  # those that were on their way
    assert first_new <= 4


def test_what_a_model_refuses_is_left_out_for_all_that_follow() -> None:
    def picky(n: int, body: Any) -> does.Behaviour:
        refused = next((name for name in ("temperature", "top_p", "seed", "max_tokens") if name in body), None)
        if refused == "max_tokens":
            return does.status(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return (
            does.status(400, f"Unsupported parameter: '{refused}'", {"param": refused}) if refused else does.ok("fine")
        )

    found = said(picky, [request(str(n)) for n in range(9)], concurrency=2)
    assert [found[str(n)].text for n in range(9)] == ["fine"] * 9
    assert set(found["asked"][-1].body) == {"model", "prompt", "max_completion_tokens"}
    assert len(found["asked"]) <= 9 + 2 * 4  # those that were on their way


# ---- adapters


def test_each_adapter_answers_for_itself() -> None:
    script = Adapters()
    requests = [request(f"{n}-{name}", name) for n in range(3) for name in ("one", "two")] + [request("plain")]
    found = said(script, requests)
    assert found["plain"].text == "no adapter: say plain"
    for asked in requests[:-1]:
        assert found[asked.id].text == f"{asked.adapter}: say {asked.id}"
    assert script.there == {}  # all were taken off
    assert len(script.names) == 2


def test_no_more_are_on_the_server_than_there_is_room_for() -> None:
    script = Adapters(most=3)

    def slowly(n: int, body: Mapping[str, Any]) -> Behaviour:
        return script(n, body) if "lora_name" in body else slow(0.05, script(n, body))

    requests = [request(f"{n}-{name}", f"a{name}") for name in range(12) for n in range(4)]
    found = said(slowly, requests, max_loras=3, concurrency=16)
    assert all(found[asked.id].text.startswith(f"{asked.adapter}: ") for asked in requests)
    assert (script.most_there, len(script.names), script.there) == (3, 12, {})


def test_no_adapter_is_loaded_while_plain_requests_are_on_their_way() -> None:
    adapters = Adapters()

    def script(n: int, body: Any) -> does.Behaviour:
        behaviour = adapters(n, body)
        return does.slow(0.2, behaviour) if body.get("model") == "m" else behaviour

    requests = [request("first", "one"), *(request(str(n)) for n in range(5))]
    found = said(script, requests, concurrency=16)
    plain = [asked.at_s for asked in found["asked"] if asked.body.get("model") == "m"]
    others = [asked.at_s for asked in found["asked"] if asked.body.get("model") != "m"]
    assert len(plain) == 5
    assert min(others) >= max(plain) + 0.2


def test_a_name_is_never_used_again() -> None:
    script = Adapters()
    with serving(script) as (_, transport):
        engine = OpenAIEngine("m", transport)
        for _ in range(3):
            assert [found.finish for found in engine.sample([request("0", "one")])] == ["stop"]
        other = OpenAIEngine("m", transport)
        assert [found.finish for found in other.sample([request("0", "one")])] == ["stop"]
    assert len(script.names) == len(set(script.names)) == 4


def test_a_server_that_was_started_anew_gets_its_adapters_again() -> None:
    script = Adapters(forgets_after=5)
    requests = [request(f"{n}-{name}", name) for name in ("one", "two") for n in range(6)]
    found = said(script, requests, concurrency=4)
    assert all(found[asked.id].text == f"{asked.adapter}: say {asked.id}" for asked in requests)
    assert len(script.names) > 2


def test_a_lost_adapter_is_never_a_wrong_answer() -> None:
    def forgetful(n: int, body: Any) -> does.Behaviour:
        return does.raw(b"Success", "text/plain") if "lora_name" in body else does.status(404, "does not exist")

    found = said(forgetful, [request("0", "one")])
    assert found["0"].finish == "failed"
    assert found["0"].error.startswith("api_error: ")


@pytest.mark.parametrize(
    ("script", "adapter", "kind", "words"),
    [
        (Adapters(), "nowhere", BadInput, "the server does not find it .* it must see the same files"),
        (Adapters(), "rank", BadConfig, "start the server with a larger --max-lora-rank"),
        (always(does.status(404, "Not Found")), "one", BadConfig, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        (always(does.status(500, "cut short")), "one", BadInput, "the server cannot load it .*cut short"),
        (always(does.status(503)), "one", Unavailable, "not loaded .api_error: status 503"),
    ],
)
def test_an_adapter_that_cannot_be_put_there_says_what_to_do(
    script: Script, adapter: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        said(script, [request("0", adapter)])


def test_adapters_are_taken_off_when_the_work_is_broken_off() -> None:
    script = Adapters()
    with serving(script, concurrency=2) as (_, transport):
        completions = OpenAIEngine("m", transport).sample([request(str(n), "one") for n in range(50)])
        next(completions)
        assert len(script.there) == 1
        completions.close()
        assert script.there == {}


# ---- the greeting


def test_a_server_says_which_models_it_has_and_whether_it_is_vllm() -> None:
    body = b'{"data": [{"id": "a", "owned_by": "vllm", "max_model_len": 1024}, {"id": "b"}]}'
    with served(lambda asked: (200, JSON, body)) as server:
        assert probe_server(server.url, None) == ServerInfo(("a", "b"), vllm=True, context=1024)
    with served(lambda asked: (200, JSON, b'{"data": [{"id": "b", "max_model_len": 7}]}')) as server:
        assert probe_server(server.url, None) == ServerInfo(("b",))


def test_no_more_is_asked_for_than_the_context_that_vllm_tells() -> None:
    found = said(echoes, [request("0")], server=ServerInfo(("m",), vllm=True, context=7))
    assert found["asked"][0].body["max_tokens"] == 7


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"data": 1}', b'{"data": [1]}', b'{"data": [{}]}', b"<html>", b"[" * 9999]
)
def test_a_list_that_is_none_says_nothing(body: bytes) -> None:
    with served(lambda asked: (200, JSON, body)) as server:
        assert probe_server(server.url, None) == ServerInfo()


@pytest.mark.parametrize("code", [404, 405, 500])
def test_a_server_without_a_list_may_still_answer(code: int) -> None:
    with served(lambda asked: (code, JSON, b"")) as server:
        assert probe_server(server.url, None) == ServerInfo()


def test_nobody_there_is_told_at_once() -> None:
    with pytest.raises(Unavailable, match="refuses the connection; start the server"):
        probe_server("http://127.0.0.1:9/v1", None)


def test_a_key_that_is_refused_or_missing_is_told_at_once() -> None:
    with served(lambda asked: (401, JSON, b"")) as server:
        with pytest.raises(Denied, match="refuses the key in OPENAI_API_KEY"):
            probe_server(server.url, "sk-canary")
        with pytest.raises(Denied, match="asks for a key, and OPENAI_API_KEY is not set"):
            probe_server(server.url, None)


def test_answering_is_greedy() -> None:
    found = said(echoes, [Request("0", "q", ANSWERING)])
    assert (found["asked"][0].body["temperature"], found["asked"][0].body["top_p"]) == (0.0, 1.0)


# ---- streamed answers


def chat_piece(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def listen(script: Script, asked: Request, **named: Any) -> tuple[Completion, list[str], list[Any]]:
    """The completion, what was heard of it, and the bodies that were sent."""
    heard = list[str]()
    with serving(script, **named) as (there, transport):
        engine = OpenAIEngine("m", transport)
        engine.hear = lambda name, text: heard.append(text)
        (found,) = engine.sample([asked])
        return found, heard, [each.body for each in there.asked]


def test_a_streamed_answer_is_heard_as_it_comes_and_is_the_one_that_would_have_come_at_once() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    script = always(events(piece("Ve"), piece("lm\u20ac"), piece("", "length"), usage))
    found, heard, (body,) = listen(script, request("0"))
    assert (found.text, found.finish, found.tokens) == ("Velm\u20ac", "length", 3)
    assert heard == ["Ve", "Velm\u20ac", "Velm\u20ac"]
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_a_thought_and_a_chat_that_are_streamed_are_put_together() -> None:
    turns = [{"role": "user", "content": "hello"}]
    told = [chat_piece(role="assistant", content=None), chat_piece(reasoning_content="hm"), chat_piece(content="Ve")]
    found, heard, _ = listen(always(events(*told, chat_piece("stop", content="lm"))), request("0", prompt=turns))
    assert (remove_thoughts(found.text) or "").strip() == "Velm"
    assert "hm" in found.text
    assert (found.finish, heard[-2:]) == ("stop", ["Ve", "Velm"])


def test_a_server_that_does_not_stream_answers_all_the_same() -> None:
    found, heard, _ = listen(always(does.ok("Velm")), request("0"))
    assert (found.text, heard) == ("Velm", [])
    refuses = in_turn(does.status(400, "Unrecognized request argument: stream_options"), events(piece("Velm", "stop")))
    found, _, bodies = listen(refuses, request("0"))
    assert (found.text, ["stream_options" in body for body in bodies]) == ("Velm", [True, False])


@pytest.mark.parametrize(
    "broken", [events(piece("Ve"), end=""), events(piece("Ve"), "{"), events("[3]"), does.raw(b"", "text/event-stream")]
)
def test_a_stream_that_is_cut_off_or_broken_is_asked_for_again(broken: Behaviour) -> None:
    found, heard, bodies = listen(in_turn(broken, events(piece("Bran", "stop"))), request("0"), retry_for_s=5.0)
    assert (found.text, heard[-1], len(bodies)) == ("Bran", "Bran", 2)


def test_an_error_within_a_stream_is_one() -> None:
    error = {"error": {"code": 400, "message": "too long"}}
    found, _, _ = listen(always(events(error)), request("0"))
    assert (found.finish, "too long" in str(found.error)) == ("failed", True)


def test_a_key_is_not_heard_however_it_comes() -> None:
    pieces = [piece(letter) for letter in f"a {CANARY} b"]
    found, heard, _ = listen(always(events(*pieces, piece("", "stop"))), request("0"))
    assert CANARY not in found.text
    assert not [text for text in heard if CANARY[:4] in text]
    assert heard[-1] == found.text
