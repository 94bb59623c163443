"""`seal eval --likelihood` in the shell: a reward that the filter takes, from questions that nobody answers."""

import json
from pathlib import Path

from seal_cli.exit_codes import DONE, INCOMPLETE
from stages.records.jsonl import to_json
from stages.records.record import Record
from tests.cli.conftest import seal
from tests.invented import a_line, a_task
from tests.tiny_models import make_adapter


def test_a_likelihood_goes_from_adapter_to_filter_and_is_seen(model_dir: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        make_adapter(model_dir, tmp_path / f"one-{seed}", seed=seed)
    lines = []
    for seed in (1, 2):
        line = a_line(a_task(), [True, True], sample=seed, completion=f"Line {seed}.").grow(score=None)
        assert line.adapter is not None
        update = {"path": str(tmp_path / f"one-{seed}"), "model": str(model_dir)}
        lines.append(to_json(line.grow(adapter=line.adapter.model_copy(update=update))) + "\n")
    (tmp_path / "adapters.jsonl").write_text("".join(lines))
    done = seal("eval", "adapters.jsonl", "--likelihood", "answers", "-o", "scores.jsonl", cwd=tmp_path)
    assert done.code == DONE, done.err
    scores = [json.loads(line)["score"] for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [(score["answers"], score["judge"]) for score in scores] == [([], "likelihood:answers")] * 2
    assert len({score["value"] for score in scores} | {score["baseline"] for score in scores}) == 3
    (kept,) = seal("filter", "scores.jsonl", cwd=tmp_path).lines
    assert kept["value"] == max(score["value"] for score in scores)
    assert "likelihood 0.00" in seal("report", "scores.jsonl", "--view", cwd=tmp_path).out
    again = seal("eval", "adapters.jsonl", "--likelihood", "passage", "-o", "scores.jsonl", cwd=tmp_path)
    assert again.code == 73, "another measure is another run"


def test_a_dry_run_counts_what_is_too_long(model_dir: Path, tmp_path: Path) -> None:
    task = a_task(pairs=[("Who?", "Ada " * 2000), ("Where?", "Velm")])
    (tmp_path / "tasks.jsonl").write_text(to_json(Record(task=task)) + "\n")
    flags = ("eval", "tasks.jsonl", "--model", str(model_dir), "--likelihood", "answers")
    assert "2 texts are longer than" in seal(*flags, "--dry-run", cwd=tmp_path).err
    done = seal(*flags, cwd=tmp_path)
    assert done.code == INCOMPLETE
    (line,) = done.lines
    assert line["score"]["value"] is None
    assert [each["value"] is None for each in line["score"]["likelihoods"]] == [True, False]
    assert "unscored, once: prompt and text of" in done.err
