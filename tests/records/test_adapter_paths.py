"""Paths of adapters: told from the lines' file, found again wherever the two have moved."""

import os
from pathlib import Path

import pytest

from stages.records.adapter_paths import (
    are_same_line,
    get_base_folders,
    get_relative_path,
    locate_adapter,
    make_missing_adapter_error,
    make_path_relative,
)
from stages.records.record import Adapter, Record
from stages.records.task import make_task

ID = "0123456789abcdef"
BARE = {"seed": 0, "model": "m", "fit": {}, "train": None, "fault": None, "error": None}


def a_line(path: str | Path, adapter_id: str = ID) -> Record:
    adapter = Adapter.model_validate({"id": adapter_id, "path": str(path), **BARE})
    return Record(task=make_task("t", "c", []), adapter=adapter)


def path_of(line: Record) -> str:
    assert line.adapter and line.adapter.path
    return line.adapter.path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder of a run, real, with an adapter."""
    folder = Path(os.path.realpath(tmp_path)) / "run"
    (folder / "adapters" / ID).mkdir(parents=True)
    return folder


def found(line: Record, file: Path) -> Path:
    return Path(path_of(locate_adapter(line, get_base_folders(file)))).absolute()


def test_a_file_tells_the_path_from_its_own_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = a_line(run / "adapters" / ID)
    assert path_of(make_path_relative(line, run)) == f"adapters/{ID}"
    assert path_of(make_path_relative(line, run / "lines")) == f"../adapters/{ID}"
    monkeypatch.chdir(run.parent)
    assert path_of(make_path_relative(a_line(f"run/adapters/{ID}"), run)) == f"adapters/{ID}"


def test_lines_that_moved_with_their_adapters_find_them(run: Path) -> None:
    line = make_path_relative(a_line(run / "adapters" / ID), run)
    moved = run.rename(run.parent / "elsewhere")
    assert found(line, moved / "scores.jsonl") == moved / "adapters" / ID


def test_lines_of_older_files_are_found_from_the_working_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    assert (
        path_of(locate_adapter(a_line(f"run/adapters/{ID}"), get_base_folders(Path("run/adapters.jsonl"))))
        == f"run/adapters/{ID}"
    )
    assert path_of(locate_adapter(a_line(f"run/adapters/{ID}"), get_base_folders(None))) == f"run/adapters/{ID}"


def test_an_absolute_path_that_leads_nowhere_is_looked_for_beside_the_lines_by_the_adapters_own_name(run: Path) -> None:
    assert found(a_line(f"/gone/run/adapters/{ID}"), run / "adapters.jsonl") == run / "adapters" / ID
    (run / "adapters" / "mine").mkdir()
    other = a_line("/gone/run/adapters/mine")  # not named by what it holds: it could be another's
    assert found(other, run / "adapters.jsonl") == Path("/gone/run/adapters/mine")


def test_a_file_behind_a_link_tells_from_where_it_really_is(run: Path) -> None:
    (run / "adapters.jsonl").touch()
    (run.parent / "here.jsonl").symlink_to(run / "adapters.jsonl")
    assert found(a_line(f"adapters/{ID}"), run.parent / "here.jsonl") == run / "adapters" / ID


def test_a_folder_behind_a_link_is_named_where_the_name_leads_there_and_else_really(run: Path) -> None:
    disk = run.parent / "disk"
    (run / "adapters").rename(disk)
    (run / "adapters").symlink_to(disk)
    assert get_relative_path(run, str(run / "adapters" / ID)) == f"adapters/{ID}"
    (run.parent / "deep" / "er").mkdir(parents=True)
    (run.parent / "deep" / "link").symlink_to(run)
    told = get_relative_path(run.parent / "deep" / "link", str(run.parent / "disk" / ID))
    assert (run / told).resolve() == disk / ID


def test_what_shares_nothing_but_the_root_stays_absolute() -> None:
    assert get_relative_path(Path("/one/run"), "/another/disk/adapter") == "/another/disk/adapter"


def test_an_adapter_that_is_nowhere_is_told_with_the_places_that_were_looked_at(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    folders = get_base_folders(run / "scores.jsonl")
    line = locate_adapter(a_line("lost/fedcba9876543210"), folders)
    told = str(make_missing_adapter_error(Path(path_of(line)), folders))
    assert f"looked for at {run}/lost/fedcba9876543210 and {run.parent}/lost/fedcba9876543210" in told
    assert "the lines came from stdin: give their file" in str(
        make_missing_adapter_error(Path("lost"), get_base_folders(None))
    )


def test_lines_are_equal_by_whatever_path_they_name_the_same_adapter(run: Path) -> None:
    (run.parent / "link").symlink_to(run)
    one, two = a_line(run / "adapters" / ID), a_line(run.parent / "link" / "adapters" / ID)
    assert are_same_line(one, two)
    assert not are_same_line(one, a_line(run / "other" / ID))
    assert not are_same_line(one, one.grow(adapter=None))
