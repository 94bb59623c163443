"""SQuAD as a document and as rows: bad parts are told, the others read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.lines import Reject
from stages.squad import from_squad, group_rows
from tests.stages.bad_input import row, squad_entry


def split(*articles: Any) -> tuple[list[str], list[Reject]]:
    """The titles that are read, and the rejects."""
    rejects: list[Reject] = []
    records = from_squad({"data": list(articles)}, Path("squad.json"), rejects.append)
    return [record.task.title for record in records], rejects


def test_a_bad_article_is_told_and_the_others_read() -> None:
    titles, rejects = split(
        squad_entry(1), 7, {"title": "none"}, {"title": "text", "paragraphs": "x" * 9}, squad_entry(2)
    )
    assert titles == ["Zoë 1!", "Zoë 2!"]
    assert [reject.reason.split(" (")[0] for reject in rejects] == [f"data[{n}]: not SQuAD v1.1" for n in (1, 2, 3)]
    assert [json.loads(reject.raw) for reject in rejects][:2] == [7, {"title": "none"}]
    assert {(reject.where, reject.line) for reject in rejects} == {("squad.json", 0)}


def test_a_bad_paragraph_costs_no_other_one_of_its_article() -> None:
    article = squad_entry(1)
    good = article["paragraphs"][0]
    article["paragraphs"] = [good, {"qas": []}, {**good, "context": "Another."}, {"context": "c", "qas": [{"id": 3}]}]
    titles, rejects = split(article)
    assert titles == ["Zoë 1!"] * 2
    assert [reject.reason for reject in rejects] == [
        "data[0].paragraphs[1]: not SQuAD v1.1 (KeyError('context'))",
        "data[0].paragraphs[3]: not SQuAD v1.1 (KeyError('answers'))",
    ]
    assert json.loads(rejects[0].raw) == {"title": "Zoë 1!", "paragraphs": [{"qas": []}]}


def test_a_passage_whose_questions_cannot_be_answered_is_neither_read_nor_rejected() -> None:
    qas = [{"id": "1", "question": "Why?", "answers": []}]
    assert split({"title": "Ada", "paragraphs": [{"context": "Ada.", "qas": qas}]}) == ([], [])


def test_rows_of_a_passage_become_one_task_also_when_they_lie_apart() -> None:
    rows = [row("Ada"), row("Bo"), row("Ada", "What?", ("a bridge",)), row("Ada", "Why?", ())]
    first, second = (record.task for record in group_rows(rows, "hub"))
    assert [question.answer for question in first.questions] == ["Ada", "a bridge"]
    assert (first.title, second.title) == ("Ada", "Bo")


@pytest.mark.parametrize(
    "change",
    [
        {"title": None},
        {"context": ["a list"]},
        {"question": 3},
        {"answers": None},
        {"answers": "Ada"},
        {"answers": {"text": "Ada"}},
        {"answers": {"text": [None]}},
        {"answers": {}},
        {"answers": []},
    ],
)
def test_a_bad_row_is_told_by_its_number_and_the_others_read(change: Mapping[str, Any]) -> None:
    rejects: list[Reject] = []
    rows = [row("Ada"), {**row("Bo"), **change}, row("Cy")]
    titles = [record.task.title for record in group_rows(rows, "hub", rejects.append)]
    assert titles == ["Ada", "Cy"]
    assert [(reject.where, reject.reason[:34]) for reject in rejects] == [("hub", "rows[1]: title, context and questi")]


def test_ids_that_are_numbers_are_the_questions_ids() -> None:
    (record,) = group_rows([{**row("Ada"), "id": 57}, {**row("Ada", "Why?"), "id": None}], "hub")
    assert record.task.questions[0].id == "57"
