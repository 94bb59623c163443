"""A service that speaks Tinker's protocol: models in training there, requests in sequence, answers asked for again.

The words are those of the tinker SDK 0.24, the last one whose bodies are all JSON, which SkyRL's server takes as well.
A request has a number within its model, by which not every service knows it again: what changes the model is not sent
again where the service may have done it already.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, Denied
from stages.services.base import Call, Failure
from stages.services.connection import HttpClient
from stages.services.endpoint import KEY_NAME, check_key, check_url
from stages.services.retry import ConcurrencyLimiter, Exhausted, RetryingClient

TINKER_KEY = "TINKER_API_KEY"
_API = "/api/v1"
_SDK = "0.24.1"  # whose words these are
_GONE = (404, 405, 410)
_FINAL = (*_GONE, 409)  # say something of this one request; the others are tried again, or end the run
_HEARTBEAT_S = 10.0  # as the SDK; SkyRL's server unloads the models of a session that is silent for long
_FIRST_POLL_S, _LONGEST_POLL_S = 0.02, 5.0  # between two questions for an answer, doubled each time
_NOTE_AFTER_S = 60.0
_KEPT_S = 86_400  # for which the service keeps weights that we fetch at once
_LEAVE_S = 1.0  # for the service to hear that a model is no longer needed
_LOST = re.compile(r"not (loaded|found)|unknown (model|request)|no such", re.IGNORECASE)
_PATH = re.compile(r"tinker://([\w.:-]+)/((?:sampler_weights/)?[\w.-]+)")


class Lost(Exception):
    """The service has lost the model, or failed at it: its training has to begin anew."""


class Refused(Exception):
    """The service will not do what is asked, however often."""


class GivenUp(Exception):
    """The service has not done what is asked for as long as it was tried, while it did other things."""


class TinkerService:
    """One session of a service. Everything here runs in one event loop, so nothing needs a lock but the session."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        concurrency: int,
        timeout_s: float,
        retry_for_s: float,
        note: Callable[[str], object],
    ) -> None:
        """Raise BadConfig for an address or a key that cannot be used."""
        self.base = check_url(base_url).removesuffix(_API)
        try:
            check_key(key)
        except BadConfig as error:
            raise BadConfig(_name_key(error)) from None
        self._http = HttpClient(f"{self.base}{_API}", key or None, timeout_s, key_header="X-API-Key")
        self._client = RetryingClient(self._http, ConcurrencyLimiter(concurrency), retry_for_s, note=note)
        self._note = note
        self._session: str | None = None
        self._alive: list[str] = []  # sessions that may have models in training
        self._opening = asyncio.Lock()
        self._models = 0  # of the session
        self.is_skyrl = False  # known from the first model on, or the first step

    async def check_model(self, name: str) -> None:
        """Raise BadConfig where nobody speaks the protocol, and where the service has no model of this name."""
        found = await self.ask("get_server_capabilities", {}, get=True)
        if isinstance(found, Failure):
            told = f"has no {_API}/get_server_capabilities ({found.detail})"
            raise BadConfig(f"{self.base}: {told}; give the address of a service that speaks Tinker's protocol")
        listed = found.get("supported_models")
        names = (
            [each.get("model_name") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        )
        if name not in names:
            there = ", ".join(sorted(str(each) for each in names)[:20]) or "none"
            raise BadConfig(f"{self.base}: has no model {name}; it has {there}: name one of them with --base-model")

    async def create_model(self, base_model: str, lora: Mapping[str, Any]) -> "RemoteModel":
        """Begin the training of a LoRA. Raise BadConfig where the service refuses it: it would refuse every one."""
        session = await self._open_session()
        self._models += 1
        body = {"session_id": session, "model_seq_id": self._models, "base_model": base_model}
        try:
            made = await self.submit("create_model", {**body, "lora_config": lora, "type": "create_model"})
            model = (await self.get_result(made)).get("model_id")
        except Lost:
            self._session = None if self._session == session else self._session  # it may be what is lost
            raise
        except Refused as refused:
            way = "change what it names, or give fewer --slots"  # killed runs hold theirs until their sessions end
            raise BadConfig(f"{self.base}: refuses to train {base_model} ({refused}); {way}") from None
        if not isinstance(model, str) or not model:
            raise Lost("makes a model without an id")
        return RemoteModel(self, model)

    async def _open_session(self) -> str:
        async with self._opening:
            if self._session is None:
                body = {"tags": [], "user_metadata": {"client": "seal"}, "sdk_version": _SDK, "type": "create_session"}
                found = await self.ask("create_session", body)
                told = None if isinstance(found, Failure) else found.get("session_id")
                if not isinstance(told, str):
                    raise GivenUp(f"opens no session ({found.detail if isinstance(found, Failure) else found})")
                self._session, self._models = told, 0
                self._alive.append(told)
            return self._session

    async def keep_alive(self) -> None:
        """Send heartbeats, for as long as it is not cancelled. What comes of them the trainings will see."""
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            for session in list(self._alive):
                body = {"session_id": session, "type": "session_heartbeat"}
                found = await self._http.send(Call("heartbeat", "session_heartbeat", body, final=_FINAL))
                if isinstance(found, Failure) and found.status in _GONE:
                    self._alive.remove(session)

    async def submit(self, path: str, body: Mapping[str, Any], *, once: bool = False) -> str:
        """Send a request and return the name under which its answer will lie there.

        `once`: raise Lost where the service may have done it, and does not say so.
        """
        found = await self.ask(path, body, once=once)
        if isinstance(found, Failure):
            error = _explain(found)
            raise Lost(found.detail) if once and isinstance(error, GivenUp) and found.status != 429 else error
        if not isinstance(found.get("request_id"), str | int):
            raise Lost(f"answers {path} without a request_id")
        self.is_skyrl |= "future_id" in found  # for which the SDK has no word
        return str(found["request_id"])

    async def get_result(self, request: str) -> Mapping[str, Any]:
        """Wait for the answer to a request, however long the service says that it works at it."""
        pause_s, began = _FIRST_POLL_S, time.monotonic()
        while True:
            found = await self.ask("retrieve_future", {"request_id": request}, plain=True, final=(*_FINAL, 408))
            if isinstance(found, Failure) and found.status != 408:  # which says: not yet
                raise _explain(found)
            answer = {"type": "try_again"} if isinstance(found, Failure) else _parse(found["text"])
            if answer.get("type") != "try_again":
                return _check_answer(answer)
            if time.monotonic() - began > _NOTE_AFTER_S:
                self._note(f"{self.base}: still at work ({answer.get('queue_state', 'no answer yet')}), waiting")
                began = float("inf")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_POLL_S)

    async def ask(
        self, path: str, body: Mapping[str, Any], *, final: tuple[int, ...] = _FINAL, **options: Any
    ) -> Mapping[str, Any] | Failure:
        """Return the answer of the server, or why there is none. Raises what ends the run."""
        try:
            found = await self._client.ask(Call(path, path, body, final=final, **options))
        except Denied as error:
            raise Denied(_name_key(error)) from None
        reply = found.reply if isinstance(found, Exhausted) else found
        return reply.failure or reply.body or {}

    async def fetch(self, path: str, model: str, target: Path, most_bytes: int) -> None:
        """Write the archive of saved weights to a file. Raise BadConfig for one of more bytes than an adapter has."""
        found = _PATH.fullmatch(path)
        if not found or found[1] != model:
            raise Lost(f"says that the weights of {model} lie in {path!r}"[:200])
        place = f"training_runs/{found[1]}/checkpoints/{found[2]}/archive"
        reply = await self.ask(place, {}, get=True, save_to=target, most_bytes=most_bytes)
        if isinstance(reply, Failure) and reply.reason == "unparsable" and reply.status:
            raise Lost(reply.detail)
        if isinstance(reply, Failure) and reply.reason == "unparsable":
            told = f"its archive of an adapter {reply.detail}, more than one has"
            raise BadConfig(f"{self.base}: {told}; does it save whole models? take a service that saves adapters")
        if isinstance(reply, Failure):
            raise _explain(reply)

    async def leave(self, model: str) -> None:
        """Tell the service that a model is no longer needed. It need not hear it."""
        body = {"model_id": model, "type": "unload_model"}
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await self._http.send(Call("leave", "unload_model", body, final=_FINAL))

    async def close(self) -> None:
        await self._http.close()


