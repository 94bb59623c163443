"""A program that is written to and read from line by line, in threads, so that nothing it does can block us."""

import os
import queue
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO

_LINES_AHEAD = (
    1000  # that wait to be written. The program takes them or it hangs, so that waiting for it is no deadlock
)
_LINGER_S = 1.0  # after the program's end and its last line: a child of it may hold its output open for ever
_TERM_S = 1.0  # between being asked to end and being killed
_MOST_BYTES = 10_000_000  # of a line


class Program:
    """Runs in a session of its own, so that it ends with all its children. Raises OSError if it cannot be started."""

    def __init__(self, words: list[str]) -> None:
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self.outbox: queue.Queue[bytes | None] = queue.Queue(_LINES_AHEAD)
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.over = False  # no line will come any more
        self.heard_at = time.monotonic()  # when the last line came, or the program's end was noticed
        self.ended = False
        threading.Thread(target=self._write, args=(self.process.stdin,), daemon=True).start()
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def write(self, line: bytes | None, wait_s: float) -> bool:
        """Hands over a line, None for the end of its input. False: in this time the program took too few."""
        try:
            self.outbox.put(line, timeout=wait_s)
        except queue.Full:
            return False
        return True

    def read(self, wait_s: float) -> bytes | None:
        """The next line; empty where none came in time, None where none will come any more."""
        with suppress(queue.Empty):
            if self.over:
                return None
            line = self.lines.get(timeout=wait_s)
            self.over = line is None
            return line
        self.over = self._is_silent()
        return None if self.over else b""

    def code(self, wait_s: float) -> int | None:
        """Its exit code; None where it still runs after this time."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(wait_s)
        return None

    def stop(self) -> None:
        """Asks it and its children to end, and gives them a moment."""
        self._signal(signal.SIGTERM)
        self.code(_TERM_S)

    def kill(self) -> None:
        """Ends it and its children at once."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        with suppress(queue.Full):
            self.outbox.put_nowait(None)  # for the thread that waits for more; one that writes finds the pipe broken

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: of a group in which all have ended
            os.killpg(self.process.pid, number)

    def _is_silent(self) -> bool:
        """Whether it has ended, and its output has been quiet since, though something holds that open."""
        if self.process.poll() is None:
            return False
        if not self.ended:
            self.ended, self.heard_at = True, time.monotonic()
        return self.lines.empty() and time.monotonic() - self.heard_at > _LINGER_S

    def _write(self, file: IO[bytes]) -> None:
        with suppress(OSError), file:
            while (line := self.outbox.get()) is not None:
                file.write(line)
                if self.outbox.empty():
                    file.flush()

    def _read(self, file: IO[bytes]) -> None:
        with suppress(OSError), file:
            while line := file.readline(_MOST_BYTES):
                self.heard_at = time.monotonic()
                self.lines.put(line)
        self.lines.put(None)
