"""Progress on stderr: a bar on a terminal, elsewhere a plain line now and then, whatever the work is busy with.

A thread of the process that the shell has started looks at the ProgressMeter. It ends before that process forks a
worker, and begins again behind the fork: the worker takes no thread along.
"""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from seal_cli.terminal.console import QuietMode, Screen, erase_line, note, write_stderr
from seal_cli.terminal.progress import ProgressMeter, Sight, format_progress

FIRST_S = 7.0  # to the first plain line: it is there within ten seconds of the command, on a busy machine, too
_EVERY_S = 10.0  # between two plain lines
_RARELY_S = 60.0  # between two plain lines of a stage that reads, on a terminal where the stage before it draws a bar
LOOK_S = 0.2  # between two looks
_WIDTH = 24  # of a bar, in characters
END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WRITING = threading.Lock()  # whoever forks while a line is written takes no half of it along
os.register_at_fork(before=_WRITING.acquire, after_in_parent=_WRITING.release, after_in_child=_WRITING.release)


class Display:
    """Shows a ProgressMeter, from `start` to `stop`."""

    def __init__(self, progress: ProgressMeter) -> None:
        self.progress, self.started = progress, time.monotonic()
        self.due = self.started + FIRST_S
        self.terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin or resume; not after `-q`."""
        if self.thread is None and not QuietMode.on:
            Screen.drawn = self.terminal
            self.ended.clear()
            self.thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self.thread.start()

    def pause(self) -> None:
        """End the thread. What is noted goes on to be written over the bar, which another process may draw."""
        if self.thread:
            self.ended.set()
            self.thread.join(timeout=1.0)  # it may be stuck where nobody reads stderr
            self.thread = None
        if self.terminal and Screen.drawn:
            write_stderr(erase_line())

    def stop(self) -> None:
        """End it and erase the bar."""
        self.pause()
        Screen.drawn = False

    @contextmanager
    def apart(self, private: Iterable[int]) -> Iterator[None]:
        """Show progress from another process while work is done in this one, where C code may hold Python's lock.

        `private` descriptors are not for it: whoever reads our stdout waits for its end.
        """
        self.pause()
        if QuietMode.on:
            yield
            return
        sys.stderr.flush()
        parent, Screen.drawn = os.getpid(), self.terminal
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
        child = os.fork()
        if child == 0:
            self._show_for(parent, private)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            yield
        finally:
            with suppress(OSError):  # someone else has waited for it
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            self.due = max(self.due, time.monotonic() + FIRST_S)
            self.start()

    def _show_for(self, parent: int, private: Iterable[int]) -> NoReturn:
        """Never returns: the stack above belongs to the parent, which kills it. No other signal does."""
        try:
            close_all([0, 1, *private])
            while os.getppid() == parent:
                time.sleep(LOOK_S)
                self.show(time.monotonic())
        finally:
            os._exit(0)

    def _run(self) -> None:
        while not self.ended.wait(LOOK_S):
            with _WRITING:
                self.show(time.monotonic())

    def show(self, now: float) -> None:
        """Draw the current bar, or write a plain line if one is due."""
        sight = self.progress.look(now)
        reads = sight.phase == "reading"
        if self.terminal and not reads:
            write_stderr(erase_line() + format_bar(self.progress.stage, sight, now - self.started))
        elif now >= self.due:
            self.due = now + (_RARELY_S if self.terminal else _EVERY_S)
            note(format_progress(self.progress.stage, sight, now - self.started))


def format_bar(stage: str, sight: Sight, seconds: float) -> str:
    """`seal adapt: [#####.....] training, 34/150, 14 s, 44 s left`, not wider than the terminal."""
    done = get_share(sight)
    bar = "" if done is None else f"[{'#' * round(_WIDTH * done):.<{_WIDTH}}] "
    text = format_progress(stage, sight, seconds).replace(": ", f": {bar}", 1)
    return text[: shutil.get_terminal_size().columns - 1]


def get_share(sight: Sight) -> float | None:
    """The part that is done, of the time where it is known how much is left, else of the lines."""
    if sight.left_s is not None:
        return sight.phase_s / max(1e-9, sight.phase_s + sight.left_s)
    return min(1.0, sight.lines / sight.total) if sight.total else None


def close_all(descriptors: Iterable[int]) -> None:
    """Close what a process that outlives its work must not hold: the reader of our stdout, and the lock."""
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
