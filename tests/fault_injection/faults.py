"""What can happen to a process at a file operation: a table of faults, and the strike that lets one happen."""

import errno
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tests.fault_injection.disk import Disk
from tests.fault_injection.operations import BY_DESCRIPTOR, BY_PATH, Operation, Tap

EVERY = (*BY_PATH, *BY_DESCRIPTOR, "open")
GROWING = ("open", "mkdir", "rename", "replace", "link", "write", "fsync", "fdatasync")  # may need space
MOMENT_S = 0.03
KILLED, IO_ERROR, INTERRUPTED, TERMINATED = -signal.SIGKILL, 74, 130, 143


@dataclass(frozen=True)
class Fault:
    """`act` stands in for the operation. `code` is how the command ends, where it does not succeed all the same."""

    name: str
    act: Callable[["Strike", Operation], Any]
    code: int
    kinds: tuple[str, ...] = EVERY
    for_ever: bool = False
    needs_disk: bool = False
    must_end: bool = False  # no success is possible
    in_worker: bool = False  # only in a process that the command has started

    def fits(self, operation: Operation) -> bool:
        return operation.kind in self.kinds and not (self.in_worker and leads())


@dataclass
class Strike:
    """A fault at the operation of this number, or at the next one that it can happen to. `crashed` is for the disk."""

    fault: Fault | None
    point: int
    crashed: Path
    disk: Disk | None = None
    tap: Tap | None = None

    def __call__(self, operation: Operation) -> Any:
        """To be called with the ledger's lock held."""
        if self.fault is None or self.tap is None or operation.number < self.point or not self.fault.fits(operation):
            return self.perform(operation)
        fired = self.tap.ledger.get("fired")
        if not fired:
            self.tap.ledger.put("fired", 1)
            self.tap.say(f"{operation.number} struck")
        return self.perform(operation) if fired and not self.fault.for_ever else self.fault.act(self, operation)

    def perform(self, operation: Operation) -> Any:
        """The operation itself, seen by the disk."""
        return self.disk.perform(operation) if self.disk else operation.perform()


def leads() -> bool:
    """Whether this is the process that the shell sees."""
    return os.getpid() == os.getpgrp()


def end_at_once() -> NoReturn:
    """Kills the whole process group; the command is its leader."""
    os.killpg(0, signal.SIGKILL)
    time.sleep(60)
    raise SystemExit("survived SIGKILL")


def kill_before(strike: Strike, operation: Operation) -> NoReturn:
    end_at_once()


def kill_after(strike: Strike, operation: Operation) -> NoReturn:
    try:
        strike.perform(operation)
    finally:
        end_at_once()


def terminate(strike: Strike, operation: Operation) -> Any:
    """As `kill PID` does: the process that the shell sees gets the signal. It has a moment before the work goes on."""
    os.kill(os.getpgrp(), signal.SIGTERM)
    time.sleep(0 if leads() else MOMENT_S)
    return strike.perform(operation)


def interrupt(strike: Strike, operation: Operation) -> Any:
    """As Ctrl-C does: every process of the command gets the signal."""
    os.killpg(0, signal.SIGINT)
    time.sleep(0 if leads() else MOMENT_S)
    return strike.perform(operation)


def kill_worker(strike: Strike, operation: Operation) -> NoReturn:
    """As the kernel does that is short of memory: the largest process goes."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit("survived SIGKILL")


def failing(code: int) -> Callable[[Strike, Operation], Any]:
    """An error as the system gives it: with the name only where the call was given one."""

    def act(strike: Strike, operation: Operation) -> NoReturn:
        given = operation.arguments[0]
        raise OSError(code, os.strerror(code), None if isinstance(given, int) else os.fspath(given))

    return act


def write_half(strike: Strike, operation: Operation) -> int:
    descriptor, data = operation.arguments
    return int(operation.call(descriptor, bytes(data)[: max(1, len(data) // 2)]))


def tear(strike: Strike, operation: Operation) -> NoReturn:
    write_half(strike, operation)
    end_at_once()


def lose_power(strike: Strike, operation: Operation) -> NoReturn:
    assert strike.disk
    strike.disk.refresh()
    strike.disk.dump_durable(strike.crashed)
    end_at_once()


def lose_contents(strike: Strike, operation: Operation) -> NoReturn:
    assert strike.disk
    strike.disk.refresh()
    strike.disk.dump_named(strike.crashed)
    end_at_once()


TABLE = (
    Fault("kill", kill_before, KILLED, must_end=True),
    Fault("kill-after", kill_after, KILLED, must_end=True),
    Fault("worker", kill_worker, 0, in_worker=True),
    Fault("term", terminate, TERMINATED),
    Fault("int", interrupt, INTERRUPTED),
    Fault("full", failing(errno.ENOSPC), IO_ERROR, GROWING),
    Fault("full-ever", failing(errno.ENOSPC), IO_ERROR, GROWING, for_ever=True),
    Fault("eio", failing(errno.EIO), IO_ERROR),
    Fault("eio-ever", failing(errno.EIO), IO_ERROR, for_ever=True),
    Fault("short", write_half, 0, ("write",)),
    Fault("torn", tear, KILLED, ("write",), must_end=True),
    Fault("power", lose_power, KILLED, needs_disk=True, must_end=True),
    Fault("power-names", lose_contents, KILLED, needs_disk=True, must_end=True),
)
FAULTS = {fault.name: fault for fault in TABLE}