class RemoteModel:
    """A LoRA in training at the service. Each request has the next number, by which the service keeps their order."""

    def __init__(self, service: TinkerService, name: str) -> None:
        self.service, self.name = service, name
        self._number = 0
        self._requests = set[str]()

    async def _submit(self, path: str, body: Mapping[str, Any], *, once: bool = False) -> str:
        self._number += 1
        request = await self.service.submit(path, {"model_id": self.name, "seq_id": self._number, **body}, once=once)
        if request in self._requests:
            raise Lost(f"takes {path} for a request that it has had before")
        self._requests.add(request)
        return request

    async def step(self, data: Sequence[Mapping[str, Any]], adam: Mapping[str, float]) -> list[list[float]]:
        """Learn from a batch: gradients, then a step. Returns each target's log probability, sequence by sequence.

        `data`: as `make_datum` writes it. The loss is the sum of all targets' cross-entropies, each with its weight.
        """
        given = {"data": list(data), "loss_fn": "cross_entropy"}
        learned = await self._submit("forward_backward", {"forward_backward_input": given}, once=True)
        stepped = await self._submit("optim_step", {"adam_params": dict(adam), "type": "optim_step"}, once=True)
        outputs = (await self.service.get_result(learned)).get("loss_fn_outputs")
        answer = await self.service.get_result(stepped)
        if "loss_fn_outputs" in answer:
            raise Lost("answers optim_step with the answer to another request")
        self.service.is_skyrl |= any(str(name).startswith("skyrl.ai/") for name in answer.get("metrics") or ())
        found = [_read_numbers(each) for each in outputs] if isinstance(outputs, list) else []
        if [len(each) for each in found] != [len(each["loss_fn_inputs"]["weights"]["data"]) for each in data]:
            raise Lost("answers forward_backward with other numbers of log probabilities than there are targets")
        return found

    async def save(self, name: str, target: Path, most_bytes: int) -> None:
        """Save the weights there, and fetch the archive into this file. Sent twice, SkyRL's finds the name in use."""
        try:
            saved = await self._save(name)
        except Lost:
            saved = await self._save(name)
        await self.service.fetch(str(saved.get("path")), self.name, target, most_bytes)

    async def _save(self, name: str) -> Mapping[str, Any]:
        path = f"{name}-{self._number + 1}"
        body = {"path": path, "ttl_seconds": _KEPT_S, "type": "save_weights_for_sampler"}
        return await self.service.get_result(await self._submit("save_weights_for_sampler", body))


