"""`seal tasks`: lines and texts on stdin, or the reason why there are none; what a folder holds besides."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import passages, pipe, seal, surroundings
from tests.cli.inside import run_inside
from tests.forked import forked_seal

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
            [forked_seal(), "tasks", "-"], stdin=theirs, capture_output=True, text=True, env=surroundings(), timeout=30
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
        "notes/y.csv and 1 more), 1 hidden (notes/.hidden); read are .txt, .md, .markdown, .rst, .pdf, .html, .htm, "
        ".xhtml, .docx, .epub, .json, .jsonl, .ndjson, .parquet, .arrow, .csv, .tsv and code; see notes/rejects.jsonl",
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


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"train.csv": "title,context,question,answer\nT,C,Q,A\n"}, 0, ""),
        ({"train.csv": ""}, 65, "json/train.csv: empty"),
        ({"train.csv": "q,a\n1,2\n"}, 65, "json/train.csv: no column title, context, question, answers; it has q, a; "),
        ({"train.csv": "title,context\nCafé,C\n".encode("latin-1")}, 65, "json/train.csv: not UTF-8 (byte 17); if it"),
        ({"train.parquet": "PAR1 and no more"}, 65, "json/train.parquet: not a whole parquet file: cut off or damaged"),
        (
            {"train.parquet": "version https://git-lfs.github.com/spec/v1\n"},
            65,
            "json/train.parquet: a Git LFS pointer",
        ),
        ({"script.bat": "print(1)"}, 65, "json: a folder without texts "),
        ({"train.zip": "PK"}, 65, "json: a folder without texts "),
        ({"a.png": "x"}, 65, "json: a folder without texts "),
        ({"test.csv": "x", "validation.csv": "x"}, 65, "json: has the splits test, validation; --split NAME takes one"),
        ({"en/a.csv": "x", "README.md": "---\nconfigs: 3\n---\n"}, 65, "json/README.md: a card that cannot be under"),
    ],
)
def test_a_folder_of_any_kind_is_tasks_or_one_sentence(
    tmp_path: Path, files: dict[str, str | bytes], code: int, words: str
) -> None:
    for name, content in files.items():
        path = tmp_path / "json" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "beside.csv").write_text("title,context,question,answer\nBeside,C,Q,A\n")
    done = run_inside("tasks", "json", cwd=tmp_path)
    assert (done.code, "Traceback" in done.err, "Beside" in done.out) == (code, False, False), done.err
    assert words in done.err
    assert len(done.err.splitlines()) == (2 if "card" in words else 1)


def test_own_names_of_columns_are_part_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,text,q,a\nT,C,Who?,Ada\n")
    own = [f"--column={pair}" for pair in ("title=name", "context=text", "question=q", "answer=a")]
    done = run_inside("tasks", "a.csv", *own, "-o", "out.jsonl", cwd=tmp_path)
    assert done.code == 0, done.err
    settings = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())["settings"]
    assert settings["columns"] == {"title": "name", "context": "text", "question": "q", "answer": "a"}
    for bad in ("question", "question=", "=q", "query=q"):
        assert run_inside("tasks", "a.csv", "--column", bad, cwd=tmp_path).code == 78
    assert run_inside("tasks", "a.csv", *own, "--column", "title=q", cwd=tmp_path).code == 78
