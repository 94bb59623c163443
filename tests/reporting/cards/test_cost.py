"""What a run took: of every file with a manifest, each adapter once, and what nobody tells is not 0."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.records.record import Record, TrainStats
from stages.reporting.cards.cost import list_costs, read_usage, sum_costs
from tests.cli.conftest import jsonl
from tests.invented import a_task, an_adapter, an_edit


def write(path: Path, lines: list[Record], **manifest: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(jsonl(lines))
    if manifest:
        path.with_name(f"{path.name}.manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    edits = [an_edit(a_task(), sample) for sample in range(3)]
    stats = TrainStats(sequences=2, tokens=100, steps=8, loss_first=1.0, loss_last=0.5)
    pooled = an_adapter(edits[0]).model_copy(update={"train": stats, "fit": {"epochs": 3}})
    written = [Record(task=a_task(), edit=edit) for edit in edits]
    write(tmp_path / "edits.jsonl", written, stage="generate", seconds=2.5, actual={"tokens_in": 70, "tokens_out": 5})
    trained = [Record(task=a_task(), edit=edit, adapter=pooled) for edit in edits]
    write(tmp_path / "adapters.jsonl", trained, stage="adapt", seconds=4, actual={"joules": {"cpu": 20.5, "gpu": 1.0}})
    usage = {"requests": 4, "tokens_in": 200, "tokens_out": 10}
    write(tmp_path / "rows/none.jsonl", written, stage="eval", seconds=1.0, actual=usage)
    write(tmp_path / "by-hand.jsonl", written)
    (tmp_path / "broken.jsonl").write_text("")
    (tmp_path / "broken.jsonl.manifest.json").write_text("[")
    (tmp_path / "gone.jsonl.manifest.json").write_text("{}")
    return tmp_path


def test_a_pool_is_trained_once_and_self_edits_of_all_tries_count(run: Path) -> None:
    files = list_costs(run)
    assert [each.file for each in files] == ["adapters.jsonl", "edits.jsonl", "rows/none.jsonl"]
    making, measuring = (sum_costs(files, measures=each) for each in (False, True))
    assert (making.files, making.read, making.written, making.trained, making.steps) == (2, 70, 15, 300, 8)
    assert (making.seconds, making.joules, making.joules_of) == (6.5, 21.5, 1)
    assert (measuring.files, measuring.read, measuring.written, measuring.trained) == (1, 200, 10, 0)
    assert measuring.joules is None, "not told is not 0"


def test_tokens_of_a_question_are_those_that_the_manifest_counts(run: Path) -> None:
    assert read_usage(run / "rows/none.jsonl") == (50.0, 2.5)
    assert read_usage(run / "by-hand.jsonl") == (None, None)
    assert read_usage(run / "edits.jsonl") == (None, None), "it does not say of how many"
    for odd in ({"actual": 3}, {"actual": {"requests": True, "tokens_in": "4"}}, {"actual": {"requests": 0}}):
        (run / "by-hand.jsonl.manifest.json").write_text(json.dumps(odd))
        assert read_usage(run / "by-hand.jsonl") == (None, None)