def make_datum(tokens: Sequence[int], targets: Sequence[int], weights: Sequence[float]) -> Mapping[str, Any]:
    """Write a sequence: each token predicts its target, which counts with its weight in the loss."""
    told = {"target_tokens": (targets, "int64"), "weights": (weights, "float32")}
    inputs = {name: {"data": list(data), "dtype": kind, "shape": [len(data)]} for name, (data, kind) in told.items()}
    return {"model_input": {"chunks": [{"type": "encoded_text", "tokens": list(tokens)}]}, "loss_fn_inputs": inputs}


def _explain(failure: Failure) -> Exception:
    """Make the error of a request that failed for good."""
    if failure.status in (*_GONE, 409) or _LOST.search(failure.detail):
        return Lost(failure.detail)
    if failure.status is not None and 400 <= failure.status < 500 and failure.status not in (408, 425, 429):
        return Refused(failure.detail)
    return GivenUp(failure.detail)


def _parse(text: str) -> Mapping[str, Any]:
    """Read an answer. NaN, which is no JSON, is what a diverged model's loss is written as."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Lost("answers broken JSON") from None
    if not isinstance(found, dict):
        raise Lost("answers JSON that is no object")
    return found


def _check_answer(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if "error" not in answer:
        return answer
    told = " ".join(str(answer["error"]).split())[:200]
    raise Refused(told) if answer.get("category") == "user" and not _LOST.search(told) else Lost(told)


def _read_numbers(output: Any) -> list[float]:
    """The log probabilities of one sequence's targets; NaN for what is no number."""
    told = output.get("logprobs") if isinstance(output, dict) else None
    data = told.get("data") if isinstance(told, dict) else None
    return [float(each) if isinstance(each, int | float) else float("nan") for each in data or ()]


def _name_key(error: Exception) -> str:
    return str(error).replace(KEY_NAME, TINKER_KEY)
