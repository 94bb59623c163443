"""-o: files are finished or absent, never overwritten unasked, and say how they were made."""

import hashlib
import json
from pathlib import Path

import pytest

from stages.records.record import Record
from tests.cli.conftest import jsonl, seal
from tests.invented import a_line, a_task, an_edit

SCORES = jsonl([a_line(a_task(), [True, False]), a_line(a_task("Bo"), [False, False])])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_with_a_manifest_beside_it(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "tasks.jsonl"
    written = seal("tasks", source, "--sample", "3", "--seed", "5", "-o", out)
    assert (written.code, written.out) == (0, "")
    assert names(out.parent) == ["tasks.jsonl", "tasks.jsonl.manifest.json"]
    assert out.read_text() == seal("tasks", source, "--sample", "3", "--seed", "5").out
    manifest = json.loads((out.parent / "tasks.jsonl.manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert manifest["counts"] == {"read": 3, "written": 3, "failed": 0, "unscored": 0, "unreadable": 0, "rejected": 0}
    assert manifest["command"] == ["tasks", str(source), "--sample", "3", "--seed", "5", "-o", str(out)]
    assert manifest["versions"].keys() >= {"seal-toolkit", "torch", "transformers", "peft", "trl"}
    sampled = [json.loads(line)["task"]["id"] for line in out.read_text().splitlines()]
    assert manifest["sample"] == {"size": 3, "seed": 5, "skip": 0, "source": str(source), "tasks": sampled}


def test_the_manifest_of_a_filter_holds_its_summary(tmp_path: Path) -> None:
    seal("filter", "--keep", "gain", "-o", tmp_path / "sft.jsonl", stdin=SCORES)
    summary = json.loads((tmp_path / "sft.jsonl.manifest.json").read_text())["summary"]
    assert (summary["contexts"], summary["edits"], summary["kept"]) == (2, 2, 1)


def test_an_existing_file_is_refused_and_left_as_it_was(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "tasks.jsonl"
    out.write_text("precious\n")
    refused = seal("tasks", source, "-o", out)
    assert (refused.code, refused.out) == (73, "")
    assert refused.err == f"seal: {out}: exists already; give --overwrite, or another file with -o\n"
    assert out.read_text() == "precious\n"
    assert names(tmp_path) == ["tasks.jsonl"]


def test_overwrite_replaces_it_once_the_new_one_is_whole(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "tasks.jsonl"
    out.write_text("precious\n")
    failed = seal("tasks", tmp_path / "absent.jsonl", "-o", out, "--overwrite")
    assert failed.code == 66
    assert out.read_text() == "precious\n"
    assert seal("tasks", source, "-o", out, "--overwrite").code == 0
    assert len(out.read_text().splitlines()) == 12


def test_a_folder_is_no_output_file(source: Path, tmp_path: Path) -> None:
    for more in ([], ["--overwrite"]):
        refused = seal("tasks", source, "-o", tmp_path, *more)
        assert refused.code == 73
        assert f"{tmp_path}: " in refused.err
    assert names(tmp_path) == []


def test_a_run_that_fails_halfway_leaves_no_finished_file(tmp_path: Path) -> None:
    bad = SCORES + "{\n"
    failed = seal("filter", "--strict", "-o", tmp_path / "sft.jsonl", stdin=bad)
    assert failed.code == 65
    assert set(names(tmp_path)) <= {"sft.jsonl.part"}
    assert seal("filter", "-o", tmp_path / "sft.jsonl", stdin=SCORES).code == 0
    assert names(tmp_path) == ["sft.jsonl", "sft.jsonl.manifest.json"]


def test_an_existing_model_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    refused = seal("sft", "sft.jsonl", "--model", "x/y", "--out", tmp_path / "model")
    assert refused.code == 73
    assert refused.err == f"seal: --out {tmp_path / 'model'}: exists already; give --overwrite, or another directory\n"


def test_a_folder_that_is_no_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    refused = seal("sft", "sft.jsonl", "--model", "x/y", "--out", tmp_path, "--overwrite")
    assert refused.code == 73
    assert "is there and is no model directory" in refused.err
    assert (tmp_path / "precious.txt").exists()


TASK = a_task()
DRY = {
    "generate": ([Record(task=TASK)], "would ask {model} for 5 self-edits; "),
    "adapt": ([Record(task=TASK, edit=an_edit(TASK))], "would train 1 adapters of {model}; "),
    "eval": ([Record(task=TASK)], "would score 1 lines with {model} and the judge lexical; "),
}


@pytest.mark.parametrize("command", DRY)
def test_a_dry_run_checks_says_and_writes_nothing(command: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"max_position_embeddings": 1024}')
    lines, words = DRY[command]
    more = ["--out", str(tmp_path / "adapters")] if command == "adapt" else []
    options = ("--model", model, "-o", tmp_path / "out.jsonl", *more, "--dry-run")
    planned = seal(command, *options, stdin=jsonl(lines), cwd=tmp_path)
    assert (planned.code, planned.out) == (0, "")
    assert f"seal {command}: {words.format(model=model)}" in planned.err
    assert names(tmp_path) == ["model"]
    assert seal(command, "--model", "./absent", "--dry-run", stdin=jsonl(lines), cwd=tmp_path).code == 66


@pytest.mark.parametrize(
    ("command", "words"), [("generate", "5 prompts leave no room"), ("adapt", "1 trainings have a")]
)
def test_a_dry_run_sees_what_the_models_context_cannot_hold(
    command: str, words: str, model_dir: Path, tmp_path: Path
) -> None:
    long = a_task("Bo").model_copy(update={"context": "word " * 120})  # 600 tokens
    lines = [Record(task=task, edit=an_edit(task) if command == "adapt" else None) for task in (TASK, long)]
    planned = seal(command, "--model", model_dir, "--dry-run", stdin=jsonl(lines), cwd=tmp_path)
    assert planned.code == 3
    assert f"seal {command}: {words}" in planned.err
    assert f"{model_dir}'s context of 512 tokens" in planned.err


def test_a_dry_run_without_a_model_writes_nothing_either(tmp_path: Path) -> None:
    lines = jsonl([Record(task=TASK)])
    planned = seal("generate", "-t", "none", "--dry-run", "-o", tmp_path / "out.jsonl", stdin=lines)
    assert (planned.code, planned.out) == (0, "")
    assert names(tmp_path) == []
    pairs = seal("filter", stdin=SCORES).out
    options = ("--model", "x/y", "--out", tmp_path / "new", "-o", tmp_path / "out.jsonl", "--dry-run")
    planned = seal("sft", *options, stdin=pairs)
    assert (planned.code, planned.out) == (0, "")
    assert f"seal sft: would train x/y on 2 examples and write {tmp_path / 'new'}; " in planned.err
    assert names(tmp_path) == []


def test_a_skip_without_a_sample_is_refused(tmp_path: Path) -> None:
    done = seal("tasks", "-", "--skip", 3, stdin="")
    assert done.code == 78
    assert "give --sample N with it" in done.err


def test_tasks_reads_lines_from_stdin() -> None:
    line = '{"title": "T", "context": "C", "questions": [{"question": "Q?", "answer": "A"}]}'
    done = seal("tasks", "-", stdin=line)
    assert done.code == 0
    assert json.loads(done.out)["task"]["title"] == "T"
