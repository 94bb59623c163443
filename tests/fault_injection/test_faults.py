"""Operations are counted over processes, and faults come where they are sent."""

import os
import sys
import time

import pytest

from tests.fault_injection import processes
from tests.fault_injection.bodies import end, struck, write
from tests.fault_injection.trial import Room
from tests.fault_injection.world import files_of


def test_operations_are_numbered_over_all_processes_and_only_in_the_room(room: Room) -> None:
    def body() -> None:
        write("../outside")
        write("one")
        if os.fork() == 0:
            write("two", synced=False)
            os._exit(0)
        os.wait()
        os.rename("two", "three")  # noqa: PTH104

    kinds = ["open", "write", "fsync", "open", "write", "rename"]
    assert struck(room, body).operations == list(enumerate(kinds, 1))


def test_a_full_disk_comes_once_or_for_ever(room: Room) -> None:
    def body() -> None:
        for name in ("one", "two", "three"):
            try:
                write(name, synced=False)
            except OSError as error:
                sys.stderr.write(f"{error}\n")

    once = struck(room, body, "full", 3)
    assert once.err.count("No space left on device: 'two'") == once.err.count("\n") == 1
    assert once.hit == "open two"
    assert struck(room, body, "full-ever", 3).err.count("No space left") == 2


def test_a_short_write_tells_how_much_it_wrote_and_a_torn_one_is_the_last(room: Room) -> None:
    body = lambda: (write("file", "0123456789"), end())  # noqa: E731
    assert struck(room, body, "short", 1).code == 0
    assert files_of(room.work) == {"file": b"01234", "end/": b""}
    (room.work / "end").rmdir()
    assert struck(room, body, "torn", 1).code == -9
    assert files_of(room.work) == {"file": b"01234"}


def test_a_kill_comes_before_or_after_the_operation_and_takes_every_process(room: Room) -> None:
    def body() -> None:
        if os.fork() == 0:
            time.sleep(30)
        end()

    started = time.monotonic()
    assert struck(room, body, "kill", 1).code == -9
    assert files_of(room.work) == {}
    assert struck(room, body, "kill-after", 1).code == -9
    assert files_of(room.work) == {"end/": b""}
    assert time.monotonic() - started < 20


def test_the_fault_of_a_worker_leaves_the_process_that_the_shell_sees_alone(room: Room) -> None:
    def body() -> None:
        write("one")
        if os.fork() == 0:
            write("two")
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) == -9)

    outcome = struck(room, body, "worker", 1)
    assert (outcome.code, outcome.hit) == (1, "open two")
    assert files_of(room.work) == {"one": b"text"}


def test_a_process_that_is_left_behind_counts_as_hung(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "BEHIND_S", 0.2)

    def body() -> None:
        if os.fork() == 0:
            time.sleep(30)

    assert struck(room, body).code is None
