"""Run a program that reads and writes line by line. Its pipes do not block, so nothing that it does can hang us."""

import os
import select
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from typing import IO, cast

_LINGER_S = 1.0  # after the program's end and its last line: a child of it may hold its output open for ever
_TERM_S = 1.0  # between being asked to end and being killed
_MOST_BYTES = 10_000_000  # of a line
_CHUNK = 1 << 16  # bytes read at once


class Program:
    """A child process that ends with all its children, by a session of its own. Raises OSError if it cannot start."""

    def __init__(self, words: list[str]) -> None:
        self.process = subprocess.Popen(
            words, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.input, self.output = (cast("IO[bytes]", pipe) for pipe in (self.process.stdin, self.process.stdout))
        os.set_blocking(self.input.fileno(), False)
        os.set_blocking(self.output.fileno(), False)
        self.unsent = b""  # what the program has yet to take
        self.begun = b""  # of a line that is not whole yet
        self.lines: deque[bytes] = deque()
        self.is_listening = True  # it has not closed its input
        self.is_over = False  # no line will come any more
        self.heard_at: float | None = None  # when something last came after the program's end

    def read(self, wait_s: float) -> bytes | None:
        """Return the next line; empty if none came in time, None if none will come any more. Also sends `unsent`."""
        if not self.is_over and (self.unsent or not self.lines):
            self._exchange(0 if self.lines else wait_s)
        if self.lines:
            return self.lines.popleft()
        return None if self.is_over else b""

    def wait(self, wait_s: float) -> int | None:
        """Return the exit code; None if it still runs after this time."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(wait_s)
        return None

    def stop(self) -> None:
        """Ask it and its children to end, and give them a moment."""
        self._signal(signal.SIGTERM)
        self.wait(_TERM_S)

    def kill(self) -> None:
        """End it and its children at once."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.input.close()
        self.output.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: of a group in which all have ended
            os.killpg(self.process.pid, number)

    def _exchange(self, wait_s: float) -> None:
        """Send and receives what can be, once either can be or this time is over."""
        pipes = select.poll()
        if not self.lines:  # else it may write no more for now
            pipes.register(self.output, select.POLLIN)
        if self.unsent and self.is_listening:
            pipes.register(self.input, select.POLLOUT)
        ready = [number for number, _ in pipes.poll(1000 * wait_s)]
        if self.unsent and self.input.fileno() in ready:
            self._send()
        if self.output.fileno() in ready:
            self._receive()
        elif not self.lines and self.process.poll() is not None:
            self.heard_at = self.heard_at or time.monotonic()
            self.is_over = time.monotonic() - self.heard_at > _LINGER_S

    def _send(self) -> None:
        try:
            self.unsent = self.unsent[self.input.write(self.unsent) or 0 :]
        except BrokenPipeError:
            self.is_listening = False

    def _receive(self) -> None:
        self.heard_at = None
        chunk = self.output.read(_CHUNK)
        *lines, self.begun = (self.begun + chunk).split(b"\n")
        self.is_over = not chunk
        if self.begun and (self.is_over or len(self.begun) > _MOST_BYTES):
            lines, self.begun = [*lines, self.begun], b""
        self.lines.extend(lines)
