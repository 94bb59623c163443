"""A local OpenAI-compatible server that answers by a script and keeps what it was asked.

with scripted(in_turn(status(500), ok())) as server: ... server.url, server.asked
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.services.behaviours import Exchange, limited
from tests.services.scripts import Script

MODELS = ("m",)


@dataclass(frozen=True)
class Asked:
    """A POST as it came. `at_s` is of time.monotonic."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: Mapping[str, Any]
    at_s: float


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # without an orderly shutdown, so that a reset is one

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients come and go


class Scripted:
    """`most`: more POSTs at a time are answered with 429 by themselves."""

    def __init__(self, script: Script, *, port: int = 0, most: int | None = None, models: tuple[str, ...] = MODELS):
        self.script, self.most, self.models = script, most, models
        self.asked: list[Asked] = []
        self.lists = self.connections = 0  # lists: GETs of the models
        self.at_once = self.most_at_once = 0
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self.port = port
        self.listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def listen(self) -> None:
        self._listener = Listener(("127.0.0.1", self.port), handler(self))
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Connections are refused from now on."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener:
            listener.shutdown()
            listener.server_close()

    @property
    def listening(self) -> bool:
        return self._listener is not None

    def return_in(self, seconds: float) -> None:
        timer = threading.Timer(seconds, lambda: None if self.closed.is_set() else self.listen())
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        self.closed.set()
        self.stop()

    def begin(self, asked: Asked) -> tuple[int, bool]:
        """(which request it is, whether it is one too many)."""
        with self._lock:
            self.asked.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return len(self.asked) - 1, self.most is not None and self.at_once > self.most

    def end(self) -> None:
        with self._lock:
            self.at_once -= 1


def handler(server: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as real servers do
        disable_nagle_algorithm = True  # or the body waits 40 ms for the headers' acknowledgement

        def setup(self) -> None:
            server.connections += 1
            super().setup()

        def do_GET(self) -> None:
            server.lists += 1
            rows = [{"id": name, "object": "model"} for name in server.models]
            found = self.path == "/v1/models"
            told = {"object": "list", "data": rows} if found else {"detail": "Not Found"}
            Exchange(self, {}, server).send(200 if found else 404, json.dumps(told).encode())

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(content)
            headers = {name.lower(): value for name, value in self.headers.items()}
            n, too_many = server.begin(Asked(self.path, headers, body, time.monotonic()))
            try:
                behaviour = limited() if too_many else server.script(n, body)
                with suppress(ConnectionError):
                    behaviour(Exchange(self, body, server))
            finally:
                server.end()
            if not server.listening:
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def scripted(script: Script, **named: Any) -> Iterator[Scripted]:
    """Serves until the block ends. `named`: port, most, models."""
    server = Scripted(script, **named)
    try:
        yield server
    finally:
        server.close()
