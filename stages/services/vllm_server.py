"""A server's account of itself, the adapters that a vLLM server holds, and the room in its model's context."""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.errors import BadConfig, BadInput, Denied, SealError, Unavailable
from stages.services.base import Call, Failure, Reply
from stages.services.endpoint import (
    KEY_NAME,
    PROBE_TIMEOUT_S,
    START,
    UNREACHABLE,
    check_key,
    check_url,
    explain_unreachable,
    fetch_models,
)

_MAX_MODEL_LEN = re.compile(r"max_model_len=(\d+)")
_CONTEXT = re.compile(r"maximum context length (?:of|is) (\d+)")
_PROMPT = re.compile(r"(\d+) (?:input tokens|in the (?:messages|prompt))")
_ALLOW = "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora --max-lora-rank R --max-loras N"


@dataclass(frozen=True)
class ServerInfo:
    """A server's account of itself; None: it does not say. context: tokens of its longest model, if it is vLLM."""

    models: tuple[str, ...] | None = None
    vllm: bool = False
    llama_cpp: bool = False
    context: int | None = None


def probe_server(url: str, key: str | None, timeout_s: float = PROBE_TIMEOUT_S) -> ServerInfo:
    """Ask a server for its models, once. Raises Unavailable if none answers, Denied if it refuses the key."""
    base = check_url(url)
    check_key(key)
    try:
        answer = fetch_models(base, key, timeout_s)
    except UNREACHABLE as error:
        raise Unavailable(f"{base}: {'; '.join(explain_unreachable(error, timeout_s))}") from None
    if answer.status == 401:  # 403 may forbid the list alone
        told = f"refuses the key in {KEY_NAME}" if key else f"asks for a key, and {KEY_NAME} is not set"
        raise Denied(f"{base}: {told} (status {answer.status}); export {KEY_NAME}=…")
    return _parse_models(answer.body) if answer.status == 200 else ServerInfo()


def _parse_models(body: bytes) -> ServerInfo:
    """The models of a list; nothing if it is none."""
    try:
        rows = json.loads(body)["data"]
        contexts = [row.get("max_model_len") for row in rows if row.get("owned_by") == "vllm"]
        longest = max((length for length in contexts if type(length) is int and length > 0), default=None)
        llama_cpp = any(row.get("owned_by") == "llamacpp" for row in rows)
        return ServerInfo(tuple(str(row["id"]) for row in rows), bool(contexts), llama_cpp, longest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ServerInfo()


def get_room_for_completion(detail: str) -> int | None:
    """The most tokens of a completion, if a server refused because context and prompt leave no more."""
    if longest := _MAX_MODEL_LEN.search(detail):
        return int(longest[1])
    context, prompt = _CONTEXT.search(detail), _PROMPT.search(detail)
    room = int(context[1]) - int(prompt[1]) if context and prompt else 0
    return room if room > 0 else None


class LoraRegistry:
    """The adapters that we have loaded on the server, at most `maximum` at once. No name is used twice."""

    def __init__(self, ask: Callable[[Call], Reply], maximum: int) -> None:
        self.ask, self.maximum = ask, maximum
        self.run = secrets.token_hex(4)
        self.loaded = 0  # so far
        self.names: dict[Path, str] = {}

    def must_wait(self, path: Path | None) -> bool:
        """True if this adapter is not on the server and there is no place for it."""
        return path is not None and path not in self.names and len(self.names) >= self.maximum

    def load(self, path: Path) -> str:
        """The adapter's name on the server; it is loaded if it is not there. Raises if it cannot be."""
        if path not in self.names:
            self.loaded += 1
            name = f"seal-{self.run}-{self.loaded}"
            body = {"lora_name": name, "lora_path": str(path.resolve())}
            reply = self.ask(Call(f"load {name}", "load_lora_adapter", body, final=(404, 500), plain=True))
            if reply.failure:
                raise _explain_load_failure(path, reply.failure)
            self.names[path] = name
        return self.names[path]

    def forget(self, path: Path, name: str) -> None:
        """Drop a name that the server has lost."""
        if self.names.get(path) == name:
            del self.names[path]

    def unload(self, path: Path) -> None:
        """Take an adapter off the server. It does not matter if the server has lost it already."""
        name = self.names.pop(path, None)
        if name is not None:
            self.ask(make_unload_call(name))


def make_unload_call(name: str) -> Call:
    return Call(f"unload {name}", "unload_lora_adapter", {"lora_name": name}, final=(404, 500), plain=True)


def _explain_load_failure(path: Path, failure: Failure) -> SealError:
    """The error of an adapter that cannot be loaded on the server, with the next move."""
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
