"""The engine behind a server: completions and chat of any OpenAI-compatible one, and the adapters of a vLLM server."""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from stages.errors import SealError
from stages.interfaces import Completion, Finish, Hear, NullProgress, Progress, Request, group_by_adapter
from stages.records.thoughts import explain_no_answer, join_reasoning, remove_thoughts
from stages.services.base import Call, Failure, LimitName, Reply, Transport
from stages.services.dialect import Dialect
from stages.services.responses import ChoiceText, first_choice
from stages.services.vllm_server import LoraRegistry, ServerInfo, get_room_for_completion, make_unload_call
from stages.tokens.stop_strings import find_stop, hold_back

_FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length", "content_filter": "refused"}
_NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}  # or vLLM takes those of the checkpoint
_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
_CLEANUP_S = 1.0  # for taking adapters off the server where the work was broken off
_MOST_STOPS = 4  # OpenAI's API refuses a call with more
_TRIES = 6  # of one request, where the server says how it wants to be asked


@dataclass(frozen=True)
class PendingRequest:
    """A request in flight: how often it was sent, its model, and the token limit that the server named."""

    request: Request
    tries: int = 0
    model: str = ""
    limit: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)  # as it was last sent


class OpenAIEngine:
    """Generates through a transport. `max_loras`: adapters on the server at once, loaded and unloaded by us."""

    def __init__(
        self,
        model: str,
        transport: Transport,
        *,
        server: ServerInfo = ServerInfo(),
        max_loras: int = 8,
        limit_name: LimitName = "max_tokens",
        more: Mapping[str, Any] = {},
    ) -> None:
        """`more`: what the body of every call holds besides, such as the adapters of a llama.cpp server."""
        self.model, self.transport, self.server, self.more = model, transport, server, more
        self.dialect = Dialect(limit_name)
        self.asked: dict[str, PendingRequest] = {}
        self.failed = 0  # requests without an answer, for whatever reason
        self.stash: deque[Reply] = deque()  # came while we waited for another one
        self.loras = LoraRegistry(self._call, max_loras)
        self.hear: Hear | None = None

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        """Yield completions as they come: requests without an adapter first, then adapter by adapter."""
        self.transport.progress = progress
        groups = group_by_adapter(requests)
        left = Counter({path: len(group) for path, group in groups.items()})
        try:
            yield from self._sample_group(groups.pop(None), left)
            yield from self._sample_group((request for group in groups.values() for request in group), left)
        finally:
            self.asked.clear()  # of work that was broken off, whose replies nobody waits for
            self._unload_all()

    def _sample_group(self, requests: Iterable[Request], left: Counter[Path | None]) -> Iterator[Completion]:
        """All completions of these requests. With and without an adapter they never meet on the server.

        vLLM 0.32 on a CPU answers plain requests in a batch with others as if they had an adapter.
        """
        for request in requests:
            while not self.transport.room or self.loras.must_wait(request.adapter):
                yield from self._take(left, wait=True)
            self._submit(PendingRequest(request))
            yield from self._take(left, wait=False)
        while self.asked:
            yield from self._take(left, wait=True)

    # ---- there

    def _submit(self, asked: PendingRequest) -> None:
        request = asked.request
        model = self.loras.load(request.adapter) if request.adapter else self.model
        self.transport.progress.begin_work([request.id])
        limit = min(asked.limit or request.sampling.max_tokens, self.server.context or sys.maxsize)
        call = make_call(request, model, self.dialect.limit_name, limit)
        more = {**(_NEUTRAL if self.server.vllm else {}), **(_STREAMED if self.hear else {}), **self.more}
        body = self.dialect.write({**call.body, **more})
        self.asked[request.id] = replace(asked, model=model, tries=asked.tries + 1, body=body)
        hear = partial(_hear_up_to_stop, self.hear, request) if self.hear else None
        self.transport.submit(replace(call, body=body, hear=hear))

    def _call(self, call: Call) -> Reply:
        """The reply to one call, waited for; what else comes meanwhile is kept."""
        while not self.transport.room:
            self.stash.extend(self.transport.take(wait=True))
        self.transport.submit(call)
        while True:
            replies = self.transport.take(wait=True)
            mine = next((reply for reply in replies if reply.id == call.id), None)
            self.stash.extend(reply for reply in replies if reply.id != call.id)
            if mine:
                return mine

    def _unload_all(self) -> None:
        """Take our adapters off the server, as far as it answers soon."""
        until = time.monotonic() + _CLEANUP_S
        with suppress(SealError):
            for name in self.loras.names.values():
                self.transport.submit(make_unload_call(name))
            while self.loras.names and self.transport.open and time.monotonic() < until:
                self.transport.take(wait=False)
                time.sleep(0.01)
        self.loras.names.clear()

    # ---- and back

    def _take(self, left: Counter[Path | None], *, wait: bool) -> Iterator[Completion]:
        replies = list(self.stash) or self.transport.take(wait=wait)
        self.stash.clear()
        for reply in replies:
            asked = self.asked.pop(reply.id, None)
            if asked is None:  # of an adapter that was taken off the server when the work before was over
                continue
            again = self._get_retry(asked, reply.failure)
            if again:
                self._submit(again)
                continue
            left[asked.request.adapter] -= 1
            if asked.request.adapter and not left[asked.request.adapter]:
                self.loras.unload(asked.request.adapter)
            found = _parse_reply(reply, asked.request.sampling.stop)
            self.failed += found.finish == "failed"
            self.transport.progress.add_written(found.tokens or 0)
            yield found
            self.transport.progress.end_work([reply.id])

    def _get_retry(self, asked: PendingRequest, failure: Failure | None) -> PendingRequest | None:
        """The request as it is to be sent once more, where the server has said what to change."""
        if failure is None or asked.tries >= _TRIES or not self.transport.live:
            return None
        if failure.status == 404 and asked.request.adapter:
            self.loras.forget(asked.request.adapter, asked.model)  # the server was started anew
            return asked
        told = self.dialect.learn(failure, asked.body, f"the server of {self.model}")
        if told is not None:
            if told:
                self.transport.progress.note(told)
            return asked
        room = get_room_for_completion(failure.detail) if failure.status == 400 else None
        return (
            replace(asked, limit=room) if room and room < (asked.limit or asked.request.sampling.max_tokens) else None
        )


