"""What a scripted server does with one request: every way of answering, and every way of failing to."""

import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.services.scripted import Scripted

JSON = "application/json"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
MESSAGES = {400: "Unsupported parameter", 401: "Incorrect API key provided", 404: "The model `m` does not exist."}


@dataclass(frozen=True)
class Exchange:
    """A request that waits for its answer."""

    handler: BaseHTTPRequestHandler
    body: Mapping[str, Any]
    server: "Scripted"

    def send(self, status: int, body: bytes, kind: str = JSON, headers: Mapping[str, str] | None = None) -> None:
        """`headers` may replace Content-Length."""
        self.handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def drop(self) -> None:
        """The connection ends after what was sent."""
        self.handler.close_connection = True

    def reset(self) -> None:
        """The connection ends by force: the client is told of a reset, and may lose what was sent."""
        self.handler.close_connection = True
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Behaviour = Callable[[Exchange], None]


# ---- good answers


def choice(path: str, text: str | None, finish: str | None) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": text}} if "chat" in path else {"text": text}
    return {"index": 0, **said, "finish_reason": finish}


def completion(path: str, text: str | None, finish: str | None = "stop", usage: object = USAGE) -> dict[str, Any]:
    """The body of a success, as chat or plain completions have it. usage None: it is not told."""
    told = {} if usage is None else {"usage": usage}
    return {"id": "cmpl-1", "object": "completion", "choices": [choice(path, text, finish)], **told}


def ok(text: str | None = "yes", finish: str | None = "stop", usage: object = USAGE) -> Behaviour:
    """text None: null content. finish "content_filter": a refusal."""
    return lambda exchange: answer(exchange, completion(exchange.handler.path, text, finish, usage))


def answer(exchange: Exchange, body: object) -> None:
    exchange.send(200, json.dumps(body).encode())


def body(value: object) -> Behaviour:
    """A success with any JSON value: a list, an object without choices, lone surrogates."""
    return lambda exchange: answer(exchange, value)


def raw(content: bytes, kind: str = JSON, status: int = 200, **headers: str) -> Behaviour:
    """Any bytes. Headers are named with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.send(status, content, kind, named)


def huge(count: int) -> Behaviour:
    """A good answer whose text has so many letters."""
    return ok("x" * count)


# ---- refusals


def status(code: int, words: str = "", error: Mapping[str, Any] | None = None, **headers: str) -> Behaviour:
    """An error as OpenAI tells it; `error` are further fields of it. Headers are named with underscores."""
    told = {"error": {"message": words or MESSAGES.get(code, f"scripted {code}"), **(error or {})}}
    return raw(json.dumps(told).encode(), status=code, **headers)


def limited(retry_after: str | None = None, milliseconds: int | None = None, code: int = 429) -> Behaviour:
    """Too many requests, with a pause in seconds or as a date (`in_seconds`), in milliseconds, or none."""
    headers = {} if retry_after is None else {"Retry_After": retry_after}
    headers |= {} if milliseconds is None else {"retry_after_ms": str(milliseconds)}
    return status(code, "", None, **headers)


def in_seconds(seconds: float) -> str:
    """An HTTP date."""
    return formatdate(time.time() + seconds, usegmt=True)


def page(code: int) -> Behaviour:
    """The error page of a proxy."""
    return raw(f"<html><head><title>{code} Bad Gateway</title></head></html>".encode(), "text/html", code)


def redirect(url: str) -> Behaviour:
    return raw(b"", status=307, Location=url)


def echo(code: int) -> Behaviour:
    """An error that repeats the key as careless servers do."""

    def reply(exchange: Exchange) -> None:
        sent = exchange.handler.headers.get("Authorization", "")
        status(code, f"not good: {sent}\x1b[31m", {"param": sent, "code": sent})(exchange)

    return reply


def echo_escaped(code: int) -> Behaviour:
    """An answer or an error that repeats the key where JSON may hold it, in JSON's escapes."""

    def reply(exchange: Exchange) -> None:
        sent = exchange.handler.headers.get("Authorization", "")
        error = {"error": {"message": f"not good: {sent}", "param": sent, "code": sent}}
        told = error if code >= 300 else {**completion(exchange.handler.path, sent), sent: [sent]}
        escaped = "".join(f"\\u{ord(character):04x}" for character in sent)
        exchange.send(code, json.dumps(told).replace(sent, escaped).encode())

    return reply


# ---- broken ways


def slow(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """Answers late; forever where the server is closed first."""

    def reply(exchange: Exchange) -> None:
        exchange.server.closed.wait(seconds)
        (then or ok())(exchange)

    return reply


def hang() -> Behaviour:
    return slow(3600, then=reset())


def reset() -> Behaviour:
    """A connection that is reset before the answer."""
    return Exchange.reset


def hang_up() -> Behaviour:
    """A connection that is closed in good order, without an answer."""
    return Exchange.drop


def reset_midway() -> Behaviour:
    """The connection is reset in the middle of the body."""

    def reply(exchange: Exchange) -> None:
        exchange.send(200, b'{"choices": [', headers={"Content-Length": "1000"})
        time.sleep(0.02)  # so that the beginning is read before the reset
        exchange.reset()

    return reply


def cut_off(code: int = 200) -> Behaviour:
    """A body that is shorter than its Content-Length."""

    def reply(exchange: Exchange) -> None:
        content = json.dumps(completion(exchange.handler.path, "yes")).encode()
        exchange.send(code, content[:-9], headers={"Content-Length": str(len(content))})
        exchange.drop()

    return reply


def broken_chunks() -> Behaviour:
    """Chunked encoding with a length that is none."""

    def reply(exchange: Exchange) -> None:
        exchange.handler.send_response(200)
        exchange.handler.send_header("Transfer-Encoding", "chunked")
        exchange.handler.end_headers()
        exchange.handler.wfile.write(b'5\r\n{"cho\r\nzz\r\n')
        exchange.drop()

    return reply


def no_http() -> Behaviour:
    """Bytes of another protocol."""

    def reply(exchange: Exchange) -> None:
        exchange.handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        exchange.drop()

    return reply


def die(back_after_s: float | None = None) -> Behaviour:
    """The server is gone: this connection is reset and later ones are refused, for good or for a time."""

    def reply(exchange: Exchange) -> None:
        exchange.server.stop()
        if back_after_s is not None:
            exchange.server.return_in(back_after_s)
        exchange.reset()

    return reply


# ---- byte by byte, so slowly that only a deadline for the whole request ends it


def drip(every_s: float, pieces: int, code: int = 200) -> Behaviour:
    """A body that comes byte by byte, slowly, and is not whole then."""

    def reply(exchange: Exchange) -> None:
        exchange.send(code, b"", headers={"Content-Length": "100000"})
        dripped(exchange, every_s, pieces)

    return reply


def drip_headers(every_s: float, pieces: int) -> Behaviour:
    """A status at once and then a header that comes byte by byte, slowly, and has no end."""

    def reply(exchange: Exchange) -> None:
        exchange.handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        dripped(exchange, every_s, pieces)

    return reply


def drip_unbounded(every_s: float, pieces: int) -> Behaviour:
    """A good answer whose end is the end of the connection: spaces come after it, slowly."""

    def reply(exchange: Exchange) -> None:
        exchange.handler.wfile.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"choices": []}')
        dripped(exchange, every_s, pieces)

    return reply


def dripped(exchange: Exchange, every_s: float, pieces: int) -> None:
    for _ in range(pieces):
        exchange.handler.wfile.write(b" ")
        if exchange.server.closed.wait(every_s):
            break
    exchange.drop()
