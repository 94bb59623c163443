"""The address of an OpenAI-compatible server, and one plain question to it, without the SDK.

The key goes to that server and nowhere else: no redirect is followed, and the body of an error is not read.
"""

import http.client
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from stages.errors import BadConfig

KEY_NAME = "OPENAI_API_KEY"
PROBE_TIMEOUT_S = 5.0
_MAX_LIST_BYTES = 10_000_000  # of a list of models, which has a few thousand
START = "start the server (for example: vllm serve MODEL), or correct --base-url"
_ENDPOINTS = ("/chat/completions", "/completions", "/models")  # what people copy along with the address
_VERSION = re.compile(r"v\d+\w*")  # v1, v2, v1beta
_T = TypeVar("_T")


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


def check_key(key: str | None) -> None:
    """Raise BadConfig for a key that cannot stand in a header: an error of http.client would repeat it."""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise BadConfig(f"{KEY_NAME} holds spaces or other letters that no key has; export {KEY_NAME}=… again")


def get_corrected_base(base: str) -> str | None:
    """The address that was most likely meant: without an endpoint's own path, with /v1 if no version is named.

    None if the address has a version of its own (Azure, /v2, /v1beta): its server knows best.
    """
    for path in _ENDPOINTS:
        if base.endswith(path):
            return base.removesuffix(path)
    has_version = any(_VERSION.fullmatch(part) for part in urlsplit(base).path.split("/"))
    return None if has_version else f"{base}/v1"


# what a server that cannot be asked raises; a name that cannot be looked up is a UnicodeError where a part is too long
UNREACHABLE = (OSError, http.client.HTTPException, UnicodeError)


@dataclass(frozen=True)
class ModelList:
    """The response to a question for the models. `body` is empty if the status is no success."""

    status: int
    body: bytes
    content_type: str
    location: str
    seconds: float


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would take the key along to any other host."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def fetch_models(base: str, key: str | None, timeout_s: float) -> ModelList:
    """Ask the server for its models, once. Raises what urllib raises, for `explain_unreachable`, and TimeoutError.

    It has `timeout_s` in all: a socket's own limit begins anew with each byte and leaves out the look-up of names.
    """
    return start_daemon(lambda: _fetch(f"{base}/models", key, timeout_s)).result(timeout_s)


def _fetch(url: str, key: str | None, timeout_s: float) -> ModelList:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    if key:
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    started = time.monotonic()
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s) as reply:
            body = reply.read(_MAX_LIST_BYTES)
            return ModelList(reply.status, body, reply.headers.get_content_type(), "", time.monotonic() - started)
    except urllib.error.HTTPError as error:
        with error:
            return ModelList(error.code, b"", "", error.headers.get("Location", ""), time.monotonic() - started)


def start_daemon(function: Callable[[], _T]) -> "Future[_T]":
    """Run a function in a daemon thread: a process does not wait for it at its end."""
    future: Future[_T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function())
        except Exception as error:  # noqa: BLE001 — it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def explain_unreachable(error: Exception, timeout_s: float) -> tuple[str, str]:
    """Explain what was found, in words that follow the URL, and the next move. The error itself may hold a header."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ConnectionRefusedError):
        return "refuses the connection", START
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout_s:g} s", "is it still loading its model? try again, see its log"
    if isinstance(cause, socket.gaierror):
        return "no such host", "correct --base-url, or the network's name service"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate is not trusted here", "set SSL_CERT_FILE to its authority's certificate"
    if isinstance(cause, ssl.SSLError):
        return "does not speak TLS", "take http:// instead of https:// in --base-url"
    if isinstance(cause, (http.client.HTTPException, ConnectionError)):
        return f"does not speak HTTP ({type(cause).__name__})", "correct port and scheme of --base-url"
    return f"cannot be reached ({type(cause).__name__})", START
