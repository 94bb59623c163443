"""The cache's file: of another version, of something else, one that cannot be written, or one that the run needs."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from stages.errors import BadConfig, NoSpace
from stages.judges.base import Case
from stages.judges.cache import VERSION, Cache, check_cache

HERE = "http://localhost:8000/v1"
CASE = Case("Where was Ada born?", "Velm", "in Velm")
WAYS_OUT = "give another file with --cache FILE, or --cache none"


# ---- files of other versions, and of others


def made(file: Path, *statements: str) -> Path:
    with sqlite3.connect(file) as database:
        for statement in statements:
            database.execute(statement)
    database.close()
    return file


def test_a_file_of_a_newer_seal_is_refused_at_once_and_left_as_it_is(tmp_path: Path) -> None:
    file = made(tmp_path / "v.sqlite", "CREATE TABLE verdicts (key, more)", "PRAGMA user_version = 9")
    before = file.read_bytes()
    with pytest.raises(
        BadConfig, match=r"made by a newer seal \(version 9, not 2\); give another file with --cache"
    ) as caught:
        Cache(file, "judge", "template", HERE)
    assert file.read_bytes() == before
    sqlite3.connect(file, timeout=0).execute("BEGIN IMMEDIATE")
    assert str(file) in str(caught.value)


def test_the_order_of_the_columns_and_one_more_do_not_matter(tmp_path: Path) -> None:
    columns = "raw, answer, gold, note, question, template, model, server, at, key TEXT PRIMARY KEY"
    made(tmp_path / "v.sqlite", f"CREATE TABLE served_verdicts ({columns})", f"PRAGMA user_version = {VERSION}")
    Cache(tmp_path / "v.sqlite", "judge", "template", HERE).put(CASE, "no")
    assert Cache(tmp_path / "v.sqlite", "judge", "template", HERE).get(CASE) == "no"


@pytest.mark.parametrize("version", [0, VERSION])
def test_a_database_of_something_else_is_refused_at_once_and_left_as_it_is(tmp_path: Path, version: int) -> None:
    file = made(tmp_path / "v.sqlite", "CREATE TABLE bookmarks (name)", f"PRAGMA user_version = {version}")
    before = file.read_bytes()
    with pytest.raises(BadConfig, match=WAYS_OUT):
        Cache(file, "judge", "template", HERE)
    assert file.read_bytes() == before


def test_opening_leaves_no_row(tmp_path: Path) -> None:
    Cache(tmp_path / "v.sqlite", "judge", "template", HERE)
    assert sqlite3.connect(tmp_path / "v.sqlite").execute("SELECT * FROM served_verdicts").fetchall() == []


# ---- files that cannot be written


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder, and no right to write what its mode forbids: root may write everything."""
    with TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o777)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(user)


def test_a_file_that_can_only_be_read_is_noticed_when_it_is_opened(unprivileged: Path) -> None:
    file = unprivileged / "v.sqlite"
    Cache(file, "judge", "template", HERE)
    file.chmod(0o444)
    with pytest.raises(BadConfig, match=rf"v\.sqlite: .*readonly.*; {WAYS_OUT}"):
        Cache(file, "judge", "template", HERE)


def test_a_folder_that_can_only_be_read_is_noticed_when_the_file_is_opened(unprivileged: Path) -> None:
    folder = unprivileged / "folder"
    Cache(folder / "v.sqlite", "judge", "template", HERE)
    folder.chmod(0o555)
    for name in ("v.sqlite", "new.sqlite"):
        with pytest.raises(BadConfig, match=rf"(readonly|unable to open).*; {WAYS_OUT}"):
            Cache(folder / name, "judge", "template", HERE)
    folder.chmod(0o777)


def test_a_full_disk_is_told_as_that(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "v.sqlite", "judge", "template", HERE)
    cache.database.execute("PRAGMA max_page_count = 5")
    with pytest.raises(NoSpace, match="database or disk is full; free some space, or give another file"):
        cache.put(CASE, "yes" * 10_000)


def test_a_full_disk_is_known_by_its_code(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "v.sqlite", "judge", "template", HERE)

    def fails() -> None:
        error = sqlite3.OperationalError("kein Platz")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL | 3 << 8
        raise error

    with pytest.raises(NoSpace):
        cache._guard(fails)


def test_a_folder_that_finds_no_room_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", fails)
    with pytest.raises(NoSpace, match="No space left on device"):
        Cache(tmp_path / "new" / "v.sqlite", "judge", "template", HERE)


def test_a_path_that_says_full_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("")
    with pytest.raises(BadConfig, match="/full"):
        Cache(tmp_path / "full" / "v.sqlite", "judge", "template", HERE)


# ---- the run's own files


def test_the_cache_may_be_none_of_the_runs_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "scores.jsonl"
    there.write_text("{}\n")
    (tmp_path / "soft").symlink_to(there)
    (tmp_path / "hard").hardlink_to(there)
    (tmp_path / "folder").symlink_to(tmp_path)
    for cache in ("scores.jsonl", "soft", "hard", "folder/scores.jsonl", "./x/../out.jsonl", "folder/out.jsonl"):
        with pytest.raises(BadConfig, match=f"is .*, which this run reads or writes; {WAYS_OUT}"):
            check_cache(Path(cache), [None, there, tmp_path / "out.jsonl"])


def test_the_cache_may_not_have_its_journal_in_a_file_of_the_run() -> None:
    with pytest.raises(BadConfig, match=r"--cache v: is v-journal, which this run"):
        check_cache(Path("v"), [Path("v-journal")])


def test_any_other_cache_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "v.sqlite").write_text("")
    for cache in (tmp_path / "v.sqlite", tmp_path / "new.sqlite"):
        check_cache(cache, [None, tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    check_cache(tmp_path / "v.sqlite", [])
