"""A worker process for the work: a record that kills it (a segfault, no memory left) does not end the run.

The process that the shell sees reads the input, keeps the lock and publishes. It forks before anything heavy is
imported; the worker loads the model and appends finished lines to the journal. When it dies, the records that were in
work are suspects: they are tried once more, each alone, and one that kills its worker a second time is rejected.
"""

import ctypes
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from types import FrameType
from typing import NoReturn

from seal_cli import exit_codes
from seal_cli.terminal.console import say
from seal_cli.terminal.display import END_SIGNALS, close_all
from stages.errors import Crashed, OutOfMemory
from stages.records.jsonl import Reject, encode_line
from stages.records.record import Record

_GRACE_S = 5.0  # from asking a worker to end until it is killed
_ATTEND_S = 0.02  # between two looks at what the worker has written
_MAX_CRASHES = 2  # deaths of its worker after which a record is rejected
_MAX_FRUITLESS_CRASHES = 5  # deaths in a row without a finished line between them: it is not the records
_MAX_IDLE_CRASHES = 2  # deaths in a row before any record was in work: loading once more would not help either
_DEATH_SIGNAL = 1  # Linux: prctl(PR_SET_PDEATHSIG)


class InFlightLog:
    """A WorkLog that outlives its writer: the parent reads which records were in work when a worker died."""

    def __init__(self) -> None:
        if sys.platform == "linux":  # in memory: no full disk can touch it
            self.file = os.fdopen(os.memfd_create("seal"), "w+b")
        else:
            self.file = tempfile.TemporaryFile()  # type: ignore[assignment]  # noqa: SIM115

    def clear(self) -> None:
        """Forget what is in work."""
        self._write("=", [""])

    def begin_work(self, names: Iterable[str]) -> None:
        self._write("+", names)

    def end_work(self, names: Iterable[str]) -> None:
        self._write("-", names)

    def give_up(self, names: Sequence[str]) -> None:
        self._write("!", names)

    def _write(self, sign: str, names: Iterable[str]) -> None:
        text = "".join(f"{sign}{json.dumps(name)}\n" for name in names).encode()
        os.pwrite(self.file.fileno(), text, os.fstat(self.file.fileno()).st_size)

    def in_work(self) -> list[str]:
        """Return the names that have begun and not ended since, oldest first."""
        found: dict[str, None] = {}
        for sign, name in self._read():
            found.pop(name, None)
            if sign == "=":
                found.clear()
            elif sign == "+":
                found[name] = None
        return list(found)

    def given_up(self) -> list[str]:
        """Return the names that will not be made."""
        return [name for sign, name in self._read() if sign == "!"]

    def _read(self) -> Iterator[tuple[str, str]]:
        data = os.pread(self.file.fileno(), os.fstat(self.file.fileno()).st_size, 0)
        for line in data.decode().split("\n")[:-1]:
            yield line[0], json.loads(line[1:])


@dataclass
class CrashTracker:
    """Counts for each record how often a worker died with it in work."""

    crashes: Counter[str] = field(default_factory=Counter)
    fruitless: int = 0
    idle: int = 0  # with no record in work

    def group(self, left: Sequence[str], unit_of: Callable[[str], str] | None = None) -> list[list[str]]:
        """Put all that were never in work at a crash together, then each suspect alone, or with its unit."""
        units: dict[str, list[str]] = {}
        if unit_of:
            for key in left:
                units.setdefault(unit_of(key), []).append(key)
        fresh: list[str] = []
        suspects: list[list[str]] = []
        alone = () if unit_of else ([key] for key in left)  # a dictionary of a million lists is large
        for unit in chain(units.values(), alone):
            if any(key in self.crashes for key in unit):
                suspects.append(unit)
            else:
                fresh += unit
        return ([fresh] if fresh else []) + suspects

    def record_crash(self, in_work: Sequence[str], signum: int, *, progress: bool) -> list[str]:
        """Return the keys to reject after this crash. Raises Crashed where no record can be blamed."""
        name = signal.Signals(signum).name
        guilty = [key for key in in_work if self.crashes[key] + 1 >= _MAX_CRASHES]
        self.fruitless = 0 if progress or guilty else self.fruitless + 1
        self.idle = 0 if progress or in_work else self.idle + 1
        if self.idle >= _MAX_IDLE_CRASHES or self.fruitless >= _MAX_FRUITLESS_CRASHES:
            idle = f"{_MAX_IDLE_CRASHES} times before any record was in work"
            when = f"{_MAX_FRUITLESS_CRASHES} times in a row" if in_work else idle
            if signum == signal.SIGKILL:
                raise OutOfMemory(f"the worker was killed {when}, most likely by a system that was out of memory")
            raise Crashed(f"the worker died of {name} {when}: it is not a record's doing (see `seal doctor`)")
        if not in_work:
            say(f"seal: the worker died of {name} with no record in work; another goes on")
            return []
        self.crashes.update(in_work)
        alone = "rejected" if guilty else "tried once more, each alone"
        say(f"seal: the worker died of {name} with {len(in_work)} records in work; {alone}")
        return guilty


