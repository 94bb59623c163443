"""SQuAD's layouts: bad parts are told, the others read; questions without an answer are counted, or kept as such."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages import tasks
from stages.errors import BadInput, BadLine
from stages.records.jsonl import Reject
from stages.records.record import Record
from stages.records.task import QaTask, Question
from stages.sources.datasets.folders import Omission
from stages.sources.squad import UNANSWERABLE, UNANSWERED, UNASKED, PassageRows, read_question
from tests.sources.bad_input import row, squad_entry


def load(folder: Path, content: Any, **how: Any) -> list[QaTask]:
    """The tasks of a file: of one JSON value, or of a list of lines."""
    path = folder / "source.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    found = [record.task for record in tasks.run(str(path), **how)]
    assert all(isinstance(task, QaTask) for task in found)
    return found  # type: ignore[return-value]


def split(folder: Path, *articles: Any) -> tuple[list[str], list[Reject]]:
    """The titles that are read, and the rejects."""
    rejects: list[Reject] = []
    found = load(folder, {"data": list(articles)}, refuse=rejects.append)
    return [task.title for task in found], rejects


def group(*rows: Mapping[str, Any]) -> list[Record]:
    found = PassageRows()
    for each in rows:
        found.add(each, "rows")
    return list(found.take())


def asked(task: QaTask) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.question, each.golds) for each in task.questions]


def test_a_bad_article_is_told_and_the_others_read(tmp_path: Path) -> None:
    titles, rejects = split(
        tmp_path, squad_entry(1), 7, {"title": "none"}, {"title": "text", "paragraphs": "x" * 9}, squad_entry(2)
    )
    assert titles == ["Zoë 1!", "Zoë 2!"]
    assert [reject.reason[:22] for reject in rejects] == [
        "data[1]: 7 is no passa",
        "data[2]: no 'context' ",
        "data[3]: no 'context' ",
    ]
    assert [json.loads(reject.raw) for reject in rejects][:2] == [7, {"title": "none"}]
    assert {(reject.where, reject.line) for reject in rejects} == {(str(tmp_path / "source.json"), 0)}


def test_a_bad_paragraph_costs_no_other_one_of_its_article(tmp_path: Path) -> None:
    article = squad_entry(1)
    good = article["paragraphs"][0]
    article["paragraphs"] = [good, {"qas": []}, {**good, "context": "Another."}, {"context": "c", "qas": [{"id": 3}]}]
    titles, rejects = split(tmp_path, article)
    assert titles == ["Zoë 1!"] * 2
    assert [reject.reason[:60] for reject in rejects] == [
        "data[0].paragraphs[1]: no 'context' (title, qas); known are ",
        "data[0].paragraphs[3]: a question must be an object of quest",
    ]
    assert json.loads(rejects[0].raw) == {"title": "Zoë 1!", "qas": []}


def test_rows_of_a_passage_become_one_task_also_when_they_lie_apart() -> None:
    rows = [row("Ada"), row("Bo"), row("Ada", "What?", ("a bridge",)), row("Ada", "Why?", ())]
    first, second = (record.task for record in group(*rows))
    assert isinstance(first, QaTask)
    assert asked(first) == [("Who?", ("Ada", "she")), ("What?", ("a bridge",))]
    assert (first.title, second.name) == ("Ada", "Bo")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": ["Ada"]}, "title and context must be text"),
        ({"context": ["a list"]}, "title and context must be text"),
        ({"context": None}, "no 'context'"),
        ({"context": " \n"}, "context is empty"),
        ({"question": 3}, "question must be text (found 3)"),
        ({"question": " "}, "question must be text"),
        ({"id": [1]}, "id must be text or a whole number"),
        ({"answers": {"text": [["Ada"]]}}, "answers: ['Ada'] is no text"),
        ({"answers": {"text": [1.5]}}, "answers: 1.5 is no text"),
        ({"answers": True}, "answers: true is no text"),
        ({"answers": {}}, "answers has the keys ; an answer is text"),
        ({"answers": {"spans": ["Ada"]}}, "answers has the keys spans; an answer is text"),
        ({"answers": " "}, "answers of the question"),
        ({"answers": "[Ada"}, "answers: cannot be read as a list"),
        ({"is_impossible": True}, "a question that cannot be answered, and its answer is"),
        ({"answerable": False}, "a question that cannot be answered, and its answer is"),
        ({"is_impossible": "perhaps"}, "is_impossible must be true or false"),
        ({"answers": "A", "options": ["Ada", "Bo"]}, "the answer 'A' is none of its options; give the text"),  # RACE
        ({"answers": 0, "choices": {"text": ["Ada", "Bo"], "label": ["A", "B"]}}, "the answer '0' is none of its opt"),
        ({"answers": "B", "A": "Ada", "B": "Bo"}, "the answer 'B' is none of its options"),
        ({"answers": "1", "answer0": "Ada", "answer1": "Bo"}, "the answer '1' is none of its options"),
        ({"correct_answer_id": 1}, "correct_answer_id is 1, as if one of the 2 answers were right"),  # QuAIL
        ({"label": "0"}, "label is 0, as if one of the 2 answers were right"),  # ReClor
        ({"answers": "Ada", "label": 0}, "label is 0, as if the answer 'Ada' were wrong"),  # MultiRC
        ({"ground_truth": "Bo"}, "the answer 'Ada' is another than ground_truth; --column answer=ground_truth takes"),
    ],
)
def test_a_bad_row_is_told_by_its_number_and_the_others_read(
    tmp_path: Path, change: Mapping[str, Any], words: str
) -> None:
    rejects: list[Reject] = []
    rows = [row("Ada"), {**row("Bo"), **change}, row("Cy")]
    assert [task.title for task in load(tmp_path, rows, refuse=rejects.append)] == ["Ada", "Cy"]
    (reject,) = rejects
    assert reject.reason.startswith("[1]: ")
    assert words.replace("'", '"') in reject.reason.replace("'", '"')


@pytest.mark.parametrize(
    "more", [{"options": ["Ada", "she", "Bo"]}, {"label": 3}, {"correct": True}, {"ground_truth": ["she"]}]
)
def test_an_answer_that_its_options_or_labels_bear_out_is_read(tmp_path: Path, more: Mapping[str, Any]) -> None:
    (task,) = load(tmp_path, [{**row("Ada"), **more}])
    assert asked(task) == [("Who?", ("Ada", "she"))]


def test_ids_that_are_numbers_are_the_questions_ids() -> None:
    (record,) = group({**row("Ada"), "id": 57}, {**row("Ada", "Why?"), "id": None})
    assert isinstance(record.task, QaTask)
    assert record.task.questions[0].id == "57"


def test_a_question_that_comes_again_under_its_id_has_the_answers_of_both() -> None:
    rows = [{**row("Ada", answers=answers), "id": "57"} for answers in (("Ada",), ("she", "Ada"))]
    (record,) = group(*rows, {**row("Ada", "Why?"), "id": "57"})
    assert isinstance(record.task, QaTask)
    assert [(each.id, each.golds) for each in record.task.questions] == [
        ("57", ("Ada", "she")),
        ("57-2", ("Ada", "she")),
    ]


# ---- what is neither a passage nor a row


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"Question": "Who?", "Answer": "Ada"}, "Question, Answer"),
        ({"query": "Who?", "response": "Ada"}, "query, response"),
        ({"instruction": "Who?", "output": "Ada"}, "instruction"),  # Dolly, Alpaca
        ({"qa": [{"q": "Who?", "a": "Ada"}]}, "qa"),
        ({"qaPairs": [["Who?", "Ada"]]}, "qaPairs"),
        ({"items": [{"question": "Who?", "answer": "Ada"}]}, "items"),
        ({"answers": ["Ada"]}, "answers"),
        ({"questions": [{"question": "Q", "answer": "A"}], "qas": []}, "questions, qas"),
        ({"questions": [{"question": "Q", "answer": "A"}], "question": "Who?"}, "questions, question"),
    ],
)
def test_a_passage_whose_questions_no_layout_takes_is_refused_by_its_keys(
    tmp_path: Path, more: Mapping[str, Any], named: str
) -> None:
    passage = {"title": "T", "context": "C.", **more}
    for content in ([passage], {"data": [passage]}, json.dumps(passage) + "\n" + json.dumps(passage)):
        with pytest.raises(BadInput, match=f"cannot tell its questions by the keys {named}; known are rows of title, "):
            load(tmp_path, content)


@pytest.mark.parametrize(
    "questions", [["Who?"], [["Who?", "Ada"]], "Who?", [{"q": "Who?"}], {"question": ["Who?"], "n": 1}]
)
def test_questions_that_are_no_questions_are_refused(tmp_path: Path, questions: Any) -> None:
    with pytest.raises(
        BadInput, match=r"(questions must be a list|a question must be an object) of question and answer"
    ):
        load(tmp_path, [{"title": "T", "context": "C.", "questions": questions}])


def test_the_task_of_rows_carries_what_its_first_row_does(tmp_path: Path) -> None:
    rows = [{**row("Ada"), "meta": {"from": 1}}, {**row("Ada", "Why?"), "meta": {"from": 2}}, row("Bo")]
    assert [record.meta for record in group(*rows)] == [{"from": 1}, None]
    with pytest.raises(BadInput, match="meta: must be an object"):
        load(tmp_path, [{**row("Ada"), "meta": 3}])


def test_a_passage_may_carry_what_asks_nothing(tmp_path: Path) -> None:
    (task,) = load(tmp_path, [{"title": "T", "context": "C.", "url": "u", "number_of_questions": 3, "answers": None}])
    assert task.questions == ()


# ---- questions without an answer


NONE: list[dict[str, Any]] = [
    {"answers": []},
    {"answers": {"text": [], "answer_start": []}},
    {"answers": {"text": [""]}},
    {"answers": [" ", "\u200b\n"]},
    {"answers": [{"text": ""}]},
    {"answers": None},
    {"answer": None},
    {"is_impossible": True, "answers": [], "plausible_answers": [{"text": "Bo"}]},
    {"is_impossible": True},
    {"is_impossible": "True", "answer": ""},
    {"is_impossible": 1, "answers": {"text": []}},
    {"answerable": False, "answer": None},
    {"answers": [{"text": "CANNOTANSWER", "answer_start": 9}]},
    {"answers": ["No Answer Present."]},
]
GOOD = {"question": "What?", "answer": "a bridge"}


@pytest.mark.parametrize("answers", NONE, ids=json.dumps)
def test_a_question_without_an_answer_is_left_out_and_told_or_kept_as_one(tmp_path: Path, answers: Any) -> None:
    context, open_question = "Ada built a bridge.", {"question": "Who is Bo?", **answers}
    nested = [{"title": "T", "context": context, "qas": [open_question, GOOD]}]
    rows = [{"title": "T", "context": context, **each} for each in (open_question, GOOD)]
    for content in (nested, rows):
        told: list[Omission] = []
        (task,) = load(tmp_path, content, leave_out=told.append)
        assert (asked(task), [each.kind for each in told]) == ([("What?", ("a bridge",))], [UNANSWERED])
        assert told[0].reason == "question without an answer: Who is Bo?"
        (task,) = load(tmp_path, content, keep_unanswerable=True, leave_out=told.append)
        assert asked(task) == [("Who is Bo?", (UNANSWERABLE,)), ("What?", ("a bridge",))]
        assert len(told) == 1


@pytest.mark.parametrize("as_rows", [False, True])
def test_a_passage_that_has_no_other_questions_is_told_or_kept(tmp_path: Path, as_rows: bool) -> None:
    passages = [
        (title, [{"question": f"Who {n}?", "answers": []} for n in range(count)])
        for title, count in (("A", 2), ("B", 1))
    ]
    content: list[Any] = [{"title": title, "context": "C.", "qas": qas} for title, qas in passages]
    if as_rows:
        content = [{"title": title, "context": "C.", **each} for title, qas in passages for each in qas]
    told: list[Omission] = []
    assert load(tmp_path, [*content, {"title": "D", "context": "C."}], leave_out=told.append)[0].title == "D"
    assert [each.kind for each in told].count(UNASKED) == 2
    assert [each.kind for each in told].count(UNANSWERED) == 3
    with pytest.raises(BadInput, match="no task in it: its 3 questions have no answer; --unanswerable keep takes them"):
        load(tmp_path, content)
    assert [len(task.questions) for task in load(tmp_path, content, keep_unanswerable=True)] == [2, 1]


@pytest.mark.parametrize("answer", ["", " \n", "\u200b"])
def test_an_answer_by_hand_that_is_empty_is_refused_by_its_name(tmp_path: Path, answer: str) -> None:
    question = {"question": "Who is Bo?", "answer": answer}
    for content in ([{"title": "T", "context": "C.", "questions": [GOOD, question]}], [{"context": "C.", **question}]):
        with pytest.raises(
            BadInput, match=r'answer of the question "Who is Bo\?" is empty; one without an answer has null'
        ):
            load(tmp_path, content)
    line = {"task": {"context": "C.", "questions": [question]}}
    with pytest.raises(BadInput, match=r"task\.questions\.0\.answer: is empty"):
        load(tmp_path, json.dumps(line))
    whole = {**line["task"], "id": "t", "title": "T", "domain": "qa", "questions": [{**question, "id": "q"}]}
    with pytest.raises(BadInput, match=r"task\.questions\.0\.answer: is empty"):
        load(tmp_path, json.dumps({"task": whole}))


def test_a_question_that_says_it_can_be_answered_is_not_kept_as_one_that_cannot() -> None:
    question = {"question": "Who?", "is_impossible": False, "answers": []}
    assert read_question(question, keep=False).golds == ()
    with pytest.raises(BadLine, match="a question that can be answered, without an answer: Who"):
        read_question(question, keep=True)


def test_plausible_answers_are_no_answers() -> None:
    qa = {
        "question": "Who?",
        "is_impossible": False,
        "answers": [{"text": "Ada"}],
        "plausible_answers": [{"text": "Bo"}],
    }
    assert read_question(qa, keep=False).golds == ("Ada",)


def test_gold_answers_of_a_record_are_not_empty_and_null_is_none() -> None:
    question = {"id": "q", "question": "Who?", "answer": "Ada"}
    assert Question.model_validate({**question, "other_answers": None}).golds == ("Ada",)
    for wrong in ({"answer": " "}, {"other_answers": ["she", ""]}):
        with pytest.raises(ValueError, match="is empty"):
            Question.model_validate({**question, **wrong})
