"""How likely servers find given tokens, and what becomes of those that do not tell."""

from collections.abc import Mapping
from typing import Any

import pytest

from stages.errors import BadConfig
from stages.interfaces import Probe
from stages.services.client import Server
from stages.services.measuring.token_scores import (
    Untold,
    apply_llama_adapter,
    get_server_root,
    list_llama_adapters,
    score_allowed,
    score_echoed,
    score_forced,
    tokenize,
)
from tests.services.asking import serving
from tests.services.behaviours import Behaviour, body, ok, status
from tests.services.scripts import always
from tests.services.serving import JSON, served

PROBES = [Probe("", "abc", (5, 6, 7), 1), Probe("ab", "cd", (5, 6, 8, 9), 2)]
ODDS = {6: -0.5, 7: -1.0, 8: -2.0, 9: -4.0}


def echoes_odds(n: int, asked: Mapping[str, Any]) -> Behaviour:
    told = [None, *(ODDS[token] for token in asked["prompt"][1:]), -9.0]  # the last one is what it wrote
    return body({"choices": [{"text": "", "logprobs": {"token_logprobs": told}}]})


def forces(n: int, asked: Mapping[str, Any]) -> Behaviour:
    ((token, _),) = asked["logit_bias"]
    return body({"content": "", "completion_probabilities": [{"id": token, "logprob": ODDS[token]}]})


def test_repeated_prompts_tell_the_measured_tokens_and_not_what_was_written() -> None:
    with serving(echoes_odds) as (there, server):
        assert score_echoed(server, PROBES, "m") == [(-0.5, -1.0), (-2.0, -4.0)]
        assert [asked.body["prompt"] for asked in there.asked] == [[5, 6, 7], [5, 6, 8, 9]]


def allows(n: int, asked: Mapping[str, Any]) -> Behaviour:
    (token,) = asked["allowed_token_ids"]
    told = {"tokens": [f"token_id:{token}"], "token_logprobs": [ODDS[token]]}
    return body({"choices": [{"text": "", "logprobs": told}]})


def test_tokens_are_allowed_one_by_one() -> None:
    with serving(allows) as (there, server):
        assert score_allowed(server, PROBES, "m") == [(-0.5, -1.0), (-2.0, -4.0)]
    asked = sorted((each.body["prompt"], each.body["allowed_token_ids"]) for each in there.asked)
    assert asked == [([5], [6]), ([5, 6], [7]), ([5, 6], [8]), ([5, 6, 8], [9])]
    with serving(echoes_odds) as (_, server), pytest.raises(Untold, match="only one that is allowed"):
        score_allowed(server, PROBES, "m")


@pytest.mark.parametrize(
    "behaviour",
    [
        ok(),  # no log-probabilities
        status(400, "echo is not supported"),
        body({"choices": [{"logprobs": {"token_logprobs": [-1.0]}}]}),  # only of what it wrote
        body({"choices": [{"logprobs": {"token_logprobs": [None, None, -1.0, -1.0]}}]}),
    ],
    ids=["none", "refused", "no prompt", "no number"],
)
def test_a_server_that_tells_none_is_asked_once(behaviour: Behaviour) -> None:
    with serving(always(behaviour)) as (there, server):
        with pytest.raises(Untold):
            score_echoed(server, PROBES, "m")
        assert len(there.asked) == 1


def test_an_adapter_that_a_server_does_not_have_is_named() -> None:
    with serving(always(status(404, "no such model"))) as (_, server), pytest.raises(BadConfig, match="has no mine"):
        score_echoed(server, PROBES, "mine")


def test_tokens_are_forced_one_by_one_in_one_slot_the_first_of_a_text_without_the_cache() -> None:
    lora = apply_llama_adapter([0, 1], 1)
    with serving(forces) as (there, server):
        assert score_forced(server, PROBES, lora) == [(-0.5, -1.0), (-2.0, -4.0)]
    bodies = [asked.body for asked in there.asked]
    assert [each["prompt"] for each in bodies] == [[5], [5, 6], [5, 6], [5, 6, 8]]
    assert [each["cache_prompt"] for each in bodies] == [False, True, False, True]
    assert {each["id_slot"] for each in bodies} == {0}
    assert bodies[0]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]


def test_another_token_than_the_forced_one_is_no_measurement() -> None:
    wrong = body({"completion_probabilities": [{"id": 1, "logprob": -1.0}]})
    with serving(always(wrong)) as (_, server), pytest.raises(Untold, match="another token"):
        score_forced(server, PROBES, {})


def test_the_adapters_of_a_llama_cpp_server_are_known_by_their_files() -> None:
    rows = b'[{"id": 0, "path": "/models/one.gguf", "scale": 1.0}, {"id": 1, "path": "two.gguf", "scale": 0.0}]'
    with served(lambda handler: (200, JSON, rows)) as there:
        server = Server(there.url, key=None, retry_for_s=0.0)
        assert list_llama_adapters(server) == {0: "one", 1: "two"}
        assert there.asked[0][0] == "/lora-adapters"
    with served(lambda handler: (200, JSON, b'{"no": "list"}')) as there, pytest.raises(BadConfig, match="--lora FILE"):
        list_llama_adapters(Server(there.url, key=None, retry_for_s=0.0))


def test_texts_that_a_server_does_not_divide_have_no_tokens() -> None:
    with serving(lambda n, asked: body({"tokens": [1, 2]} if asked["content"] == "a" else {})) as (_, server):
        assert tokenize(server, ["a", "b"]) == [[1, 2], ()]


def test_the_root_of_a_server_is_its_address_without_the_version() -> None:
    assert get_server_root("http://localhost:8080/v1/") == get_server_root("http://localhost:8080")
