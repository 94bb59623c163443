"""The whole loop as a library: one round of two tasks, which goes on where it was interrupted."""

from pathlib import Path

import pytest

from examples.loop import run_round
from stages import tasks
from stages.engines.local import LocalEngine
from stages.errors import ExistingOutput
from stages.generate import Generate
from stages.work import resume
from tests.conftest import ROOT


def test_a_round_runs_as_a_library_and_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    scores = run_round(tmp_path, contexts=2, samples=1)
    assert [line.score is not None and 0 <= (line.score.value or 0) <= 1 for line in scores] == [True, True]
    assert (tmp_path / "model" / "config.json").is_file()
    file = tmp_path / "scores.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2 + 1])  # a line and a half
    assert run_round(tmp_path, contexts=2, samples=1) == scores
    assert sorted(file.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_lines_that_are_there_are_not_made_again_and_no_model_is_loaded_in_vain(tmp_path: Path) -> None:
    file, nowhere = tmp_path / "edits.jsonl", LocalEngine("nowhere")
    records = list(tasks.run(str(ROOT / "examples/tiny/train.jsonl"), sample=tasks.Sample(2)))
    edits = resume(Generate(engine=nowhere, template="none"), records, file)
    written = file.read_bytes()
    assert resume(Generate(engine=nowhere, template="none"), records, file) == edits
    assert (len(edits), file.read_bytes()) == (2, written)
    assert resume(Generate(engine=nowhere), [], tmp_path / "none.jsonl") == []
    with pytest.raises(
        ExistingOutput, match=r"edits.jsonl: has a line of task \w+ that is not of this run; give another"
    ):
        resume(Generate(engine=nowhere, template="none"), records[:1], file)
    assert file.read_bytes() == written
