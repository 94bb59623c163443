"""One request over HTTP by the OpenAI SDK. Heavy: imported with stages.services.http, when a server is to be asked.

The SDK is told everything, so that it takes nothing from the environment; and what goes wrong leaves here as a value,
because its exceptions hold the request with its headers.
"""

import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import httpx2
import openai

from stages.engines.endpoint import unreachable
from stages.failures import BadConfig
from stages.services.answers import LATER, Heard, Trouble
from stages.services.base import Failure

MOST_BYTES = 64 * 2**20  # of an answer
MOST_ERROR_BYTES = 2**16  # of an answer that is no success
CONNECT_S = 10.0
LOGGERS = ("openai", "httpx2", "httpcore2", "stamina")
SENT = (  # what else the SDK would tell of this machine or take from the environment is not sent
    *("host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length"),
    "authorization",
)


class Wire:
    """Carries requests to one server. Asked from many threads."""

    def __init__(self, base: str, key: str | None, timeout_s: float) -> None:
        self.base, self.timeout_s = base, timeout_s
        self._authorization = f"Bearer {key}" if key else openai.omit
        self._sockets = Sockets()
        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
        transport = httpx2.Client(
            timeout=timeout,
            limits=httpx2.Limits(),
            follow_redirects=False,
            event_hooks={"request": [self._prepare], "response": [self._bound]},
        )
        self._client = openai.OpenAI(
            api_key=key or "",
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            base_url=base,
            max_retries=0,
            timeout=timeout,
            http_client=transport,
        )

    def ask(self, path: str, body: Mapping[str, Any]) -> Heard | Trouble | Failure | BadConfig:
        """What the server answers, whatever it is, or why there is no whole answer."""
        try:
            response = self._client.post(
                f"/{path}",
                cast_to=httpx2.Response,
                content=encoded(body),
                options={"headers": {"Authorization": self._authorization}},
            )
        except openai.APIStatusError as error:
            response = error.response
        except Exception as error:  # noqa: BLE001
            return self._unheard(error)
        return Heard(response.status_code, dict(response.headers), response.content)

    def _prepare(self, request: httpx2.Request) -> None:
        request.headers = httpx2.Headers([pair for pair in request.headers.items() if pair[0].lower() in SENT])
        request.extensions |= {"trace": self._sockets.trace, "until": time.monotonic() + self.timeout_s}

    def _bound(self, response: httpx2.Response) -> None:
        """Limits the time and the size of a body, of which the SDK would wait for any."""
        response.request.extensions["begun"] = True
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = Body(response.stream, response.is_success, response.request.extensions["until"])

    def _unheard(self, error: Exception) -> Trouble | Failure | BadConfig:
        begun = isinstance(error, openai.APIConnectionError) and "begun" in error.request.extensions
        causes = list(chain(error))
        if any(isinstance(cause, TooLong) for cause in causes):
            return Failure("unparsable", f"answers more than {MOST_BYTES:,} bytes")
        if any(isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError) for cause in causes):
            return self._unconnected(causes)
        if any(isinstance(cause, httpx2.TimeoutException) for cause in causes):
            return Trouble("timeout", f"no answer within {self.timeout_s:g} s", LATER)
        if begun:
            return Trouble("truncated", "sends an answer that is cut off", LATER)
        if any("disconnected" in str(cause) for cause in causes) or any(isinstance(c, OSError) for c in causes):
            return Trouble("api_error", "closes the connection without an answer", LATER)
        return Trouble(
            "api_error",
            f"does not speak HTTP ({type(causes[-1]).__name__})",
            "correct port and scheme of --base-url",
        )

    def _unconnected(self, causes: list[BaseException]) -> Trouble | BadConfig:
        cause = next((cause for cause in causes if isinstance(cause, OSError)), TimeoutError())
        timeout_s = min(self.timeout_s, CONNECT_S)
        told, advice = unreachable(self.base, cause, timeout_s)
        if isinstance(cause, ssl.SSLError):
            return BadConfig(f"{told}; {advice}")
        found = told.removeprefix(f"{self.base}: ")
        if isinstance(cause, TimeoutError):
            found = f"takes no connection within {timeout_s:g} s"
        return Trouble("api_error", found, advice, unreachable=True)

    def abort(self) -> None:
        """Ends every request that is under way."""
        self._sockets.abort()

    def close(self) -> None:
        """When no request is under way."""
        self._client.close()


class TooLong(httpx2.ReadError):
    pass


class Body(httpx2.SyncByteStream):
    """The bytes of an answer, up to a number and a moment. Of an error's body, as many as come."""

    def __init__(self, stream: httpx2.SyncByteStream, good: bool, until: float) -> None:
        self._stream, self._good, self._until = stream, good, until

    def __iter__(self) -> Iterator[bytes]:
        if self._good:
            yield from self._bounded(MOST_BYTES)
            return
        with suppress(httpx2.TransportError):
            yield from self._bounded(MOST_ERROR_BYTES)

    def _bounded(self, most: int) -> Iterator[bytes]:
        for piece in self._stream:
            most -= len(piece)
            if most < 0:
                raise TooLong("")
            if time.monotonic() > self._until:  # the socket's own limit begins anew with each piece
                raise httpx2.ReadTimeout("")
            yield piece

    def close(self) -> None:
        self._stream.close()


class Sockets:
    """The connections of a client, so that one can end them: a thread that reads is not woken when they are closed."""

    def __init__(self) -> None:
        self._all: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()
        self._aborted = False

    def trace(self, event: str, told: Mapping[str, Any]) -> None:
        """Told by httpcore of everything that it does."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._all.add(told["return_value"].get_extra_info("socket"))
            if self._aborted:
                self.abort()

    def abort(self) -> None:
        with self._lock:
            self._aborted = True
            for one in self._all:
                with suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)  # of TLS too: its own is for the thread that reads


def encoded(body: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8. Half characters, which UTF-8 cannot carry, become U+FFFD."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the innermost last."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def silence() -> None:
    """Nothing that the libraries log reaches a handler: at level debug it holds headers, which hold the key."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
