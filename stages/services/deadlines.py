"""A moment at which each request ends, whatever it waits for: headers or a body that drip, or a reader of what we send.

A connection that is made later than that (connecting and its handshake have limits of their own) is ended at once.
A thread that reads is not woken when its socket is closed, so the connection itself is ended.
"""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any


class Connection:
    """Of one thread, which has one at a time. Another thread may end it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cut = False
        self._over = False  # nothing more is waited for
        self._socket: socket.socket | None = None

    def begin(self) -> None:
        with self._lock:
            self._cut = self._over = False

    @property
    def cut(self) -> bool:
        """Whether it was ended under the request that was begun last."""
        with self._lock:  # whoever is woken by the end of the connection is told so
            return self._cut

    def end(self) -> None:
        """Ends the connection, or the next one as soon as it is made."""
        with self._lock:
            self._over = True
            self._shut()

    def trace(self, event: str, told: Mapping[str, Any]) -> None:
        """Told by httpcore, in the thread that asks, of everything that it does."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = told["return_value"].get_extra_info("socket")
                if self._over:
                    self._shut()

    def _shut(self) -> None:
        with suppress(OSError):  # where it is over already
            if self._socket:
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS's own is for the thread that reads
                self._cut = True


class Deadlines:
    """Gives each request the same time. One thread ends those that are over it; it sleeps until the next may be."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._until: dict[Connection, float] = {}  # of the requests under way, the first one first
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._aborted = False

    @contextmanager
    def watching(self, connection: Connection) -> Iterator[None]:
        """One request by the thread that has the connection."""
        with self._changed:
            connection.begin()
            if self._aborted:
                connection.end()
            self._until[connection] = time.monotonic() + self._timeout_s
            self._wake()
        try:
            yield
        finally:
            with self._changed:
                self._until.pop(connection, None)

    def _wake(self) -> None:
        if self._thread is None and not self._aborted:
            self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
            self._thread.start()
        if len(self._until) == 1:  # otherwise it waits for an earlier one
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._aborted:
                first = next(iter(self._until), None)
                left_s = self._until[first] - time.monotonic() if first else None
                if first is None or left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                else:
                    del self._until[first]
                    first.end()

    def abort(self) -> None:
        """Ends every request that is under way or begins later, and the thread."""
        with self._changed:
            self._aborted = True
            for connection in self._until:
                connection.end()
            self._changed.notify()
