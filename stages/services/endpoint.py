"""Whether an OpenAI-compatible server answers, asked once for its models. The key goes to that server and nowhere else:

no redirect is followed, and neither the key nor the body of an error is ever part of what is said.
"""

import http.client
import json
import queue
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from stages.checks.finding import Finding, fine, unknown, wrong
from stages.errors import BadConfig

KEY_NAME = "OPENAI_API_KEY"
TIMEOUT_S = 5.0
_MOST_BYTES = 10_000_000  # of an answer; a list of models has a few thousand
SHOWN, SHOWN_LETTERS = 3, 80  # model names, and letters of one
START = "start the server (for example: vllm serve MODEL), or correct --base-url"
HIDDEN = "(key)"
_ENDPOINTS = ("/chat/completions", "/completions", "/models")  # what people copy along with the address
_VERSION = re.compile(r"v\d+\w*")  # v1, v2, v1beta


@dataclass(frozen=True)
class Answer:
    """body is empty where the status is no success."""

    status: int
    body: bytes
    kind: str  # its content type
    location: str
    seconds: float


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would take the key along to any other host."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def check_server(url: str, key: str | None, timeout_s: float = TIMEOUT_S) -> Iterator[Finding]:
    """`server` tells whether one is there, `server models` what it answers. No text that is told holds the key."""
    try:
        base = check_url(url)
        check_key(key)
    except BadConfig as error:
        found, _, advice = str(error).partition("; ")
        yield wrong("server models", found, advice)
        return
    try:
        answer = within(timeout_s, lambda: ask(f"{base}/models", key, timeout_s))
    except Exception as error:  # noqa: BLE001
        yield wrong("server", *explain_unreachable(base, error, timeout_s))
        return
    if answer.status >= 500:
        yield wrong("server", f"{base}: answers with status {answer.status}", "look at the server's log, try again")
        return
    yield fine("server", f"{base}: answers in {1000 * answer.seconds:.0f} ms")
    yield _judged(base, answer, key)


def check_url(url: str) -> str:
    """The URL without a slash at its end. Raises BadConfig, without repeating what may be a secret."""
    advice = "give it as in --base-url http://localhost:8000/v1"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadConfig(f"--base-url: not a URL; {advice}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable():
        raise BadConfig(f"--base-url: not an http or https URL; {advice}")
    if parts.username is not None or parts.query or parts.fragment or " " in url or port == 0:
        raise BadConfig(f"--base-url: more than host, port and path; {advice}, and a key in {KEY_NAME}")
    return SplitResult(parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "").geturl()


def get_corrected_base(base: str) -> str | None:
    """The address that was most likely meant: without an endpoint's own path, with /v1 where no version is named.

    None where the address has a version of its own (Azure, /v2, /v1beta): its server knows best.
    """
    for path in _ENDPOINTS:
        if base.endswith(path):
            return base.removesuffix(path)
    named = any(_VERSION.fullmatch(part) for part in urlsplit(base).path.split("/"))
    return None if named else f"{base}/v1"


def check_key(key: str | None) -> None:
    """Raises BadConfig for a key that cannot stand in a header: an error of http.client would repeat it."""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise BadConfig(f"{KEY_NAME} holds spaces or other letters that no key has; export {KEY_NAME}=… again")


def ask(url: str, key: str | None, timeout_s: float) -> Answer:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    if key:
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    started = time.monotonic()
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=timeout_s) as reply:
            body = reply.read(_MOST_BYTES)
            kind = reply.headers.get_content_type()
            return Answer(reply.status, body, kind, "", time.monotonic() - started)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, b"", "", error.headers.get("Location", ""), time.monotonic() - started)


def within(seconds: float, work: Callable[[], Answer]) -> Answer:
    """The answer of `work`, or TimeoutError. A socket's own limit begins anew with each byte and spares look-ups."""
    done: queue.Queue[Answer | Exception] = queue.Queue()

    def run() -> None:
        try:
            done.put(work())
        except Exception as error:  # noqa: BLE001
            done.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


def explain_unreachable(base: str, error: Exception, timeout_s: float) -> tuple[str, str]:
    """(what was found, the next move). The error's own words are not repeated: they may hold a header."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ConnectionRefusedError):
        return f"{base}: refuses the connection", START
    if isinstance(cause, TimeoutError):
        return f"{base}: no answer within {timeout_s:g} s", "is it still loading its model? try again, see its log"
    if isinstance(cause, socket.gaierror):
        return f"{base}: no such host", "correct --base-url, or the network's name service"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{base}: its certificate is not trusted here", "set SSL_CERT_FILE to its authority's certificate"
    if isinstance(cause, ssl.SSLError):
        return f"{base}: does not speak TLS", "take http:// instead of https:// in --base-url"
    if isinstance(cause, (http.client.HTTPException, ConnectionError)):
        return f"{base}: does not speak HTTP ({type(cause).__name__})", "correct port and scheme of --base-url"
    return f"{base}: cannot be reached ({type(cause).__name__})", START


def _judged(base: str, answer: Answer, key: str | None) -> Finding:
    """What the status and the body say."""
    check, status = "server models", answer.status
    if status in (401, 403):
        if key:
            return wrong(
                check, f"refuses the key in {KEY_NAME} (status {status})", f"export {KEY_NAME}=… (a valid one)"
            )
        return wrong(check, f"asks for a key, and {KEY_NAME} is not set (status {status})", f"export {KEY_NAME}=…")
    if status == 404:
        other = get_corrected_base(base)
        advice = f"--base-url {other}" if other else f"see what is there: curl {base}/models"
        return wrong(check, f"has no {base}/models (status 404)", advice)
    if 300 <= status < 400:
        target = _hidden(answer.location, key)[:200]
        return wrong(check, f"redirects to {target} (status {status})", "give that address as --base-url")
    if status == 429:
        return unknown(check, "asks for fewer requests (status 429)", "wait, then try again")
    if status >= 400:
        return wrong(check, f"answers with status {status}", f"see what is there: curl {base}/models")
    return _listed(answer, key)


def _listed(answer: Answer, key: str | None) -> Finding:
    """The models that the body names."""
    advice = "correct --base-url: this is not the address of an OpenAI-compatible API"
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return wrong("server models", f"answers something that is not JSON ({_hidden(answer.kind, key)[:80]})", advice)
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        return wrong("server models", "answers JSON that is no list of models", advice)
    names = [_hidden(row["id"], key)[:SHOWN_LETTERS] for row in rows]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return fine("server models", f"serves {', '.join(names[:SHOWN])}{more}" if names else "serves no model")


def _hidden(text: str, key: str | None) -> str:
    """Text of a server, which may repeat what it was sent."""
    return text.replace(key, HIDDEN) if key else text
