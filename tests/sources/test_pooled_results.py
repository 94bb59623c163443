"""Official results of one adapter for many passages: verdicts by position, of passages that lie elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages import report, tasks
from stages.errors import BadConfig, BadInput, BadLine, MissingInput
from stages.judge import Gradable
from stages.judge import run as regrade
from stages.judges.lexical import LexicalJudge
from stages.records.record import Record
from tests.conftest import paper_file

TWO = [{"question": "q1", "answer": "a"}, {"question": "q2", "answer": "b"}]
PASSAGES = [  # two of one title, and one that is beyond n_articles
    {"title": "Ada", "context": "Ada was here.", "questions": TWO},
    {"title": "Ada", "context": "Ada left.", "questions": TWO[:1]},
    {"title": "Bo", "context": "Bo came.", "questions": TWO},
]


def results(**change: Any) -> dict[str, Any]:
    reply = {
        "baseline_texts": ["no", "no", "no"],
        "adapter_texts": ["yes", "no", "yes"],
        "baseline_correct": [False, False, True],
        "adapter_correct": [True, False, True],
    }
    found = {"dataset": "data/eval/base_val.json", "n_articles": 2, "k_completions": 5, "lora_params": {"rank": 32}}
    return found | {"per_article": {"Ada": {}}, "server_reply": reply | change.pop("reply", {})} | change


def load(folder: Path, document: Any, beside: str | None = "base_val.json", **flags: Any) -> list[Record]:
    (folder / "cpt.json").write_text(json.dumps(document))
    if beside:
        (folder / beside).write_text(json.dumps(PASSAGES))
    return list(tasks.run(str(folder / "cpt.json"), **flags))


def test_every_passage_is_a_score_line_of_one_adapter_without_weights(tmp_path: Path) -> None:
    lines = load(tmp_path, results())
    assert [(line.task.name, line.task.text) for line in lines] == [("Ada", "Ada was here."), ("Ada", "Ada left.")]
    (adapter,) = {line.adapter.model_dump_json(): line.adapter for line in lines if line.adapter}.values()
    assert (adapter.path, adapter.fit) == (None, {"rank": 32, "k_completions": 5})
    scores = [line.score for line in lines if line.score]
    assert [(score.value, score.baseline, score.judge) for score in scores] == [(0.5, 0, "gpt-4.1"), (1, 1, "gpt-4.1")]
    answers = [(answer.prediction, answer.baseline_prediction) for score in scores for answer in score.answers]
    assert answers == [("yes", "no"), ("no", "no"), ("yes", "no")]
    assert [answer.id for answer in scores[0].answers] == [each.id for each in lines[0].task.questions]  # type: ignore[attr-defined]


def test_a_judge_grades_every_passage_of_the_one_adapter(tmp_path: Path) -> None:
    lines = load(tmp_path, results())
    check = Gradable()
    for line in lines:
        check(line)
    assert [line.task.id for line in regrade(lines, LexicalJudge())] == [line.task.id for line in lines]
    with pytest.raises(BadLine, match="occurs twice; each line must be another"):
        check(lines[0])


def test_other_answers_are_another_adapter(tmp_path: Path) -> None:
    ids = {load(tmp_path, results(reply=reply))[0].adapter.id for reply in ({}, {"adapter_texts": ["a", "b", "c"]})}  # type: ignore[union-attr]
    assert len(ids) == 2


def test_passages_elsewhere_are_given(tmp_path: Path) -> None:
    with pytest.raises(MissingInput) as caught:
        load(tmp_path, results(), beside=None)
    told = "cpt.json: results without their passages, made from base_val.json, which does not lie beside it; "
    assert str(caught.value).endswith(f"{told}give that file with --passages FILE")
    assert len(load(tmp_path, results(dataset=""), "other.json", passages=tmp_path / "other.json")) == 2


def test_passages_for_anything_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"--passages .*: only for official results of many passages"):
        load(tmp_path, PASSAGES, "other.json", passages=tmp_path / "other.json")
    with pytest.raises(MissingInput, match=r"--passages .*nowhere: no such file"):
        load(tmp_path, results(), passages=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_articles": 1}, "answers to 3 questions; the first 1 passages of "),
        ({"n_articles": 3}, "the first 3 passages of "),
        ({"per_article": {"Cy": {}}}, "have 3, none called 'Cy'; give the file that the results were made from"),
        ({"reply": {"baseline_texts": ["no"]}}, "answers to 1 questions"),
        ({"reply": {"adapter_texts": ["yes"]}}, "answers to 3 questions; the first 2 passages of "),
        ({"reply": {"adapter_texts": None}}, "(server_reply.adapter_texts must be a list of texts)"),
        ({"reply": {"adapter_correct": [1, 0, 1]}}, "(server_reply.adapter_correct must be a list of true and false)"),
        ({"lora_params": 3}, "(lora_params must be an object)"),
        ({"n_articles": 0}, "(n_articles must be a number of 1 or more)"),
        ({"timestamp": float("nan")}, "NaN is not JSON"),
    ],
)
def test_results_that_fit_no_passages_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, results(**change))
    assert words in str(caught.value)


def test_a_bad_file_of_passages_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(json.dumps([PASSAGES[0], {"title": "x"}]))
    with pytest.raises(BadInput, match=r"bad.json: \[1\]: no 'context'"):
        load(tmp_path, results(), passages=tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(BadInput, match=r"bad.json: not JSON"):
        load(tmp_path, results(), passages=tmp_path / "bad.json")


@pytest.mark.paper_data
def test_the_papers_pooled_adapter_has_the_published_accuracy_to_the_digit() -> None:
    path = paper_file("cpt_base.json")
    lines = list(tasks.run(str(path), passages=paper_file("base_val.json")))
    (row,) = report.run([("base", lines)])
    assert (len(lines), row.answers) == (200, 974)
    overall = json.loads(path.read_bytes())["overall"]
    assert row.by_question is not None
    assert round(row.by_question, 4) == overall["adapter_accuracy"] == 0.4097
