"""What is particular to servers: what one says of itself, the adapters that vLLM holds, the length of a context."""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from stages.errors import BadConfig, BadInput, Denied, SealError, Unavailable
from stages.services.base import Call, Failure, Reply
from stages.services.endpoint import (
    KEY_NAME,
    START,
    TIMEOUT_S,
    Answer,
    ask,
    check_key,
    check_url,
    explain_unreachable,
    within,
)

_WHOLE = re.compile(r"max_model_len=(\d+)")
_CONTEXT = re.compile(r"maximum context length (?:of|is) (\d+)")
_PROMPT = re.compile(r"(\d+) (?:input tokens|in the (?:messages|prompt))")
_ALLOW = "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora --max-lora-rank R --max-loras N"


@dataclass(frozen=True)
class ServerInfo:
    """What a server says of itself; None: it does not say. context: tokens of its longest, where it is vLLM."""

    models: tuple[str, ...] | None = None
    vllm: bool = False
    context: int | None = None


def probe_server(url: str, key: str | None, timeout_s: float = TIMEOUT_S) -> ServerInfo:
    """Asks a server for its models, once. Raises Unavailable where none answers, Denied where it refuses the key."""
    base = check_url(url)
    check_key(key)
    try:
        answer = within(timeout_s, lambda: ask(f"{base}/models", key, timeout_s))
    except (OSError, HTTPException) as error:
        raise Unavailable("; ".join(explain_unreachable(base, error, timeout_s))) from None
    if answer.status == 401:  # 403 may forbid the list alone
        told = f"refuses the key in {KEY_NAME}" if key else f"asks for a key, and {KEY_NAME} is not set"
        raise Denied(f"{base}: {told} (status {answer.status}); export {KEY_NAME}=…")
    return _said(answer) if answer.status == 200 else ServerInfo()


def _said(answer: Answer) -> ServerInfo:
    """The models of a list; nothing where it is none."""
    try:
        rows = json.loads(answer.body)["data"]
        contexts = [row.get("max_model_len") for row in rows if row.get("owned_by") == "vllm"]
        longest = max((length for length in contexts if type(length) is int and length > 0), default=None)
        return ServerInfo(tuple(str(row["id"]) for row in rows), bool(contexts), longest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ServerInfo()


def get_room_for_completion(detail: str) -> int | None:
    """Tokens that a completion may be asked for, where a server refuses since context and prompt leave no more."""
    if whole := _WHOLE.search(detail):
        return int(whole[1])
    context, prompt = _CONTEXT.search(detail), _PROMPT.search(detail)
    room = int(context[1]) - int(prompt[1]) if context and prompt else 0
    return room if room > 0 else None


class LoraRegistry:
    """The adapters that we have put on the server, at most `most` at once. A name is never used again."""

    def __init__(self, ask: Callable[[Call], Reply], most: int) -> None:
        self.ask, self.most = ask, most
        self.run = secrets.token_hex(4)
        self.loaded = 0  # so far
        self.names: dict[Path, str] = {}

    def must_wait(self, path: Path | None) -> bool:
        """Whether this adapter is not on the server and there is no place for it."""
        return path is not None and path not in self.names and len(self.names) >= self.most

    def name_of(self, path: Path) -> str:
        """The adapter's name on the server, where it is put if it is not there. Raises for one that cannot be."""
        if path not in self.names:
            self.loaded += 1
            name = f"seal-{self.run}-{self.loaded}"
            body = {"lora_name": name, "lora_path": str(path.resolve())}
            reply = self.ask(Call(f"load {name}", "load_lora_adapter", body, final=(404, 500), plain=True))
            if reply.failure:
                raise _unloadable(path, reply.failure)
            self.names[path] = name
        return self.names[path]

    def forget(self, path: Path, name: str) -> None:
        """The server has lost it."""
        if self.names.get(path) == name:
            del self.names[path]

    def unload(self, path: Path) -> None:
        """Nobody asks for it any more. That the server has lost it already is all the same."""
        name = self.names.pop(path, None)
        if name is not None:
            self.ask(make_unload_call(name))


def make_unload_call(name: str) -> Call:
    return Call(f"unload {name}", "unload_lora_adapter", {"lora_name": name}, final=(404, 500), plain=True)


def _unloadable(path: Path, failure: Failure) -> SealError:
    """Why an adapter cannot be put on the server, and what to do."""
    detail = failure.detail
    if "max_lora_rank" in detail:
        return BadConfig(f"adapter {path}: {detail}; start the server with a larger --max-lora-rank")
    if "No adapter found" in detail:
        return BadInput(f"adapter {path}: the server does not find it ({detail}); it must see the same files")
    if failure.status in (404, 405):
        return BadConfig(f"the server takes no adapters at run time ({detail}); {_ALLOW}")
    if failure.status in (400, 500):
        return BadInput(f"adapter {path}: the server cannot load it ({detail}); --engine hf may")
    return Unavailable(f"adapter {path}: not loaded ({failure}); {START}")
