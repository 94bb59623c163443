"""The flags of a gate, from the shell: its judge is for it alone, and what makes no sense is said before any model."""

from pathlib import Path

import pytest

from stages.records.jsonl import encode_line
from stages.records.record import Record
from tests.cli.inside import run_inside
from tests.invented import a_task, an_edit, numbered


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "edits.jsonl").write_bytes(encode_line(Record(task=a_task(), edit=an_edit(a_task()))))
    (tmp_path / "anchors.jsonl").write_bytes(encode_line(Record(task=numbered("Velm", 2))))
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ("--concurrency 3", 78, "--concurrency 3: it is for the judge of a gate; give --gate X --retain FILE"),
        ("--judge exact", 78, "--judge exact: it grades the anchors of a gate; give --gate X --retain FILE"),
        ("--cache c.sqlite", 78, "--cache c.sqlite: it is for the judge of a gate"),
        ("--gate 0.1 --retain anchors.jsonl --timeout 3", 78, "--timeout 3.0: the judge lexical asks no server"),
        ("--gate 0.1 --retain anchors.jsonl --judge good", 78, "--judge good: unknown; take one of exact, lexical"),
        ("--gate 0.1 --retain anchors.jsonl --judge openai:gpt-4.1", 77, "needs a key"),
        ("--gate 0.1", 78, "--gate 0.1: needs anchors"),
        ("--gate nan --retain anchors.jsonl", 2, "--gate nan: should be a finite number"),
        ("--retain anchors.jsonl", 78, "--retain anchors.jsonl: the anchors of a gate: give --gate X, too"),
        ("--gate 0.1 --retain none.jsonl", 66, "--retain none.jsonl: no such file"),
    ],
)
def test_flags_that_would_do_nothing_or_cannot_be_had_are_refused(
    flags: str, code: int, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("OPENAI_API_KEY", "SEAL_JUDGE_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    done = run_inside("adapt", "edits.jsonl", "--model", "m", "--sequential", *flags.split(), cwd=folder)
    assert (done.code, words in done.err) == (code, True), done.err


def test_a_dry_run_says_when_an_update_would_be_refused(folder: Path, model_dir: Path) -> None:
    gate = ("--gate", "0.1", "--retain", "anchors.jsonl", "--judge", "exact", "--dry-run")
    done = run_inside("adapt", "edits.jsonl", "--model", model_dir, "--sequential", *gate, cwd=folder)
    assert done.code == 0, done.err
    assert "each on the last, refused where accuracy on the anchors (1) falls by more than 0.1; {" in done.err
