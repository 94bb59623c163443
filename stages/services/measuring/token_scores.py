"""How likely a server finds given tokens, and the adapters that a llama.cpp server holds.

Servers that tell log-probabilities repeat the prompt with them (`echo`). vLLM's and llama.cpp's are asked token by
token: each is the only one allowed, or forced by a bias, and is told to be as likely as it was without (vLLM's
raw_logprobs; tools/server/README.md of llama.cpp, POST /completion).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeVar

from stages.errors import BadConfig, Unavailable
from stages.interfaces import Probe
from stages.records.strict_json import parse_json
from stages.services.base import Call, Reply, Transport

_FORCING_BIAS = 1e6  # beyond the distance of any two logits
_Key = TypeVar("_Key")
Scores = list[tuple[float, ...]]  # of each probe, the log-probabilities of its measured tokens


class Untold(Exception):
    """A server does not tell log-probabilities. No fault: what needs them cannot be tried."""


def ask_all(transport: Transport, calls: Mapping[_Key, Call]) -> dict[_Key, Reply]:
    """Return the reply to each call. Raises what the transport raises where no call could be answered."""
    keys, found = {call.id: key for key, call in calls.items()}, dict[_Key, Reply]()

    def take() -> None:
        found.update((keys[reply.id], reply) for reply in transport.take(wait=True))

    for call in calls.values():
        while not transport.room:
            take()
        transport.submit(call)
    while len(found) < len(calls):
        take()
    return found


def get_server_root(url: str) -> str:
    """Return the address without /v1: what a llama.cpp server has besides OpenAI's API lies there."""
    return url.rstrip("/").removesuffix("/v1")


# ---- servers that know models and adapters by their names


