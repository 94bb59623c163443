"""One request over HTTP, sent with the OpenAI SDK. Heavy to import: only when a server is to be asked.

Every option of the SDK is given, so that it takes none from the environment. What goes wrong is returned as a value:
the SDK's exceptions hold the request with its headers.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import openai

from stages.errors import BadConfig
from stages.services.base import Call, Failure
from stages.services.endpoint import explain_unreachable
from stages.services.responses import LATER, HttpResponse, Outcome, StreamedAnswer, TransientError, classify_response

MAX_BYTES = 64 * 2**20  # of an answer
_MAX_ERROR_BYTES = 2**16  # of a response that is no success
_MAX_HOPS = 4  # of a download from one address to the next
_CONNECT_S = 10.0
_HEADERS = (  # that are sent; the SDK has more, which tell of this machine or come from the environment
    *("host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length"),
    *("authorization", "x-api-key"),
)
_LOGGERS = ("openai", "httpx2", "httpcore2")
_response: ContextVar[httpx2.Response | None] = ContextVar("response")  # to this task's request, once it has begun
_streamed: ContextVar[StreamedAnswer | None] = ContextVar("streamed")  # where this task's answer may come in pieces
_make_ssl_context = cache(httpx2.create_ssl_context)  # one for all servers: it takes 50 ms


class HttpClient:
    """Sends requests to one server and classifies what comes back. Each has `timeout_s` in all.

    `key_header`: the header that holds the key as it is; None: Authorization, as OpenAI's.
    """

    def __init__(self, base: str, key: str | None, timeout_s: float, *, key_header: str | None = None) -> None:
        for name in _LOGGERS:  # at level debug they log headers, and so the key
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self.base, self._key, self._timeout_s = base, key, timeout_s
        self._connect_s = min(timeout_s, _CONNECT_S)
        header, value = (key_header, key) if key_header else ("Authorization", f"Bearer {key}")
        self._secret = {header: value} if key and value else {}
        self._idle: list[openai.AsyncOpenAI] = []  # each with one connection: a shared pool scans all for each request

    def _make_client(self) -> openai.AsyncOpenAI:
        http_client = self._make_http_client(_limit_body)
        return openai.AsyncOpenAI(
            api_key=self._key or "", admin_api_key="", base_url=self.base, max_retries=0, http_client=http_client
        )

    def _make_http_client(self, *hooks: Any) -> httpx2.AsyncClient:
        try:
            return httpx2.AsyncClient(
                timeout=httpx2.Timeout(None, connect=self._connect_s),
                verify=_make_ssl_context(),
                follow_redirects=False,
                event_hooks={"request": [_limit_headers], "response": list(hooks)},
            )
        except ImportError:
            raise BadConfig("ALL_PROXY (or HTTP_PROXY) names a SOCKS proxy: pip install socksio, or unset it") from None
        except (ValueError, httpx2.InvalidURL):  # it may hold a password
            raise BadConfig("ALL_PROXY (or HTTP_PROXY) is not the URL of a proxy: correct or unset it") from None

    async def send(self, call: Call) -> Outcome:
        """Send a request. Returns the classified answer, or the reason for no complete one."""
        _response.set(None)
        _streamed.set(StreamedAnswer(call.hear, self._key) if call.hear else None)
        if call.save_to:
            return await self._download(call, call.save_to)
        plain = {"Accept-Encoding": "identity"} if call.hear else {}  # events are read before they are unpacked
        options: Any = {"headers": {"Authorization": openai.omit, **self._secret, **plain}}
        client = self._idle.pop() if self._idle else self._make_client()
        try:
            async with asyncio.timeout(self._timeout_s):
                if call.get:
                    response = await client.get(f"/{call.path}", cast_to=httpx2.Response, options=options)
                else:
                    content = _encode(call.body)
                    response = await client.post(
                        f"/{call.path}", cast_to=httpx2.Response, content=content, options=options
                    )
        except openai.APIStatusError as error:
            response = error.response
        except TimeoutError:
            begun = _response.get()
            if begun is not None and not begun.is_success:
                return self._classify(call, begun, b"")  # its status counts, though its body does not end
            return TransientError("timeout", f"no answer within {self._timeout_s:g} s", LATER)
        except (openai.OpenAIError, httpx2.HTTPError, OSError) as error:
            return self._explain(error)
        finally:
            self._idle.append(client)
        return self._classify(call, response, response.content)

    async def _download(self, call: Call, target: Path) -> Outcome:
        """Write an answer to a file. One that redirects, or is JSON with an `url`, says where it lies.

        The key goes to this server alone. Raise OSError where the file cannot be written.
        """
        url, ours = httpx2.URL(f"{self.base}/{call.path}"), True
        try:
            async with asyncio.timeout(self._timeout_s), self._make_http_client(_note_response) as client:
                for _ in range(_MAX_HOPS):
                    async with client.stream("GET", url, headers=self._secret if ours else {}) as response:
                        where = await _find_file(response)
                        if where is None and response.is_success:
                            return await _write(response, target, call.most_bytes)
                        if not where:
                            return self._explain_no_file(call, response, await response.aread(), ours)
                    url, before = response.url.join(where), url
                    ours &= (url.scheme, url.host, url.port) == (before.scheme, before.host, before.port)
        except TimeoutError:
            return TransientError("timeout", f"no whole file within {self._timeout_s:g} s", LATER)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return self._explain(error)
        return Failure("unparsable", f"redirects more than {_MAX_HOPS} times", response.status_code)

    def _explain_no_file(self, call: Call, response: httpx2.Response, body: bytes, ours: bool) -> Outcome:
        """Classify what came instead of a file. Another server may refuse an address that has expired: ask again."""
        found, status = self._classify(call, response, body), response.status_code
        if not ours and status not in call.final and not isinstance(found, TransientError):
            return TransientError("api_error", f"names a place that answers with status {status}", LATER)
        return Failure("unparsable", "answers JSON that names no file", status) if isinstance(found, dict) else found

    def _classify(self, call: Call, response: httpx2.Response, body: bytes) -> Outcome:
        found = HttpResponse(response.status_code, dict(response.headers), body)
        return classify_response(self.base, self._key, call, found)

    def _explain(self, error: Exception) -> TransientError | Failure | BadConfig:
        causes = list(_causes(error))
        if any(isinstance(cause, _BodyTooLong) for cause in causes):
            return Failure("unparsable", f"answers more than {MAX_BYTES:,} bytes")
        if any(isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError) for cause in causes):
            return self._explain_connection(causes)
        if _response.get() is not None:
            return TransientError("truncated", "sends an answer that is cut off", LATER)
        if any("disconnected" in str(cause) or isinstance(cause, httpx2.NetworkError) for cause in causes):
            return TransientError("api_error", "closes the connection without an answer", LATER)
        found = f"does not speak HTTP ({type(causes[-1]).__name__})"
        return TransientError("api_error", found, "correct port and scheme of --base-url")

    def _explain_connection(self, causes: list[BaseException]) -> TransientError | BadConfig:
        cause = next((cause for cause in reversed(causes) if isinstance(cause, OSError)), TimeoutError())
        found, advice = explain_unreachable(cause, self._connect_s)
        if isinstance(cause, ssl.SSLError):
            return BadConfig(f"{self.base}: {found}; {advice}")
        if isinstance(cause, TimeoutError):
            found = f"takes no connection within {self._connect_s:g} s"
        return TransientError("api_error", found, advice, unreachable=True)

    async def close(self) -> None:
        for client in self._idle:
            await client.close()


async def _note_response(response: httpx2.Response) -> None:
    _response.set(response)
    if not response.is_success:
        response.stream = _LimitedBody(response.stream, False)


async def _find_file(response: httpx2.Response) -> str | None:
    """Return the address that a response names instead of what was asked for; None where it is the file."""
    if not response.is_success or "json" not in response.headers.get("content-type", ""):
        return response.headers.get("location", "") if response.is_redirect else None
    response.stream = _LimitedBody(response.stream, False)
    with suppress(ValueError):
        found = json.loads(await response.aread())
        return str(found.get("url") or "") if isinstance(found, dict) else ""
    return ""


async def _write(response: httpx2.Response, target: Path, most: int) -> Outcome:
    count = 0
    with target.open("wb") as file:
        async for piece in response.aiter_bytes():
            count += len(piece)
            if count > most:
                return Failure("unparsable", f"answers more than {most:,} bytes")
            file.write(piece)
    return {}


async def _limit_headers(request: httpx2.Request) -> None:
    request.headers = httpx2.Headers([pair for pair in request.headers.items() if pair[0].lower() in _HEADERS])


async def _limit_body(response: httpx2.Response) -> None:
    _response.set(response)
    body: httpx2.AsyncByteStream = _LimitedBody(response.stream, response.is_success)
    streamed, kind = _streamed.get(), response.headers.get("content-type", "")
    if streamed and response.is_success and kind.startswith("text/event-stream"):
        body = _StreamedBody(body, streamed)
    response.stream = body


class _BodyTooLong(httpx2.ReadError):
    pass


class _LimitedBody(httpx2.AsyncByteStream):
    """The bytes of a response up to a limit; the SDK has none. A broken body of an error ends where it breaks."""

    def __init__(self, stream: Any, success: bool) -> None:
        self._stream, self._success = stream, success

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_BYTES if self._success else _MAX_ERROR_BYTES
        try:
            async for piece in self._stream:
                left -= len(piece)
                if left < 0:
                    raise _BodyTooLong("")
                yield piece
        except httpx2.TransportError:
            if self._success:
                raise

    async def aclose(self) -> None:
        await self._stream.aclose()


class _StreamedBody(httpx2.AsyncByteStream):
    """A streamed answer as the one JSON object that it would be otherwise; what has come of its text is heard."""

    def __init__(self, stream: httpx2.AsyncByteStream, answer: StreamedAnswer) -> None:
        self._stream, self._answer = stream, answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            if not self._answer.take(piece):
                raise httpx2.ReadError("")
        if (whole := self._answer.get_whole()) is None:
            raise httpx2.ReadError("")  # it is cut off
        yield whole

    async def aclose(self) -> None:
        await self._stream.aclose()


def _encode(body: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8. Half characters, which UTF-8 cannot carry, become U+FFFD."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the innermost last."""
    yield error
    if isinstance(error, BaseExceptionGroup):  # one for each address of a host
        yield from _causes(error.exceptions[0])
    elif cause := error.__cause__ or error.__context__:
        yield from _causes(cause)
