"""Children of the warm harness: forked with everything imported, each in a process group and a folder of its own."""

import atexit
import ctypes
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

LIMIT_S = 60.0
BEHIND_S = 5.0  # how long a command's other processes may outlive it
ADOPT = 36  # Linux: prctl(PR_SET_CHILD_SUBREAPER)


@dataclass(frozen=True)
class Streams:
    """The files behind a child's stdin, stdout and stderr."""

    stdin: Path
    stdout: Path
    stderr: Path


@dataclass(frozen=True)
class Child:
    """`pid` leads its process group."""

    pid: int
    started: float

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        """The exit code, minus the signal's number for one that was killed; None for one that took too long.

        Waits for the command's other processes too, which are ours when their parent is dead.
        """
        watched = os.pidfd_open(self.pid)
        try:
            ended, _, _ = select.select([watched], [], [], limit_s)
        finally:
            os.close(watched)
        if not ended:
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        alone = self._all_gone()
        return os.waitstatus_to_exitcode(status) if ended and alone else None

    def _all_gone(self) -> bool:
        """Whether the whole group has ended by itself."""
        until = time.monotonic() + BEHIND_S
        while time.monotonic() < until:
            try:
                if os.waitpid(-self.pid, os.WNOHANG) == (0, 0):
                    time.sleep(0.001)
            except ChildProcessError:
                return True
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(-self.pid, 0)
        return False


def start(body: Callable[[], object], folder: Path, streams: Streams) -> Child:
    """Runs `body` in a child, as if it were the main program of a fresh interpreter."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).prctl(ADOPT, 1)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        _live(body, folder, streams)
    while os.getpgid(pid) != pid:  # until it leads its group, it cannot be killed with it
        time.sleep(0.0001)
    return Child(pid, time.monotonic())


def _live(body: Callable[[], object], folder: Path, streams: Streams) -> NoReturn:
    code = 1
    try:
        _settle(folder, streams)
        code = _code_of(body)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code & 255)


def _settle(folder: Path, streams: Streams) -> None:
    """Streams, folder, signals and exit functions of its own."""
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, mode in enumerate(modes):
        opened = os.open((streams.stdin, streams.stdout, streams.stderr)[number], mode, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    atexit._clear()


def _code_of(body: Callable[[], object]) -> int:
    """How the interpreter would end the program."""
    try:
        body()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        return 130
    return 0