def score_echoed(transport: Transport, probes: Sequence[Probe], model: str) -> Scores:
    """Return the log-probabilities of the probes' tokens from a server that repeats prompts with them.

    Raises Untold where it tells none, BadConfig where it has no such model.
    """

    def make_call(number: int) -> Call:
        ask = {"prompt": list(probes[number].ids), "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        return Call(f"{model} {number}", "completions", {"model": model, **ask}, final=(400, 404, 422, 501))

    def read(reply: Reply, probe: Probe) -> tuple[float, ...]:
        told = _find_list(_require_body(reply, model), "token_logprobs")
        if len(told) < len(probe.ids):
            raise Untold("its answer to echo and logprobs has no log-probabilities of the prompt")
        return _check_finite(told[probe.first : len(probe.ids)])

    first = ask_all(transport, {0: make_call(0)})  # alone: a server that refuses it is asked no more
    read(first[0], probes[0])
    replies = first | ask_all(transport, {number: make_call(number) for number in range(1, len(probes))})
    return [read(replies[number], probe) for number, probe in enumerate(probes)]


def score_allowed(transport: Transport, probes: Sequence[Probe], model: str) -> Scores:
    """Return the log-probabilities of the probes' tokens from a vLLM server, one call a token.

    Each is the only one allowed behind those before it, and told as likely as it was before the others were ruled out.
    vLLM 0.32 on a CPU ends where it is to tell them of a prompt with an adapter. Raises as `score_echoed`.
    """

    def make_call(number: int, place: int) -> Call:
        ids = probes[number].ids
        ask = {"prompt": list(ids[:place]), "max_tokens": 1, "temperature": 0, "logprobs": 1}
        ask |= {"allowed_token_ids": [ids[place]], "return_tokens_as_token_ids": True}
        return Call(f"{number}/{place}", "completions", {"model": model, **ask}, final=(400, 404, 422, 501))

    places = [(number, place) for number, probe in enumerate(probes) for place in range(probe.first, len(probe.ids))]
    first = ask_all(transport, {places[0]: make_call(*places[0])})
    _require_body(first[places[0]], model)
    replies = first | ask_all(transport, {place: make_call(*place) for place in places[1:]})

    def read(number: int, place: int) -> float:
        body = _require_body(replies[number, place], model)
        if list(_find_list(body, "tokens")) != [f"token_id:{probes[number].ids[place]}"]:
            raise Untold("it writes another token than the only one that is allowed")
        return _check_finite(_find_list(body, "token_logprobs")[:1])[0]

    return [
        tuple(read(number, place) for place in range(probe.first, len(probe.ids)))
        for number, probe in enumerate(probes)
    ]


def _require_body(reply: Reply, model: str) -> Mapping[str, Any]:
    failure = reply.failure
    if reply.body is not None:
        return reply.body
    if failure and failure.status == 404:
        raise BadConfig(f"the server has no {model} ({failure.detail}); give --model or --served, as it calls them")
    if failure and failure.status is None:
        raise Unavailable(f"{model}: {failure}; see the server's log")
    raise Untold(f"it refuses token ids with log-probabilities ({failure})")


def _find_list(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Return choices[0].logprobs[name]; nothing where the answer has another shape."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    told = choice.get("logprobs") if isinstance(choice, dict) else None
    found = told.get(name) if isinstance(told, dict) else None
    return found if isinstance(found, list) else ()


def _check_finite(values: Iterable[object]) -> tuple[float, ...]:
    found = tuple(values)
    if not found or not all(isinstance(value, int | float) and math.isfinite(value) for value in found):
        raise Untold("the log-probabilities that it tells are not all numbers")
    return tuple(float(value) for value in found if isinstance(value, int | float))


# ---- llama.cpp's


def list_llama_adapters(transport: Transport) -> dict[int, str]:
    """Return the adapters of a llama.cpp server by their numbers: the stems of their files' names.

    Raises BadConfig for a server without such a list.
    """
    call = Call("adapters", "lora-adapters", {}, get=True, plain=True, final=(404, 501))
    reply = ask_all(transport, {0: call})[0]
    try:
        rows = parse_json(str((reply.body or {})["text"]))
        return {int(row["id"]): PurePath(str(row["path"])).stem for row in rows}
    except (ValueError, KeyError, TypeError):
        told = reply.failure or "answers no list"
        raise BadConfig(f"the llama.cpp server has no list of adapters ({told}); start it with --lora FILE") from None


def apply_llama_adapter(adapters: Iterable[int], number: int | None) -> Mapping[str, Any]:
    """Return the part of a call's body by which a llama.cpp server applies this adapter, or none, and no other.

    Its cache of prompts does not tell adapters apart (get_available_slot in tools/server): it is not used.
    """
    return {
        "lora": [{"id": each, "scale": 1.0 if each == number else 0.0} for each in adapters],
        "cache_prompt": False,
    }


def score_forced(transport: Transport, probes: Sequence[Probe], lora: Mapping[str, Any]) -> Scores:
    """Return the log-probabilities of the probes' tokens from a llama.cpp server, one call a token.

    A text's tokens are asked one after the other in one slot, the first anew: what the slot has behind it is then ours.
    Raises Untold where it writes another token than the one it is made to.
    """
    found = Scores()
    for number, probe in enumerate(probes):
        row = list[float]()
        for place in range(probe.first, len(probe.ids)):
            body = {**_make_forcing(probe.ids, place), **lora, "cache_prompt": place > probe.first}
            call = Call(f"{number}/{place}", "completion", body, final=(400, 404, 501))
            row.append(_read_forced(ask_all(transport, {0: call})[0], probe.ids[place]))
        found.append(tuple(row))
    return found


def _make_forcing(ids: Sequence[int], place: int) -> dict[str, Any]:
    return {
        "prompt": list(ids[:place]),
        "n_predict": 1,
        "n_probs": 1,
        "temperature": 0,
        "post_sampling_probs": False,
        "logit_bias": [[ids[place], _FORCING_BIAS]],
        "id_slot": 0,
    }


def _read_forced(reply: Reply, token: int) -> float:
    if reply.body is None:
        raise Untold(f"it forces no tokens ({reply.failure})")
    rows = reply.body.get("completion_probabilities")
    row = rows[0] if isinstance(rows, list) and rows else None
    if not isinstance(row, dict) or row.get("id") != token or "logprob" not in row:
        raise Untold("it writes another token than the one that a bias forces, or tells no log-probability of it")
    return _check_finite([row["logprob"]])[0]


def tokenize(transport: Transport, texts: Sequence[str]) -> list[Sequence[object]]:
    """Return the token ids that a llama.cpp server makes of each text; none of one that it refuses."""
    body = {"add_special": True, "parse_special": False}
    calls = {
        number: Call(f"text {number}", "tokenize", {"content": text, **body}, final=(400, 404, 501))
        for number, text in enumerate(texts)
    }
    replies = ask_all(transport, calls) if calls else {}
    found = ((replies[number].body or {}).get("tokens") for number in range(len(texts)))
    return [ids if isinstance(ids, list) else () for ids in found]
