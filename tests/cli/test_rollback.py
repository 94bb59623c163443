"""`seal rollback`: what is in use is on stdout, and what cannot be done is said with its code."""

from pathlib import Path

from tests.cli.conftest import Finished
from tests.cli.inside import run_inside
from tests.stages.test_versions import A, B, an_adapter, current, put_out


def a_run(folder: Path) -> Path:
    """A run with two releases."""
    run = folder / "run"
    run.mkdir()
    (run / "card.json").write_text("{}")
    for name in (A, B):
        an_adapter(run / "adapters" / name)
        put_out(run, name)
    return run


def roll_back(folder: Path, *flags: str) -> Finished:
    return run_inside("rollback", "run", *flags, cwd=folder)


def test_the_path_of_what_is_in_use_is_on_stdout_and_the_rest_on_stderr(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    done = roll_back(tmp_path)
    assert (done.code, done.out) == (0, f"{run / 'adapters' / A}\n")
    assert done.err == f"seal rollback: run/current is {A} (adapters/{A}; learned>10), was {B}\n"
    again = roll_back(tmp_path)
    assert (again.code, again.out, current(run)) == (66, "", A)
    assert again.err.startswith(f"seal: run: {A} is the first version, and there is none before it;")
    assert roll_back(tmp_path, "--to", B).code == 0
    assert current(run) == B


def test_the_list_changes_nothing(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    listed = roll_back(tmp_path, "--list")
    assert [(line["id"], line["current"], line["fault"]) for line in listed.lines] == [
        (A, False, None),
        (B, True, None),
    ]
    assert current(run) == B
    both = roll_back(tmp_path, "--list", "--to", A)
    assert (both.code, both.err) == (2, f"seal: --list changes nothing, and --to {A} would: one of the two\n")


def test_a_run_without_releases_and_a_folder_that_is_none_are_told(tmp_path: Path) -> None:
    assert roll_back(tmp_path).err == "seal: run: no folder; give that of a run\n"
    (tmp_path / "run").mkdir()
    told = roll_back(tmp_path)
    assert told.code == 66
    assert "no version was released; `seal card run` does it" in told.err
    assert list((tmp_path / "run").iterdir()) == []
    assert roll_back(tmp_path, "--list").out == ""
