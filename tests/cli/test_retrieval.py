"""`seal eval --retrieve` in the shell: with adapters and without, resumed, in other measures."""

import json
from pathlib import Path
from typing import Any

import pytest

from seal_cli.exit_codes import DONE
from stages.records.record import Record
from stages.records.task import make_task
from tests.cli.conftest import jsonl, seal
from tests.invented import a_line
from tests.tiny_models import make_adapter

ADA = make_task("Ada", "Ada built a bridge in Velm.", [("What did Ada build?", "a bridge")])
BO = make_task("Bo", "Bo built a mill in Dorn.", [("What did Bo build?", "a mill")])


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    make_adapter(model_dir, tmp_path / "one", seed=1)
    lines = []
    for task in (ADA, BO):
        line = a_line(task, [True]).grow(score=None)
        assert line.adapter is not None
        update = {"path": str(tmp_path / "one"), "model": str(model_dir)}
        lines.append(line.grow(adapter=line.adapter.model_copy(update=update)))
    (tmp_path / "adapters.jsonl").write_text(jsonl(lines))
    (tmp_path / "tasks.jsonl").write_text(jsonl(Record(task=task) for task in (ADA, BO)))
    return tmp_path


def read_scores(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["score"] for line in file.read_text().splitlines()]


def test_adapters_answer_behind_the_passages_that_are_named_on_the_line(folder: Path) -> None:
    flags = ("eval", "adapters.jsonl", "--max-tokens", 4, "-j", "exact")
    done = seal(*flags, "--retrieve", "tasks.jsonl", "--chunks", 1, "-o", "rag.jsonl", cwd=folder)
    assert done.code == DONE, done.err
    found, in_sight = read_scores(folder / "rag.jsonl"), seal(*flags, "--in-context", cwd=folder).lines
    assert [answer["chunks"] for score in found for answer in score["answers"]] == [[ADA.id], [BO.id]]
    without = [{key: text for key, text in score["answers"][0].items() if key != "chunks"} for score in found]
    assert without == [line["score"]["answers"][0] for line in in_sight]
    closed = seal(*flags, cwd=folder).lines
    assert without != [line["score"]["answers"][0] for line in closed]
    assert "chunks" not in json.dumps(closed), "a line without retrieval is as it was"


def test_a_run_goes_on_and_another_library_is_another_run(folder: Path) -> None:
    flags = ("eval", "adapters.jsonl", "--max-tokens", 4, "-j", "exact", "--retrieve", "tasks.jsonl")
    whole = seal(*flags, cwd=folder)
    shards = [seal(*flags, "--shard", f"{n}/2", cwd=folder).out for n in (1, 2)]
    assert sorted("".join(shards).splitlines()) == sorted(whole.out.splitlines())
    assert seal(*flags, "-o", "rag.jsonl", cwd=folder).code == DONE
    for same in (flags, (*flags, "--chunks", 3)):
        assert seal(*same, "-o", "rag.jsonl", cwd=folder).code == DONE
    (folder / "tasks.jsonl").write_text(jsonl(Record(task=task) for task in (BO, ADA)))
    assert seal(*flags, "-o", "rag.jsonl", cwd=folder).code == DONE, "the library's order changes nothing"
    assert seal(*flags, "--chunks", 1, "-o", "rag.jsonl", cwd=folder).code == 73
    (folder / "tasks.jsonl").write_text(jsonl([Record(task=ADA)]))
    again = seal(*flags, "-o", "rag.jsonl", cwd=folder)
    assert again.code == 73
    assert "retrieve was" in again.err


def test_likelihoods_are_measured_behind_passages_and_a_passage_has_none(folder: Path) -> None:
    flags = ("eval", "adapters.jsonl", "--likelihood", "answers")
    behind = seal(*flags, "--retrieve", "tasks.jsonl", cwd=folder).lines
    assert behind
    assert behind != seal(*flags, cwd=folder).lines
    refused = seal(*flags[:2], "--likelihood", "passage", "--retrieve", "tasks.jsonl", cwd=folder)
    assert refused.code == 78
    assert "--retrieve tasks.jsonl: --likelihood passage asks no questions" in refused.err


def test_the_passage_and_others_are_not_shown_at_once(folder: Path) -> None:
    refused = seal("eval", "adapters.jsonl", "--in-context", "--retrieve", "tasks.jsonl", cwd=folder)
    assert refused.code == 78
    assert "--in-context shows the passage itself" in refused.err