def poison_record(record: Record, signum: int = 0) -> Reject:
    """Make the record of a line whose work killed its worker twice, the last time by this signal (0: unknown)."""
    reason = "its worker died twice" + (f", the last time of {signal.Signals(signum).name}" if signum else "")
    return Reject(f"task {record.task.id}", 0, 0, reason, encode_line(record).rstrip(b"\n"))


def run_worker(
    work: Callable[[], None],
    attend: Callable[[], None] | None,
    private: Sequence[int],
    forked: Callable[[], object] = lambda: None,
) -> int:
    """Fork, work in the child, and wait for it. Returns 0, or the signal that killed it; any other end ends us too.

    Meanwhile it calls `attend`, now and then. The worker's own children do not get the `private` descriptors. `forked`
    is called in the parent, which may have threads from then on. Raises Crashed for an exit code that is none of ours.
    """
    sys.stderr.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may have it ignored
    parent, mask = os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    child = os.fork()
    if child == 0:
        _be_worker(work, parent, private, mask)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # who is asked to end has a child to tell
        forked()
        status = os.waitstatus_to_exitcode(_wait(child, attend))
    except BaseException:  # Ctrl-C, SIGTERM, a closed pipe
        _end(child)
        raise
    if status in exit_codes.OURS - {exit_codes.DONE}:  # it has said why
        raise SystemExit(status)
    if status > 0:
        raise Crashed(
            f"the worker was ended from within (exit code {status}): Ray does so where its head, or the node here, is "
            "gone; the same command goes on"
        )
    if -status in END_SIGNALS:
        raise SystemExit(128 - status)
    return -status


def _wait(child: int, attend: Callable[[], None] | None) -> int:
    """Return the child's status. `attend` is called once more after its end."""
    if attend is None:
        return os.waitpid(child, 0)[1]
    ended = status = 0
    while not ended:
        ended, status = os.waitpid(child, os.WNOHANG)
        attend()
        time.sleep(0 if ended else _ATTEND_S)
    return status


def _be_worker(work: Callable[[], None], parent: int, private: Sequence[int], mask: Iterable[int]) -> NoReturn:
    """Never returns: the stack above belongs to the parent. Ctrl-C comes by way of the parent."""
    code = exit_codes.BUG
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _leave_once)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # until here a signal would unwind the parent's stack
        _die_with(parent)
        os.register_at_fork(after_in_child=partial(close_all, private))
        work()
        code = exit_codes.DONE
    except SystemExit as end:
        if isinstance(end.code, int) and end.code:
            code = end.code
        else:
            say(f"seal: the engine ended the process ({end.code!r}); it should raise an error instead")
    except BaseException as error:  # noqa: BLE001 — nothing may unwind into what the parent has on its stack
        code = exit_codes.report_error(error)
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    """End what multiprocessing has started; the rest of Python's end belongs to the parent."""
    with suppress(Exception):
        sys.stderr.flush()
        if "multiprocessing.util" in sys.modules:
            sys.modules["multiprocessing.util"]._exit_function()
    os._exit(code)


def _leave_once(signum: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(exit_codes.TERMINATED)


def _die_with(parent: int) -> None:
    """On Linux the worker is killed when its parent is: nobody else writes once the lock is free."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(exit_codes.TERMINATED)


def _end(child: int) -> None:
    """Ask the worker to end; kills it if it does not, or at a second Ctrl-C. Its journal is whole either way."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)
        try:
            until = time.monotonic() + _GRACE_S
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                if time.monotonic() > until:
                    raise TimeoutError
                time.sleep(0.01)
        except (KeyboardInterrupt, SystemExit, TimeoutError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except ChildProcessError:
            pass