def make_call(request: Request, model: str, limit_name: LimitName, limit: int | None = None) -> Call:
    """Make the call of a request. A text goes to completions, messages go to chat."""
    sampling, prompt = request.sampling, request.prompt
    given = {"prompt": prompt} if isinstance(prompt, str) else {"messages": [dict(turn) for turn in prompt]}
    body: dict[str, Any] = {
        "model": model,
        **given,
        limit_name: limit or sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop[:_MOST_STOPS])  # the text is cut here at the others
    if request.schema:
        schema = {"name": "self_edit", "strict": True, "schema": dict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}  # as OpenAI and vLLM take it
    path = "completions" if isinstance(prompt, str) else "chat/completions"
    return Call(request.id, path, body, final=(404,) if request.adapter else ())


def _hear_up_to_stop(hear: Hear, request: Request, text: str) -> None:
    """Tell what may be shown of a text: a server may write a stop string before it ends there, or not know it."""
    stops = request.sampling.stop
    place = find_stop(text, stops)
    hear(request.id, hold_back(text, stops) if place is None else text[:place])


def _parse_reply(reply: Reply, stops: Sequence[str]) -> Completion:
    """The completion in a reply. One without a text is a failure of the service, not of the model.

    A thought that the server tells apart is put before the text, as other servers leave it there; without a text it has
    no end.
    """

    def fail(error: str) -> Completion:
        return Completion(reply.id, "", "failed", None, error=error)

    if reply.body is None:
        return fail(str(reply.failure or "api_error: no answer"))
    found = _cut_at_stop(first_choice(reply.body), stops)
    finish: Finish = _FINISHES.get(found.finish or "", "unknown")
    read, written = (_get_count(reply.body, name) for name in ("prompt_tokens", "completion_tokens"))
    if finish == "refused" or found.refusal:
        told = f"refused: {(found.refusal or 'the content filter of the server')[:200]}"
        return Completion(reply.id, found.text or "", "refused", written, error=told, prompt_tokens=read)
    if found.fault:
        return fail(f"api_error: {found.fault}")
    text = _join_text(found)
    if text is None or (not text and finish == "length"):
        return fail(_explain_no_text(found, thought=_has_hidden_reasoning(reply.body)))
    return Completion(reply.id, text, finish, written, prompt_tokens=read)


def _cut_at_stop(found: ChoiceText, stops: Sequence[str]) -> ChoiceText:
    """The choice up to its first stop string, which may stand in the thought, whatever the server made of it.

    One that a filter or a fault has cut short stays as it is.
    """
    if found.finish == "content_filter" or found.fault:
        return found
    if found.thought and (place := find_stop(found.thought, stops)) is not None:
        return replace(found, thought=found.thought[:place], text=None, finish="stop")
    if found.text and (place := find_stop(found.text, stops)) is not None:
        return replace(found, text=found.text[:place], finish="stop")
    return found


def _join_text(found: ChoiceText) -> str | None:
    """The text behind the thought, where that is told apart and not in the text, too (llama.cpp can do both)."""
    if not found.thought or (found.text and remove_thoughts(found.text) != found.text):
        return found.text
    if found.calls_tool and not found.text:
        return None
    cut_off = found.finish == "length" and not (found.text and found.text.strip())
    return join_reasoning(found.thought, None if cut_off else found.text)


def _explain_no_text(found: ChoiceText, *, thought: bool) -> str:
    """Why there is none."""
    if found.finish == "length":
        return explain_no_answer("length") if thought else "truncated: the reply has no text up to --max-tokens"
    return f"unparsable: the reply {'calls a tool and ' if found.calls_tool else ''}has no text"


def _has_hidden_reasoning(body: Mapping[str, Any]) -> bool:
    """Return True if the server counts tokens of a thought that it does not tell, as OpenAI's does."""
    usage = body.get("usage")
    details = usage.get("completion_tokens_details") if isinstance(usage, Mapping) else None
    return bool(isinstance(details, Mapping) and details.get("reasoning_tokens"))


def _get_count(body: Mapping[str, Any], name: str) -> int | None:
    """Return how many tokens the prompt, or the completion, has, if the server says."""
    usage = body.get("usage")
    count = usage.get(name) if isinstance(usage, Mapping) else None
    return count if type(count) is int and count >= 0 else None
