"""One request over HTTP by the OpenAI SDK. Heavy: imported with stages.services.client, when a server is to be asked.

The SDK is told everything, so that it takes nothing from the environment; and what goes wrong leaves here as a value,
because its exceptions hold the request with its headers.
"""

import json
import logging
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from stages.errors import BadConfig
from stages.services.base import Failure
from stages.services.deadlines import Connection, Deadlines
from stages.services.endpoint import explain_unreachable
from stages.services.responses import LATER, HttpResponse, TransientError

MOST_BYTES = 64 * 2**20  # of an answer
_MOST_ERROR_BYTES = 2**16  # of an answer that is no success
_CONNECT_S = 10.0
_LOGGERS = ("openai", "httpx2", "httpcore2", "stamina")
_SENT = (  # what else the SDK would tell of this machine or take from the environment is not sent
    *("host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length"),
    "authorization",
)


@dataclass(frozen=True)
class Line:
    """What one thread asks through."""

    client: openai.OpenAI
    http: httpx2.Client
    connection: Connection


class HttpClient:
    """Carries requests to one server, each for at most `timeout_s`. Asked from many threads."""

    def __init__(self, base: str, key: str | None, timeout_s: float) -> None:
        self.base, self.timeout_s = base, timeout_s
        self._authorization = f"Bearer {key}" if key else openai.omit
        self._key = key or ""
        self._trust = httpx2.create_ssl_context()  # takes 50 ms to make, so all lines share it
        self._deadlines = Deadlines(timeout_s)
        self._lines: list[Line] = []
        self._mine = threading.local()

    @property
    def _line(self) -> Line:
        """Of the thread that asks. Each has its own, so that it is known which connection its request is on."""
        if not hasattr(self._mine, "line"):
            self._mine.line = self._connected(Connection())
            self._lines.append(self._mine.line)
        line: Line = self._mine.line
        return line

    def _connected(self, connection: Connection) -> Line:
        timeout = httpx2.Timeout(self.timeout_s, connect=min(self.timeout_s, _CONNECT_S))

        def prepare(request: httpx2.Request) -> None:
            request.headers = httpx2.Headers([pair for pair in request.headers.items() if pair[0].lower() in _SENT])
            request.extensions |= {"trace": connection.trace}

        http = httpx2.Client(
            timeout=timeout,
            limits=httpx2.Limits(),
            follow_redirects=False,
            verify=self._trust,
            event_hooks={"request": [prepare], "response": [_bound]},
        )
        client = openai.OpenAI(
            api_key=self._key,
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            base_url=self.base,
            max_retries=0,
            timeout=timeout,
            http_client=http,
        )
        return Line(client, http, connection)

    def ask(self, path: str, body: Mapping[str, Any]) -> HttpResponse | TransientError | Failure | BadConfig:
        """What the server answers, whatever it is, or why there is no whole answer."""
        line = self._line
        with self._deadlines.watching(line.connection):
            try:
                response = line.client.post(
                    f"/{path}",
                    cast_to=httpx2.Response,
                    content=_encoded(body),
                    options={"headers": {"Authorization": self._authorization}},
                )
            except openai.APIStatusError as error:
                response = error.response
            except Exception as error:  # noqa: BLE001
                return self._late if line.connection.cut else self._unheard(error)
        if line.connection.cut and response.is_success:  # its end may be ours
            return self._late
        return HttpResponse(response.status_code, dict(response.headers), response.content)

    @property
    def _late(self) -> TransientError:
        return TransientError("timeout", f"no answer within {self.timeout_s:g} s", LATER)

    def _unheard(self, error: Exception) -> TransientError | Failure | BadConfig:
        begun = isinstance(error, openai.APIConnectionError) and "begun" in error.request.extensions
        causes = list(_chain(error))
        if any(isinstance(cause, TooLong) for cause in causes):
            return Failure("unparsable", f"answers more than {MOST_BYTES:,} bytes")
        if any(isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError) for cause in causes):
            return self._unconnected(causes)
        if any(isinstance(cause, httpx2.TimeoutException) for cause in causes):
            return self._late
        if begun:
            return TransientError("truncated", "sends an answer that is cut off", LATER)
        if any("disconnected" in str(cause) for cause in causes) or any(isinstance(c, OSError) for c in causes):
            return TransientError("api_error", "closes the connection without an answer", LATER)
        return TransientError(
            "api_error",
            f"does not speak HTTP ({type(causes[-1]).__name__})",
            "correct port and scheme of --base-url",
        )

    def _unconnected(self, causes: list[BaseException]) -> TransientError | BadConfig:
        cause = next((cause for cause in causes if isinstance(cause, OSError)), TimeoutError())
        timeout_s = min(self.timeout_s, _CONNECT_S)
        told, advice = explain_unreachable(self.base, cause, timeout_s)
        if isinstance(cause, ssl.SSLError):
            return BadConfig(f"{told}; {advice}")
        found = told.removeprefix(f"{self.base}: ")
        if isinstance(cause, TimeoutError):
            found = f"takes no connection within {timeout_s:g} s"
        return TransientError("api_error", found, advice, unreachable=True)

    def abort(self) -> None:
        """Ends every request that is under way."""
        self._deadlines.abort()

    def close(self) -> None:
        """When no request is under way."""
        self._deadlines.abort()
        for line in self._lines:
            line.http.close()


class TooLong(httpx2.ReadError):
    pass


def _bound(response: httpx2.Response) -> None:
    """Limits the size of a body, of which the SDK would take any."""
    response.request.extensions["begun"] = True
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = Body(response.stream, response.is_success)


class Body(httpx2.SyncByteStream):
    """The bytes of an answer, up to a number. Of an error's body, as many as come."""

    def __init__(self, stream: httpx2.SyncByteStream, good: bool) -> None:
        self._stream, self._good = stream, good

    def __iter__(self) -> Iterator[bytes]:
        if self._good:
            yield from self._bounded(MOST_BYTES)
            return
        with suppress(httpx2.TransportError):
            yield from self._bounded(_MOST_ERROR_BYTES)

    def _bounded(self, most: int) -> Iterator[bytes]:
        for piece in self._stream:
            most -= len(piece)
            if most < 0:
                raise TooLong("")
            yield piece

    def close(self) -> None:
        self._stream.close()


def _encoded(body: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8. Half characters, which UTF-8 cannot carry, become U+FFFD."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the innermost last."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def silence() -> None:
    """Nothing that the libraries log reaches a handler: at level debug it holds headers, which hold the key."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
