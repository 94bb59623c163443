"""A local HTTP server that answers as a test says and keeps what it was asked."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, dict[str, str], bytes]  # status, headers, body
JSON = {"Content-Type": "application/json"}


@dataclass
class Served:
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # (path, Authorization) of each request


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], Reply]) -> Iterator[Served]:
    """Answers every GET until the block ends."""
    kept = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kept.asked.append((self.path, self.headers.get("Authorization")))
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        kept.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()


def echo(handler: BaseHTTPRequestHandler) -> bytes:
    """Everything that was sent, as careless servers repeat it."""
    return str(handler.headers).encode()
