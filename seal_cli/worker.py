"""The work in a process of its own: a record that kills it (a segfault, no memory left) does not end the run.

The process that the shell sees reads the input, keeps the lock and publishes. It forks before anything heavy is
imported; the worker loads the model and appends finished lines to the journal. When it dies, the records that were in
work are suspects: they are tried once more, each alone, and one that kills its worker a second time is rejected.
"""

import ctypes
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import BinaryIO, NoReturn

from seal_cli import errors
from seal_cli.console import Meter, note
from stages.failures import Crashed, OutOfMemory

GRACE_S = 5.0  # from asking a worker to end until it is killed
STRIKES = 2  # deaths of its worker after which a record is rejected
IN_VAIN = 5  # deaths in a row without a finished line between them: it is not the records
DEATH_SIGNAL = 1  # Linux: prctl(PR_SET_PDEATHSIG)


class Flight:
    """The keys that a worker has begun, where they can be read when it is dead.

    A Watch in front of a meter, which only the worker has: a bar on the screen is drawn by a thread.
    """

    meter: Meter

    def __init__(self) -> None:
        self.file = in_memory()

    def clear(self) -> None:
        os.ftruncate(self.file.fileno(), 0)

    def begun(self, names: Iterable[str]) -> None:
        text = "".join(f"{name}\n" for name in names).encode()
        os.pwrite(self.file.fileno(), text, os.fstat(self.file.fileno()).st_size)

    def keys(self) -> list[str]:
        return os.pread(self.file.fileno(), os.fstat(self.file.fileno()).st_size, 0).decode().split("\n")[:-1]

    def expect(self, tokens: int) -> None:
        self.meter.expect(tokens)

    def trained(self, tokens: int) -> None:
        self.meter.trained(tokens)

    def note(self, text: str) -> None:
        self.meter.note(text)


def in_memory() -> BinaryIO:
    """A file that two processes share and no full disk can touch; on other systems than Linux one on the disk."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("seal"), "w+b")
    return tempfile.TemporaryFile()


@dataclass
class Suspects:
    """Which records were in work when a worker died, and how often."""

    strikes: Counter[str] = field(default_factory=Counter)
    in_vain: int = 0

    def groups(self, left: Sequence[str]) -> list[list[str]]:
        """All that were never in work at a death together, then each suspect alone."""
        fresh = [key for key in left if not self.strikes[key]]
        return ([fresh] if fresh else []) + [[key] for key in left if self.strikes[key]]

    def struck(self, flying: Sequence[str], signum: int, *, progress: bool) -> list[str]:
        """Those that are to be rejected after this death. Raises Crashed where no record can be blamed."""
        name = signal.Signals(signum).name
        self.in_vain = 0 if progress else self.in_vain + 1
        if not flying and progress:
            return []
        if not flying or self.in_vain >= IN_VAIN:
            when = "before any record was in work" if not flying else f"{IN_VAIN} times in a row"
            if signum == signal.SIGKILL:
                raise OutOfMemory(f"the worker was killed {when}, most likely by a system that was out of memory")
            raise Crashed(f"the worker died of {name} {when}: it is not a record's doing (see `seal doctor`)")
        self.strikes.update(flying)
        guilty = [key for key in flying if self.strikes[key] >= STRIKES]
        alone = "rejected" if guilty else "tried once more, each alone"
        note(f"seal: the worker died of {name} with {len(flying)} records in work; {alone}")
        return guilty


def run_worker(work: Callable[[], None]) -> int:
    """Forks, does the work in the child and waits for it: 0, or the signal that killed it. Other ends are ours too."""
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _be_worker(work, parent)
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:  # Ctrl-C, SIGTERM
        _end(child)
        raise
    if status > 0:  # it has said why
        raise SystemExit(status)
    if -status in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        raise SystemExit(128 - status)
    return -status


def _be_worker(work: Callable[[], None], parent: int) -> NoReturn:
    """Never returns: the stack above belongs to the parent. Ctrl-C comes by way of the parent."""
    code = errors.BUG
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _leave_once)
        _die_with(parent)
        work()
        code = errors.DONE
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else errors.BUG
    except BaseException as error:  # noqa: BLE001
        code = errors.report(error)
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _leave_once(signum: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(errors.TERMINATED)


def _die_with(parent: int) -> None:
    """On Linux the worker is killed when its parent is: nobody else writes once the lock is free."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(errors.TERMINATED)


def _end(child: int) -> None:
    """Asks the worker to end; kills it if it does not, or at a second Ctrl-C. Its journal is whole either way."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)
        try:
            until = time.monotonic() + GRACE_S
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                if time.monotonic() > until:
                    raise TimeoutError
                time.sleep(0.01)
        except (KeyboardInterrupt, SystemExit, TimeoutError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except ChildProcessError:
            pass
