"""What one answer of a server means: a body, the failure of one call, trouble that may pass, or the end of the run."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.errors import SealError
from stages.records.strict_json import parse_json
from stages.services.base import Call, Failure, Reason
from stages.services.fatal_errors import refused
from stages.services.pauses import get_retry_after_s
from stages.services.redaction import quote_line, without_secret, without_secrets

_PASSING = (408, 409, 425, 429)  # and 5xx: what the same request may get past later
_CROWDED = (429, 503, 529)  # too many requests at once
LATER = "try again later, or see the server's log"
_FEWER = "try again later, with fewer calls at a time"
_NOT_AN_API = "correct --base-url if this is not the address of an OpenAI-compatible API, or see the server's log"
_TITLE = re.compile(r"<title[^>]*>([^<]*)</title>", re.IGNORECASE)


@dataclass(frozen=True)
class HttpResponse:
    """A whole answer. The names of the headers are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class TransientError:
    """Why there is no answer yet. The same request may succeed later."""

    reason: Reason
    found: str  # what was seen, in words that follow the URL
    advice: str
    status: int | None = None
    pause_s: float | None = None  # that the server asked for
    unreachable: bool = False  # nobody took the connection

    @property
    def crowded(self) -> bool:
        return self.status in _CROWDED

    @property
    def failure(self) -> Failure:
        return Failure(self.reason, self.found, self.status)


Verdict = Mapping[str, Any] | Failure | TransientError | SealError


def classify_response(base: str, key: str | None, call: Call, heard: HttpResponse) -> Verdict:
    """What to do about an answer to `call`."""
    if not 200 <= heard.status < 300:
        return _judged_status(base, key, call, heard)
    if call.plain:
        return {"text": without_secret(heard.body.decode("utf-8", "replace"), key)}
    try:
        text = heard.body.decode("utf-8-sig")
        body = without_secrets(parse_json(text), text, key)
    except ValueError:
        kind = quote_line(heard.headers.get("content-type", "no type"), key)[:80]
        found = "answers broken JSON" if "json" in kind else f"answers something that is not JSON ({kind})"
        return TransientError("unparsable", found, _NOT_AN_API, heard.status)
    if not isinstance(body, dict):
        return TransientError("unparsable", "answers JSON that is no object", _NOT_AN_API, heard.status)
    if "choices" not in body and body.get("error"):
        return _judged_status(base, key, call, HttpResponse(_status_inside(body["error"]), heard.headers, heard.body))
    return body


def _status_inside(error: object) -> int:
    """The status that a gateway tells inside an answer that began as a success (OpenRouter does)."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if type(code) is int and 400 <= code < 600 else 500


def _judged_status(base: str, key: str | None, call: Call, heard: HttpResponse) -> Verdict:
    error = _parsed_error(heard.body)
    failure = make_failure(heard.status, error, key)
    if failure.reason == "refused" or heard.status in call.final:
        return failure
    out_of_credit = heard.status == 429 and "insufficient_quota" in (
        error_field(error, "code"),
        error_field(error, "type"),
    )
    status = 402 if out_of_credit else heard.status
    ended = refused(base, key, call, status, failure.detail, heard.headers.get("location", ""))
    if ended is not None:
        return ended
    if heard.status in _PASSING or heard.status >= 500:
        pause_s = get_retry_after_s(heard.headers, time.time())
        advice = _FEWER if heard.status == 429 else LATER
        return TransientError(failure.reason, failure.detail, advice, heard.status, pause_s)
    return failure


def make_failure(status: int, error: object, key: str | None) -> Failure:
    """An answer that is no success, in its own words, with the parameter at fault if it names one."""
    words = quote_line(error_message(error), key)
    found = f"status {status}: {words}" if words else f"status {status}"
    parameter = quote_line(error_field(error, "param"), key)
    found += "" if parameter in found else f" (parameter {parameter})"
    return Failure("refused" if _moderated(status, error) else "api_error", found, status)


def _parsed_error(body: bytes) -> object:
    """The error as JSON, or as text; nothing where it is broken JSON."""
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
    """A field of the error that is text; "" where there is none."""
    inner = error.get("error", error) if isinstance(error, dict) else None
    value = inner.get(name) if isinstance(inner, dict) else None
    return value if isinstance(value, str) else ""


def _moderated(status: int, error: object) -> bool:
    """Whether a filter refused this one prompt: Azure's 400, OpenRouter's 403 with the reasons for it."""
    inner = error.get("error") if isinstance(error, dict) else None
    metadata = inner.get("metadata") if isinstance(inner, dict) else None
    flagged = isinstance(metadata, dict) and bool(metadata.get("reasons") or metadata.get("flagged_input"))
    return (status == 400 and error_field(error, "code") == "content_filter") or (status == 403 and flagged)
