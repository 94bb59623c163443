"""A server's response is an answer, the failure of one call, an error that may pass, or the end of the run."""

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from stages.errors import BadConfig, Denied, SealError
from stages.records.strict_json import parse_json
from stages.services.base import Call, Failure, Reason
from stages.services.endpoint import KEY_NAME, get_corrected_base
from stages.services.redaction import quote_line, redact_answer

_RETRYABLE = (408, 409, 425, 429)  # and 5xx: the same request may succeed later
_OVERLOADED = (429, 503, 529)  # too many requests at once
_WRONG_ADDRESS = (404, 405, 410)
LATER = "try again later, or see the server's log"
_FEWER = "try again later, with fewer calls at a time"
_NOT_AN_API = "correct --base-url if this is not the address of an OpenAI-compatible API, or see the server's log"
_TITLE = re.compile(r"<title[^>]*>([^<]*)</title>", re.IGNORECASE)
_LONGEST_EVENT = 2**22  # bytes
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # DeepSeek, SGLang, llama.cpp; vLLM, OpenRouter, Ollama


@dataclass(frozen=True)
class HttpResponse:
    """A complete response. The names of the headers are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class TransientError:
    """The reason for no answer yet. The same request may succeed later."""

    reason: Reason
    found: str  # what was seen, in words that follow the URL
    advice: str
    status: int | None = None
    retry_after_s: float | None = None  # the wait that the server asked for
    unreachable: bool = False  # nobody took the connection

    @property
    def overloaded(self) -> bool:
        return self.status in _OVERLOADED

    @property
    def may_be_done(self) -> bool:
        """True unless it is certain that the server has done nothing."""
        return not self.unreachable and self.status != 429

    @property
    def failure(self) -> Failure:
        return Failure(self.reason, self.found, self.status)


class StreamedAnswer:
    """An answer that comes as server-sent events. `hear` is told its text so far, without the key or a part of it."""

    def __init__(self, hear: Callable[[str], object], key: str | None) -> None:
        self._hear, self._key, self._rest, self._done = hear, key, b"", False
        self._said: dict[str, Any] = {}  # the message, or the text of a plain completion
        self._whole: dict[str, Any] = {"choices": [{"finish_reason": None}]}

    def take(self, piece: bytes) -> bool:
        """Take what has come. Returns False where it is no stream of answers."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        try:
            for name, _, data in (line.strip().partition(b":") for line in lines):
                if name == b"data" and data.strip() == b"[DONE]":
                    self._done = True
                elif name == b"data" and data.strip():
                    self._take_event(parse_json(data.decode()))
        except (ValueError, TypeError, AttributeError, LookupError):
            return False
        return len(self._rest) <= _LONGEST_EVENT

    def get_whole(self) -> bytes | None:
        """Return the JSON object that would have come at once; None where the end is missing."""
        if not self.take(b"\n"):  # the last line may have no end
            return None
        if "choices" in self._whole:
            said = {"text": self._said["text"]} if "text" in self._said else {"message": self._said}
            self._whole["choices"][0].update(said)
        return json.dumps(self._whole).encode() if self._done else None

    def _take_event(self, event: Any) -> None:
        if event.get("error") and not event.get("choices"):
            self._whole, self._done = {"error": event["error"]}, True
            return
        self._whole |= {"usage": event["usage"]} if event.get("usage") else {}
        for choice in (event.get("choices") or ())[:1]:
            for key, value in (choice.get("delta") or {"text": choice.get("text") or ""}).items():
                before = self._said.get(key)
                joins = isinstance(before, str) and isinstance(value, str)
                self._said[key] = before + value if joins else before if value is None else value
            ended = {key: choice[key] for key in ("finish_reason", "error") if choice.get(key)}
            self._whole["choices"][0] |= ended
            self._done = self._done or bool(ended)
            self._hear(self._get_shown(self._said.get("text") or self._said.get("content") or ""))

    def _get_shown(self, text: str) -> str:
        shown, key = str(redact_answer(text, self._key)), self._key or ""
        begun = next((size for size in range(min(len(key), len(shown)), 0, -1) if shown.endswith(key[:size])), 0)
        return shown[: len(shown) - begun]


