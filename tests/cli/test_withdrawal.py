"""A document that is withdrawn: what did not depend on it is taken over, and all is as if it had never been there."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bits import assert_same
from tests.cli.conftest import seal
from tests.cli.inside import run_inside
from tests.conftest import ROOT

MODEL = ROOT / "examples/tiny/model"
FILES = ("tasks", "quiz", "edits", "adapters", "scores")
STAGES = {
    "quiz": ("quiz", "tasks.jsonl", "--model", MODEL),
    "edits": ("generate", "quiz.jsonl", "--model", MODEL, "-k", "2", "--max-tokens", "40"),
    "adapters": (
        *("adapt", "edits.jsonl", "--pool", "--out", "adapters", "--rank", "4", "--alpha", "8"),
        *("--learning-rate", "5e-3", "--epochs", "2", "--batch-size", "8"),
    ),
    "scores": ("eval", "adapters.jsonl", "--judge", "exact", "--max-tokens", "4"),
}


def make_tasks(folder: Path, *flags: str) -> None:
    made = run_inside("tasks", "source.jsonl", "-o", "tasks.jsonl", *flags, cwd=folder)
    assert made.code == 0, made.err


def make_all(folder: Path, *flags: str) -> None:
    """Run every stage on the folder's source."""
    make_tasks(folder, *flags)
    for name, arguments in STAGES.items():
        made = seal(*arguments, "-o", f"{name}.jsonl", *flags, cwd=folder)
        assert made.code == 0, made.err


def manifest(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.jsonl.manifest.json").read_bytes())
    return found


def tasks_of(folder: Path) -> list[str]:
    return [json.loads(line)["task"]["id"] for line in (folder / "tasks.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A run whose second of three documents was withdrawn, one that never had it, and that one's id."""
    ours, theirs = (tmp_path_factory.mktemp(name) for name in ("withdrawn", "never"))
    lines = (ROOT / "examples/tiny/train.jsonl").read_text().splitlines(keepends=True)[:3]
    (ours / "source.jsonl").write_text("".join(lines))
    make_all(ours)
    gone = tasks_of(ours)[1]
    for folder in (ours, theirs):
        (folder / "source.jsonl").write_text(lines[0] + lines[2])
    make_tasks(ours, "--overwrite")
    refused = seal(*STAGES["quiz"], "-o", "quiz.jsonl", cwd=ours)
    assert refused.code == 73
    assert "made from other input (3 lines, of which --overwrite keeps the 2 lines that are the same)" in refused.err
    make_all(ours, "--overwrite")
    make_all(theirs)
    return ours, theirs, gone


def test_every_file_is_that_of_a_run_that_never_had_it(folders: tuple[Path, Path, str]) -> None:
    ours, theirs, gone = folders
    assert gone not in tasks_of(ours)
    (pooled,) = (theirs / "adapters").iterdir()
    names = [f"{name}.jsonl" for name in FILES] + [f"adapters/{pooled.name}/{path.name}" for path in pooled.iterdir()]
    found, expected = ({name: (folder / name).read_bytes() for name in names} for folder in (ours, theirs))
    assert_same(found, expected)
    assert not [name for name, content in found.items() if gone.encode() in content]


def test_the_manifests_say_what_was_withdrawn_and_what_was_taken_over(folders: tuple[Path, Path, str]) -> None:
    ours, theirs, gone = folders
    told = {name: (manifest(ours, name).get("reused"), manifest(ours, name).get("withdrawn")) for name in FILES}
    nothing = 0, [gone]  # the pool's one adapter depends on all
    assert told == {"tasks": nothing, "quiz": (2, [gone]), "edits": (4, [gone]), "adapters": nothing, "scores": nothing}
    assert not {"reused", "withdrawn"} & {*manifest(theirs, "edits")}


def test_nothing_was_generated_again(folders: tuple[Path, Path, str]) -> None:
    ours, theirs, _ = folders
    for name in ("quiz", "edits"):
        assert manifest(theirs, name)["actual"]["work_s"] > 0
        assert manifest(ours, name)["actual"]["work_s"] == 0


def test_the_same_once_more_still_says_it(folders: tuple[Path, Path, str]) -> None:
    ours, _, gone = folders
    make_tasks(ours, "--overwrite")
    assert manifest(ours, "tasks")["withdrawn"] == [gone]


def test_the_adapter_that_learned_it_is_listed_as_waste_and_goes_when_asked(folders: tuple[Path, Path, str]) -> None:
    ours, theirs, _ = folders
    kept = {path.name for path in (theirs / "adapters").iterdir()}
    (old,) = {path.name for path in (ours / "adapters").iterdir()} - kept
    assert run_inside("gc", ours.name, cwd=ours.parent).out == f"{ours.name}/adapters/{old}\n"
    assert run_inside("gc", ours.name, "--remove", cwd=ours.parent).code == 0
    assert {path.name for path in (ours / "adapters").iterdir()} == kept
