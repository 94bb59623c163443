"""One run of a command in a forked child, with or without a fault, and what came of it."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fault_injection.disk import Disk
from tests.fault_injection.faults import Fault, Strike
from tests.fault_injection.ledger import Ledger
from tests.fault_injection.operations import Tap
from tests.fault_injection.processes import LIMIT_S, Child, Streams, start

Patch = Callable[[], None]


def nothing() -> None:
    """The product as it is."""


@dataclass(frozen=True)
class Room:
    """Where a trial happens: `work` is its current folder; the streams and the trace lie beside it."""

    folder: Path
    label: str = ""  # before the names of the streams, where two processes work in one room

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def crashed(self) -> Path:
        return self.folder / "crashed"

    @property
    def trace(self) -> Path:
        return self.stream("trace")

    def stream(self, name: str) -> Path:
        return self.folder / f"{self.label}{name}"

    def clear(self) -> None:
        """What the run before has left beside the folder goes."""
        for name in ("out", "err", "trace"):
            self.stream(name).unlink(missing_ok=True)

    def settle(self) -> None:
        """After a power loss the disk holds what the dump says."""
        if self.crashed.exists():
            shutil.rmtree(self.work)
            self.crashed.rename(self.work)


@dataclass(frozen=True)
class Blow:
    """Which fault, at which operation, and what is changed in the product beforehand."""

    fault: Fault | None = None
    point: int = 0
    patch: Patch = nothing


UNHARMED = Blow()


@dataclass(frozen=True)
class Outcome:
    """How a run ended. code is None where it hung, negative where a signal killed it."""

    code: int | None
    out: bytes
    err: str
    trace: tuple[tuple[str, ...], ...]  # (number, kind, name) of the operations, (number, "struck") at the fault
    seconds: float

    @property
    def operations(self) -> list[tuple[int, str]]:
        """(number, kind) in order."""
        return [(int(line[0]), line[1]) for line in self.trace if line[1] != "struck"]

    @property
    def hit(self) -> str | None:
        """The operation that the fault came to, or None where it came to none."""
        struck = next((line[0] for line in self.trace if line[1] == "struck"), None)
        named = (" ".join(line[1:]) for line in self.trace if line[0] == struck)
        return None if struck is None else next(named)


def expose(room: Room, blow: Blow) -> None:
    """From here on the file operations of this process in the room are open to the blow. There is no way back."""
    ledger = Ledger(room.stream("ledger"))
    needed = blow.fault and blow.fault.needs_disk
    disk = Disk(room.work, room.stream("disk"), ledger) if needed else None
    strike = Strike(blow.fault, blow.point, room.crashed, disk)
    strike.tap = Tap(room.work, room.trace, ledger, strike)
    blow.patch()


def launch(room: Room, arguments: list[str], *, stdin: Path | None, blow: Blow, stdout: Path | None = None) -> Child:
    """Starts `seal` with these arguments in the room."""
    room.clear()

    def body() -> None:
        from seal_cli.app import main

        expose(room, blow)
        sys.argv = ["seal", *arguments]
        main()

    streams = Streams(stdin or Path(os.devnull), stdout or room.stream("out"), room.stream("err"))
    return start(body, room.work, streams)


def finish(room: Room, child: Child, limit_s: float = LIMIT_S) -> Outcome:
    """Waits for the end and gathers what the run left beside its folder."""
    code = child.wait(limit_s)
    seconds = time.monotonic() - child.started
    room.settle()
    found = {name: room.stream(name).read_bytes() if room.stream(name).exists() else b"" for name in ("out", "err")}
    lines = room.trace.read_text(encoding="utf-8").splitlines() if room.trace.exists() else []
    trace = tuple(tuple(line.split(" ", 2)) for line in lines)
    return Outcome(code, found["out"], found["err"].decode(errors="replace"), trace, seconds)


def run(
    room: Room, arguments: list[str], *, stdin: Path | None = None, blow: Blow = UNHARMED, stdout: Path | None = None
) -> Outcome:
    return finish(room, launch(room, arguments, stdin=stdin, blow=blow, stdout=stdout))