Outcome = Mapping[str, Any] | Failure | TransientError | SealError


def classify_response(base: str, key: str | None, call: Call, response: HttpResponse) -> Outcome:
    """Classify a response to `call`."""
    if not 200 <= response.status < 300:
        return _classify_error(base, key, call, response)
    if call.plain:
        return {"text": redact_answer(response.body.decode("utf-8", "replace"), key)}
    try:
        body = redact_answer(parse_json(response.body.decode("utf-8-sig")), key)
    except ValueError:
        kind = quote_line(response.headers.get("content-type", "no type"), key)[:80]
        found = "answers broken JSON" if "json" in kind else f"answers something that is not JSON ({kind})"
        return TransientError("unparsable", found, _NOT_AN_API, response.status)
    if not isinstance(body, dict):
        return TransientError("unparsable", "answers JSON that is no object", _NOT_AN_API, response.status)
    if "choices" not in body and body.get("error"):
        status = _embedded_status(body["error"])
        return _classify_error(base, key, call, HttpResponse(status, response.headers, response.body))
    return body


def _embedded_status(error: object) -> int:
    """The status inside an error that was sent as a success, as OpenRouter does."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if type(code) is int and 400 <= code < 600 else 500


def _classify_error(base: str, key: str | None, call: Call, response: HttpResponse) -> Outcome:
    status, error = response.status, _parse_error(response.body)
    failure = make_failure(status, error, key)
    if failure.reason == "refused" or status in call.final:
        return failure
    if status == 429 and "insufficient_quota" in (error_field(error, "code"), error_field(error, "type")):
        return _denial(base, key, 402, failure.detail)
    if status in (401, 402, 403):
        return _denial(base, key, status, failure.detail)
    if 300 <= status < 400:
        target = quote_line(response.headers.get("location", ""), key) or "nowhere"
        return BadConfig(f"{base}: redirects to {target} (status {status}); give that address as --base-url")
    if status in _WRONG_ADDRESS:
        return _missing(base, call, failure.detail)
    if status in _RETRYABLE or status >= 500:
        advice, retry_after_s = _FEWER if status == 429 else LATER, get_retry_after_s(response.headers, time.time())
        return TransientError(failure.reason, failure.detail, advice, status, retry_after_s)
    return failure


# ---- errors that every call would get: they end the run, and name the value and the next move


def _denial(base: str, key: str | None, status: int, found: str) -> Denied:
    if not key:
        return Denied(f"{base}: asks for a key, and {KEY_NAME} is not set ({found}); export {KEY_NAME}=…")
    if status == 402:
        return Denied(f"{base}: no credit is left for the key in {KEY_NAME} ({found}); add some, or export another key")
    if status == 403:
        return Denied(f"{base}: does not allow this to the key in {KEY_NAME} ({found}); export {KEY_NAME}=… (another)")
    return Denied(f"{base}: refuses the key in {KEY_NAME} ({found}); export {KEY_NAME}=… (a valid one)")


def _missing(base: str, call: Call, found: str) -> BadConfig:
    """The model is missing if the server's words name it, otherwise the path."""
    model = str(call.body.get("model", ""))
    if model and "model" in found.lower():
        return BadConfig(f"{base}: has no model {model} ({found}); give one of its own as --model: curl {base}/models")
    if other := get_corrected_base(base):
        return BadConfig(f"{base}: has no {base}/{call.path} ({found}); give --base-url {other}")
    advice = f"correct --base-url or --model {model}, see what is there: curl {base}/models"
    return BadConfig(f"{base}: has no {base}/{call.path} ({found}); {advice}")


# ---- the words of an error


def make_failure(status: int, error: object, key: str | None) -> Failure:
    """The failure for an error response, in the server's words, with the parameter at fault if it names one."""
    words = quote_line(error_message(error), key)
    found = f"status {status}: {words}" if words else f"status {status}"
    parameter = quote_line(error_field(error, "param"), key)
    found += "" if parameter in found else f" (parameter {parameter})"
    return Failure("refused" if _is_moderated(status, error) else "api_error", found, status)


