"""The simulated disk loses what was not synced, and nothing else."""

import os
from collections.abc import Callable

from tests.fault_injection.bodies import end, struck, sync_folder, write
from tests.fault_injection.trial import Room
from tests.fault_injection.world import files_of


def left(room: Room, body: Callable[[], object], fault: str) -> dict[str, bytes]:
    """The files after a power loss at the body's end."""
    last = struck(room, lambda: (body(), end())).operations[-1][0]
    for path in sorted(room.work.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    outcome = struck(room, lambda: (body(), end()), fault, last)
    assert (outcome.code, outcome.err) == (-9, "")
    return files_of(room.work)


def test_what_was_written_and_not_synced_is_lost_with_its_name(room: Room) -> None:
    assert left(room, lambda: write("file", synced=False), "power") == {}


def test_a_name_without_its_folders_sync_is_lost_though_the_file_was_synced(room: Room) -> None:
    assert left(room, lambda: write("file"), "power") == {}


def test_a_synced_file_in_a_synced_folder_survives(room: Room) -> None:
    assert left(room, lambda: (write("file"), sync_folder()), "power") == {"file": b"text"}


def test_a_durable_name_of_a_file_that_was_never_synced_holds_nothing(room: Room) -> None:
    assert left(room, lambda: (write("file", synced=False), sync_folder()), "power") == {"file": b""}


def test_where_all_names_survive_a_file_that_was_never_synced_holds_zeros(room: Room) -> None:
    body = lambda: (write("one", synced=False), write("two"))  # noqa: E731
    assert left(room, body, "power-names") == {"one": b"\0\0\0\0", "two": b"text"}


def test_what_is_appended_after_the_last_sync_is_lost(room: Room) -> None:
    def body() -> None:
        write("file")
        sync_folder()
        with open("file", "ab") as file:  # noqa: PTH123
            file.write(b" and more")

    assert left(room, body, "power") == {"file": b"text"}
    assert left(room, body, "power-names") == {"file": b"text"}


def test_a_rename_is_lost_until_the_folder_is_synced(room: Room) -> None:
    def body() -> None:
        write("part")
        sync_folder()
        os.rename("part", "file")  # noqa: PTH104

    assert left(room, body, "power") == {"part": b"text"}
    assert left(room, body, "power-names") == {"file": b"text"}
    assert left(room, lambda: (body(), sync_folder()), "power") == {"file": b"text"}


def test_a_file_that_was_replaced_comes_back_until_the_folder_is_synced(room: Room) -> None:
    def body() -> None:
        write("file", "old")
        sync_folder()
        write("part", "new")
        os.replace("part", "file")  # noqa: PTH105

    assert left(room, body, "power") == {"file": b"old"}


def test_a_folder_whose_name_was_not_synced_is_lost_with_all_it_holds(room: Room) -> None:
    def body() -> None:
        os.mkdir("folder")  # noqa: PTH102
        write("folder/file")
        sync_folder("folder")

    assert left(room, body, "power") == {}
    assert left(room, lambda: (body(), sync_folder()), "power") == {"folder/": b"", "folder/file": b"text"}


def test_a_new_file_has_nothing_of_a_removed_one_whose_inode_it_got(room: Room) -> None:
    def body() -> None:
        write("one")
        os.unlink("one")  # noqa: PTH108
        write("two", "....", synced=False)

    assert left(room, body, "power-names") == {"two": b"\0\0\0\0"}


def test_what_was_there_at_the_start_survives(room: Room) -> None:
    (room.work / "old").write_text("old")
    assert struck(room, end, "power", 1).code == -9
    assert files_of(room.work) == {"old": b"old"}


def test_a_sync_of_a_child_counts_for_its_parents_power_loss(room: Room) -> None:
    def body() -> None:
        if os.fork() == 0:
            write("file")
            sync_folder()
            os._exit(0)
        os.wait()

    assert left(room, body, "power") == {"file": b"text"}
