"""Servers that answer byte by byte, so slowly that only a deadline for the whole request ends it."""

from tests.services.behaviours import Behaviour, Exchange


def drip(every_s: float, pieces: int) -> Behaviour:
    """A body that comes byte by byte, slowly, and is not whole then."""

    def reply(exchange: Exchange) -> None:
        exchange.send(200, b"", headers={"Content-Length": "100000"})
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
