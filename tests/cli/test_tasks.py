"""`seal tasks`: lines and texts on stdin, or the reason why there are none; what a folder holds besides."""

import json
import os
import pty
import subprocess
from pathlib import Path

from tests.cli.conftest import SEAL, passages, pipe, seal, surroundings

NOTHING = "seal: -: nothing to read on stdin; give a file, or pipe lines in\n"


def test_lines_on_stdin_are_read() -> None:
    assert len(seal("tasks", "-", stdin=passages(3)).lines) == 3


def test_a_closed_stdin_is_said(tmp_path: Path) -> None:
    closed = pipe("seal tasks - <&-", cwd=tmp_path)
    assert (closed.code, closed.out, closed.err) == (66, "", NOTHING)


def test_a_terminal_as_stdin_is_said_and_does_not_hang() -> None:
    ours, theirs = pty.openpty()
    try:
        run = subprocess.run(
            [*SEAL, "tasks", "-"], stdin=theirs, capture_output=True, text=True, env=surroundings(), timeout=30
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (run.returncode, run.stdout, run.stderr) == (66, "", NOTHING)


def test_what_a_folder_holds_besides_is_said_kept_and_no_failure(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "a.md").write_text("A")
    (notes / "deep" / "b.rst").write_text("B")
    for name in ("x.csv", "y.csv", "z.csv", "deep/w.csv", ".hidden"):
        (notes / name).write_text("1,2")
    command = ("tasks", "notes", "more.md", "-o", "notes/tasks.jsonl", "--rejects", "notes/rejects.jsonl")
    (tmp_path / "more.md").write_text("A")
    done = seal(*command, cwd=tmp_path)
    assert done.code == 0
    assert done.err.splitlines()[:2] == [
        "seal tasks: left out 5 files: 4 .csv without the columns of a task (notes/deep/w.csv, notes/x.csv, "
        "notes/y.csv and 1 more), 1 hidden (notes/.hidden); read are .txt, .md, .markdown, .rst, .json, .jsonl, "
        ".ndjson, .parquet, .arrow, .csv, .tsv; see notes/rejects.jsonl",
        "seal tasks: note: 1 task is there more than once and taken once: more.md: more is in notes/a.md already",
    ]
    lines = [json.loads(line) for line in (notes / "tasks.jsonl").read_text().splitlines()]
    assert [line["task"]["title"] for line in lines] == ["a", "deep/b"]
    made = json.loads((notes / "tasks.jsonl.manifest.json").read_text())
    assert made["sources"] == ["notes", "more.md"]
    kinds = {each["kind"]: each["count"] for each in made["left_out"]}
    assert kinds == {".csv without the columns of a task": 4, "hidden": 1, "twice": 1}
    reasons = [json.loads(line)["reason"] for line in (notes / "rejects.jsonl").read_text().splitlines()]
    assert sum(": no column title, context, question, answers; it has 1, 2" in reason for reason in reasons) == 4
    again = seal(*command, cwd=tmp_path)  # its own files lie in the source now
    assert (again.code, "is complete already" in again.err) == (0, True), again.err


def test_stdout_into_the_source_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("A")
    done = pipe("seal tasks . > tasks.jsonl", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "left out" not in done.err
    assert len((tmp_path / "tasks.jsonl").read_text().splitlines()) == 1


def test_an_empty_text_is_rejected_and_a_text_on_stdin_read(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("A")
    (tmp_path / "empty.md").write_text("\ufeff \n")
    done = pipe("cat a.md | seal tasks - --title Mine . --sample 2", cwd=tmp_path)
    assert (done.code, [line["task"]["title"] for line in done.lines]) == (78, [])
    done = pipe("cat a.md | seal tasks empty.md - --title Mine --limit 1", cwd=tmp_path)
    assert (done.code, [line["task"]["title"] for line in done.lines]) == (3, ["Mine"])
    assert "empty.md: empty: there is nothing in it to learn" in done.err
