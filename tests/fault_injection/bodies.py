"""Small pieces of work for a child of the tests, and what comes of it under a fault."""

import os
from collections.abc import Callable
from pathlib import Path

from tests.fault_injection.faults import FAULTS
from tests.fault_injection.processes import Streams, start
from tests.fault_injection.trial import Blow, Outcome, Room, expose, finish


def write(name: str, text: str = "text", *, synced: bool = True) -> None:
    """Three or four operations: open, write, fsync and, for the folder, fsync."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(descriptor, text.encode())
    if synced:
        os.fsync(descriptor)
    os.close(descriptor)


def sync_folder(name: str = ".") -> None:
    descriptor = os.open(name, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def end() -> None:
    """An operation for the fault to come to: the last one of a body."""
    os.mkdir("end")  # noqa: PTH102


def struck(room: Room, body: Callable[[], object], fault: str | None = None, point: int = 0) -> Outcome:
    """What comes of the body in a child of its own."""

    def exposed() -> None:
        expose(room, Blow(FAULTS[fault] if fault else None, point))
        body()

    room.clear()
    streams = Streams(Path(os.devnull), room.stream("out"), room.stream("err"))
    return finish(room, start(exposed, room.work, streams))
