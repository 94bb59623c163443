"""Files are whole or absent, and folders too."""

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from stages.errors import Locked, NoSpace
from stages.files import (
    atomic_directory,
    check_space,
    hold_name,
    make_folder,
    open_locked,
    partial_directory,
    remove_folder,
    remove_partials,
    replace_file,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_byte_is_written_however_short_the_writes_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))
    replace_file(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_file_that_cannot_be_written_keeps_what_it_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "file", b"old")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        replace_file(tmp_path / "file", b"new")
    assert caught.value.filename == str(tmp_path / "file.part")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    replace_file(tmp_path / "link", b"new")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "file").read_bytes()) == (True, b"new")
    os.mkfifo(tmp_path / "pipe")
    end = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    replace_file(tmp_path / "pipe", b"new")
    assert (os.read(end, 9), (tmp_path / "pipe").is_fifo()) == (b"new", True)
    os.close(end)


def test_a_file_system_without_locks_is_told_of_and_any_other_trouble_with_them_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = []
    for number in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EIO):

        def refuse(*arguments: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", refuse)
        try:
            os.close(open_locked(tmp_path, fcntl.LOCK_EX, without_locks=lambda number=number: without.append(number)))
        except OSError as error:
            assert (error.errno, error.filename) == (errno.EIO, str(tmp_path))
    assert without == [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK]


def test_a_directory_is_complete_when_its_name_is_there(tmp_path: Path) -> None:
    out = tmp_path / "new" / "adapter"
    with atomic_directory(out) as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "file").write_text("whole")
        assert not out.exists()
    assert names(out.parent) == ["adapter"]
    assert (out / "inner" / "file").read_text() == "whole"
    assert out.stat().st_mode & 0o777 == 0o755


def test_a_directory_takes_the_place_of_another(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with atomic_directory(tmp_path / "adapter") as partial:
            (partial / text).write_text(text)
    assert names(tmp_path) == ["adapter"]
    assert names(tmp_path / "adapter") == ["new"]


def test_a_full_disk_is_named_and_leaves_no_half_directory(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, atomic_directory(tmp_path / "adapter") as partial:
        (partial / "adapter_config.json").write_text("{}")
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write to an open file raises it: without a name
    assert caught.value.filename == str(partial)
    assert not list(tmp_path.iterdir())


def test_two_processes_that_build_one_directory_never_mix(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "adapter") as first:
        (first / "first").write_text("")
        with atomic_directory(tmp_path / "adapter") as second:
            (second / "second").write_text("")
        assert names(tmp_path / "adapter") == ["second"]
    assert names(tmp_path / "adapter") == ["first"]


def test_a_directory_keeps_its_name_when_the_new_one_cannot_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_directory(tmp_path / "adapter") as partial:
        (partial / "old").write_text("")

    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"), atomic_directory(tmp_path / "adapter") as partial:
        (partial / "new").write_text("")
    assert names(tmp_path / "adapter") == ["old"]


def test_what_a_killed_process_left_of_a_directory_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ["one", "one.v2.abcd_234.part", "onetwo.abcd_234.part", "two.abcd_234.part"]
    for name in (*kept, "one.abcd_234.part", "one.abcd_235.old.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    remove_partials(tmp_path, {"one", "three"})
    assert names(tmp_path) == kept
    remove_partials(tmp_path, {"one.v2"})
    assert names(tmp_path) == [name for name in kept if name != "one.v2.abcd_234.part"]


def test_a_directory_that_a_living_process_builds_is_no_leftover(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "one") as partial:
        (partial / "file").write_text("")
        remove_partials(tmp_path, {"one"})
        assert names(partial) == ["file"]
    assert names(tmp_path) == ["one"]


def test_a_directory_that_was_taken_for_a_leftover_at_its_birth_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, taken = tempfile.mkdtemp, list[str]()

    def mkdtemp(**about: Any) -> str:
        path = made(**about)
        if not taken:
            taken.append(path)
            remove_partials(tmp_path, {"one"})
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with atomic_directory(tmp_path / "one") as partial:
        assert [str(partial)] != taken
    assert names(tmp_path) == ["one"]


def test_a_leftover_is_held_until_the_last_of_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.abcd_234.part").mkdir()
    rmtree, removed = shutil.rmtree, list[Path]()

    def remove(path: Path, **how: Any) -> None:
        with pytest.raises(Locked):  # so that a run whose folder this has just become makes another
            os.close(open_locked(path, fcntl.LOCK_SH))
        rmtree(path, **how)
        removed.append(path)

    monkeypatch.setattr(shutil, "rmtree", remove)
    remove_partials(tmp_path, {"one"})
    assert (removed, names(tmp_path)) == ([tmp_path / "one.abcd_234.part"], [])


def test_a_directory_that_another_process_publishes_in_the_same_moment_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, others = os.replace, list[Path]()

    def publish_before(source: Path, target: Path) -> None:
        if not others:
            others.append(target)
            target.mkdir()
            (target / "other").touch()
        replace(source, target)

    monkeypatch.setattr(os, "replace", publish_before)
    with atomic_directory(tmp_path / "one") as partial:
        (partial / "mine").touch()
    assert (names(tmp_path), names(tmp_path / "one"), len(others)) == (["one"], ["mine"], 1)


def test_one_process_at_a_time_makes_a_directory_of_a_name(tmp_path: Path) -> None:
    with hold_name(tmp_path / "new" / "model"):
        with (
            pytest.raises(Locked, match=r"model.part: another process is making this directory; wait for its end"),
            hold_name(tmp_path / "new" / "model"),
        ):
            pass
        with hold_name(tmp_path / "new" / "other"):
            pass
        with pytest.raises(Locked):
            os.close(open_locked(tmp_path / "new", fcntl.LOCK_EX))
    assert names(tmp_path) == []


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_written(tmp_path: Path) -> None:
    check_space(tmp_path / "new" / "adapters", 1000, "3 adapters")
    with pytest.raises(
        NoSpace, match=r"adapters: 3 adapters need 1,000,000,000,000.0 MB and [\d,.]+ MB are free; free"
    ):
        check_space(tmp_path / "new" / "adapters", 10**18, "3 adapters")


def test_a_file_where_a_folder_is_needed_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(NotADirectoryError, match=r"a file, where a folder is needed: .*notes'"):
        make_folder(tmp_path / "notes" / "run")


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the first call of this function of os fail as on a broken disk."""
    work, errors = getattr(os, name), iter([OSError(errno.EIO, "Input/output error")])

    def fail(*given: Any, **named: Any) -> None:
        for error in errors:
            raise error
        work(*given, **named)

    monkeypatch.setattr(os, name, fail)


def test_a_folder_is_removed_though_the_disk_errs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    fail_once(monkeypatch, "unlink")
    remove_folder(tmp_path / "folder")
    assert names(tmp_path) == []


def test_a_half_built_directory_goes_though_the_disk_errs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, "rmdir")
    with partial_directory(tmp_path / "model") as partial:
        (partial / "file").touch()
    assert names(tmp_path) == []
