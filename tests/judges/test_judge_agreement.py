"""The script that measures the judges: its figures on invented verdicts, its fit, and what it prints."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stages.judges.base import Case
from stages.judges.lexical import WEIGHTS
from tests.bench import judge_agreement
from tests.bench.judge_agreement import FILES, JUDGES, compare, pick, table, values
from tests.bench.judge_fit import Graded, logistic, unique
from tests.conftest import paper_file

SAMPLE = 4  # of 50 passages; tests/judges/test_lexical.py measures the agreement on all


def invented(context: str, sample: int, correct: bool, prediction: str = "Ada") -> Graded:
    return Graded(context, context, sample, True, Case("Who?", "Ada", prediction), correct)


def test_agreement_precision_recall_and_kappa_are_those_of_the_books() -> None:
    rows = [invented("a", 0, correct) for correct in (True, True, False, False, False)]
    assert compare([True, False, True, False, False], rows) == {
        "n": 5,
        "agreement": pytest.approx(0.6),
        "precision": 0.5,
        "recall": 0.5,
        "kappa": pytest.approx((0.6 - 0.52) / 0.48),
    }
    assert compare([False] * 5, rows)["precision"] is None


def test_equal_answers_to_one_question_count_once() -> None:
    rows = [invented("a", 0, True), invented("a", 1, False), invented("a", 2, False, "Bo")]
    assert unique(rows) == [rows[0], rows[2]]


def test_a_pick_costs_what_the_best_self_edit_would_have_brought_more() -> None:
    rows = [invented("a", sample, correct) for sample, correct in [(1, True), (0, False), (0, True), (2, True)]]
    rewards = values((row.correct for row in rows), rows)
    assert [float(value) for value in rewards["a"]] == [0.5, 1.0, 1.0]
    assert pick(rewards, lambda _: [1]) == {"contexts": 1, "same edit": 1.0, "among best": 1.0, "loss": 0.0}
    assert pick(rewards, lambda _: [2]) == {"contexts": 1, "same edit": 0.0, "among best": 1.0, "loss": 0.0}
    by_chance = pick(rewards, lambda _: range(3))
    assert by_chance["same edit"] == pytest.approx(1 / 3)
    assert by_chance["loss"] == pytest.approx(1 / 6)


def test_the_fit_finds_the_odds_of_a_sign() -> None:
    seen = np.array([[1.0, sign] for sign in [0.0] * 1000 + [1.0] * 1000])
    right = np.array([i % 10 < 2 for i in range(1000)] + [i % 10 < 7 for i in range(1000)], dtype=float)
    constant, weight = logistic(seen, right)
    assert constant == pytest.approx(np.log(0.2 / 0.8), abs=0.02)
    assert constant + weight == pytest.approx(np.log(0.7 / 0.3), abs=0.02)


def test_a_table_lines_its_columns_up() -> None:
    assert table([{"judge": "exact", "n": 1}, {"judge": "b", "share": 0.25}]).splitlines() == [
        "judge  n  share",
        "exact  1",
        "b         0.250",
    ]


def run_script(monkeypatch: pytest.MonkeyPatch, folder: Path, options: Sequence[str]) -> None:
    monkeypatch.setattr(judge_agreement, "PAPER", folder)
    monkeypatch.setattr("sys.argv", ["judge_agreement", *options])
    judge_agreement.main()


def test_the_script_says_which_file_it_misses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run_script(monkeypatch, tmp_path, [])
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "skipped: no rank_iter0.json, rank_iter0_prompt-self-qa.json in ../shared/data/seal_paper beside the project\n"
    )


@pytest.mark.paper_data
@pytest.mark.parametrize("options", [["--json"], ["--json", "--fit"]])
def test_the_script_prints_one_json_object_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: Sequence[str], tmp_path: Path
) -> None:
    for name in FILES:
        whole = json.loads(paper_file(name).read_text())
        (tmp_path / name).write_text(json.dumps({**whole, "articles": whole["articles"][:SAMPLE]}))
    run_script(monkeypatch, tmp_path, options)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines
    if "--fit" in options:
        assert {line["measure"]: line["in the source"] for line in lines[1:]} == WEIGHTS
    else:
        assert {line["judge"] for line in lines if "judge" in line} >= {judge.name for judge in JUDGES}
        assert {line["picked by"] for line in lines if "picked by" in line} >= {"random", "GPT-4.1"}
        told = [line for line in lines if line.get("judge") == "lexical" and line["counted"] == "verdicts"]
        assert len(told) == 4  # two files, all questions and the held-out half