def _parse_error(body: bytes) -> object:
    """The error as JSON, or as text; "" if it is broken JSON."""
    try:
        return parse_json(body)
    except ValueError:
        return "" if body.lstrip().startswith((b"{", b"[")) else body.decode("utf-8", "replace")


def error_message(error: object) -> str:
    """The words of an error, wherever OpenAI, vLLM, FastAPI, Ollama or a proxy's page put them."""
    if isinstance(error, str):
        title = _TITLE.search(error)
        return (title[1] if title else "an HTML page") if error.lstrip().startswith("<") else error
    if isinstance(error, list):
        return error_message(error[0]) if error else ""
    if not isinstance(error, dict):
        return ""
    return next((error_message(error[name]) for name in ("error", "message", "detail", "msg") if error.get(name)), "")


def error_field(error: object, name: str) -> str:
    """A text field of the error; "" if there is none."""
    inner = error.get("error", error) if isinstance(error, dict) else None
    value = inner.get(name) if isinstance(inner, dict) else None
    return value if isinstance(value, str) else ""


def _is_moderated(status: int, error: object) -> bool:
    """True if a filter refused this one prompt: Azure's 400, OpenRouter's 403 with the reasons for it."""
    inner = error.get("error") if isinstance(error, dict) else None
    metadata = inner.get("metadata") if isinstance(inner, dict) else None
    flagged = isinstance(metadata, dict) and bool(metadata.get("reasons") or metadata.get("flagged_input"))
    return (status == 400 and error_field(error, "code") == "content_filter") or (status == 403 and flagged)


def get_retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The wait that `retry-after-ms` or `retry-after` (seconds or an HTTP date) asks for; None if none or nonsense.

    `now` is in seconds since the epoch.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(ValueError):
            seconds = float(headers.get(name, "")) * unit_s
            if 0 <= seconds < math.inf:
                return seconds
    with suppress(ValueError, OverflowError, OSError):
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now)
    return None


# ---- the text of a completion


_SAME = ("stop", "length", "content_filter", "tool_calls", "function_call")
_ENDS = {"eos_token": "stop", "stop_sequence": "stop", "end_turn": "stop", **dict(zip(_SAME, _SAME, strict=True))}


@dataclass(frozen=True)
class ChoiceText:
    """None for what is missing or is no text. With a `fault` it was broken off, whatever stands in the text."""

    text: str | None
    finish: str | None
    refusal: str | None
    fault: str | None = None
    thought: str | None = None  # if the server keeps it apart from the text
    calls_tool: bool = False


def first_choice(body: Mapping[str, Any]) -> ChoiceText:
    """The first choice; all None if there is none. Content in parts is joined."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    choice = choice if isinstance(choice, dict) else {}
    told = choice.get("message")
    message = told if isinstance(told, dict) else choice
    content = message.get("content" if "message" in choice else "text")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    thoughts = [_text(message.get(name)) for name in _THOUGHTS]
    ended, error = _text(choice.get("finish_reason")), choice.get("error") or body.get("error")
    cause = error or (ended if ended and ended not in _ENDS else None)
    return ChoiceText(
        text=_join_parts(parts, "text") if parts else _text(content),
        finish=_ENDS.get(ended or ""),
        fault=f"ended by {error_field({'error': cause}, 'message') or cause}"[:200] if cause else None,
        refusal=_text(message.get("refusal")) or _join_parts(parts, "refusal"),
        thought=next(filter(None, thoughts), None) or _join_parts(parts, "thinking"),
        calls_tool=bool(message.get("tool_calls") or message.get("function_call")),
    )


def _join_parts(parts: Sequence[Mapping[str, Any]], kind: str) -> str | None:
    """The texts of the parts of this kind; None if there are none. Mistral's thoughts have parts themselves."""
    found = [part.get(kind) for part in parts if part.get("type") in (kind, f"output_{kind}")]
    texts = [_join_parts(each, "text") if isinstance(each, list) else _text(each) for each in found]
    return "".join(text for text in texts if text) if found else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
