"""The record: strict, frozen, identified by content."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stages import plugins
from stages.errors import BadConfig
from stages.records.frozen import Tuple, content_id, derive_seed
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.records.schema import DERIVED, LINES, get_schemas
from stages.records.score import Score
from stages.records.task import QaTask, Question, Task, make_task
from tests.invented import a_line, a_score, a_task, an_edit

PAIR = st.tuples(st.text(max_size=3), st.text(max_size=3).map("a".__add__))


def test_an_id_depends_on_the_content_and_on_nothing_else() -> None:
    assert content_id("qa", {"b": 1, "a": 2}) == content_id("qa", {"a": 2, "b": 1})
    assert content_id("qa", "ab", "c") != content_id("qa", "a", "bc")
    assert content_id("Ada", "Velm") == "613106905d7ffade"


def test_a_seed_is_the_same_in_every_process_whatever_the_hash_seed() -> None:
    code = "from stages.records.frozen import derive_seed as d, content_id as c; print(d(1, 'x', 2), c('x'))"
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout.decode().split() == runs[1].stdout.decode().split()
    assert runs[0].stdout.decode().split() == [str(derive_seed(1, "x", 2)), content_id("x")]


def test_seeds_differ_by_run_by_record_and_by_replica() -> None:
    seeds = {derive_seed(run, name, replica) for run in (0, 1) for name in ("a", "b") for replica in range(3)}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_task_is_identified_by_its_text_not_by_its_questions_ids() -> None:
    named = make_task("Ada", "context", [("q", "a")], ["5733be28"])
    assert named.questions[0].id == "5733be28"
    assert named.id == make_task("Ada", "context", [(" q ", "a\n")]).id
    assert named.id != make_task("Ada", "context", [("q", "b")]).id


def test_gold_answers_are_kept_once_and_the_first_is_the_answer() -> None:
    task = make_task("Ada", "context", [("q", ["a", " b", "a ", "b"]), ("r", "c")])
    assert [question.golds for question in task.questions] == [("a", "b"), ("c",)]
    assert (task.questions[0].answer, task.questions[0].other_answers) == ("a", ("b",))


def test_ids_are_of_all_gold_answers_and_those_of_one_are_as_ever() -> None:
    one = make_task("Ada", "context", [("q", ["a", "a"])])
    assert one == make_task("Ada", "context", [("q", "a")])
    assert (one.id, one.questions[0].id) == ("b8a7448989dc26ee", "238ca9a3")
    several = make_task("Ada", "context", [("q", ["a", "b"])])
    assert several.id != one.id
    assert several.questions[0].id != one.questions[0].id


def test_a_line_that_names_no_other_answers_has_one() -> None:
    question = {"id": "1", "question": "q", "answer": "a"}
    assert Question.model_validate(question).golds == ("a",)


def test_a_pair_that_occurs_again_gets_a_count_behind_its_id() -> None:
    first, second, third = make_task("Ada", "context", [("q", "a")] * 3).questions
    assert (second.id, third.id) == (f"{first.id}-2", f"{first.id}-3")


@given(st.lists(st.tuples(PAIR, st.sampled_from([None, "x", "x-2", "y"])), max_size=6))
@settings(deadline=None)
def test_questions_of_a_task_never_share_an_id(questions: list[tuple[tuple[str, str], str | None]]) -> None:
    task = make_task("Ada", "context", [pair for pair, _ in questions], [known for _, known in questions])
    assert len({question.id for question in task.questions}) == len(questions)


def test_ids_and_questions_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        make_task("Ada", "context", [("q", "a")], [])


def test_a_record_cannot_be_changed() -> None:
    record = Record(task=a_task())
    with pytest.raises(ValidationError, match="frozen"):
        record.task = a_task("Bo")  # type: ignore[misc]


def test_growing_a_record_leaves_the_old_one_as_it_was() -> None:
    record = Record(task=a_task())
    grown = record.grow(edit=an_edit(record.task))
    assert (record.edit, grown.grow(edit=None)) == (None, record)
    assert grown.edit == an_edit(record.task)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"extra": 1},
        {"task": {"id": 1, "domain": "qa", "title": "t", "context": "c", "questions": []}},
        {"task": {"id": "a", "domain": "arc", "title": "t", "context": "c", "questions": []}},
        {"task": {"id": "a", "domain": "qa", "title": "t", "context": "c", "questions": "none"}},
    ],
)
def test_a_wrong_type_an_unknown_key_or_version_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Record.model_validate(Record(task=a_task()).model_dump(mode="json") | change)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5"])
def test_an_accuracy_outside_of_0_to_1_is_refused(value: Any) -> None:
    score = a_score(a_task(), [True, False]).model_dump()
    with pytest.raises(ValidationError):
        type(a_score(a_task(), [True, True])).model_validate(score | {"value": value})


def test_absent_sections_are_left_out_and_null_fields_are_kept() -> None:
    task_only = json.loads(to_json(Record(task=a_task())))
    assert list(task_only) == ["v", "task"]
    scored = json.loads(to_json(a_line(a_task(), [None, True])))
    assert list(scored) == ["v", "task", "edit", "adapter", "score"]
    assert scored["score"]["value"] is None
    assert scored["edit"]["error"] is None


def test_every_line_has_a_schema_that_names_its_fields() -> None:
    assert set(get_schemas()) == set(LINES)
    for name, kind in LINES.items():
        assert set(get_schemas()[name]["properties"]) == set(kind.model_fields)


def objects(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object that a schema describes, by its title."""
    for part in [schema, *schema.get("$defs", {}).values()]:
        yield part["title"], part


def test_every_field_of_every_line_is_described() -> None:
    for schema in get_schemas().values():
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        for title, part in objects(schema):
            texts = {name: field.get("description", "") for name, field in part["properties"].items()}
            assert all(len(text) > 7 and text.endswith(".") for text in texts.values()), (title, texts)
            assert part["description"], title


def test_a_schema_requires_what_no_reader_derives() -> None:
    for title, part in (pair for schema in get_schemas().values() for pair in objects(schema)):
        assert set(part["required"]) <= set(part["properties"])
        assert not set(part["required"]) & set(DERIVED.get(title, "").split())
    record = get_schemas()["record"]
    assert record["required"] == ["task"]
    needs = {title: part["required"] for title, part in objects(record)}
    assert (needs["QaTask"], needs["SelfEdit"], needs["Adapter"]) == (["context"], ["completion"], ["path"])


class Sums:
    class Question(Task):  # as one of ours is called
        """A task of others."""

        sums: Tuple[int]
        """What to add."""

    task_type = Question


def test_a_schema_tells_of_the_tasks_of_a_domain_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{__name__}:Sums"
    with pytest.raises(BadConfig, match=f"the domain {name} does not come with seal; give --domain {name}"):
        get_schemas([name])
    monkeypatch.setattr(plugins, "ALLOWED", {name})
    found = get_schemas([name])["record"]
    assert len(found["properties"]["task"]["oneOf"]) == 3
    (theirs,) = (part for part in found["$defs"].values() if "sums" in part.get("properties", {}))
    assert (theirs["required"], theirs["description"]) == (["id", "domain", "sums"], "A task of others.")
    assert theirs["properties"]["domain"]["const"] == name
    assert theirs["properties"]["sums"]["description"] == "What to add."
    assert found["$defs"]["stages__records__task__Question"]["required"] == ["question", "answer"]
    assert found["$defs"]["QaTask"]["required"] == ["context"]
    others = {name: schema for name, schema in get_schemas([name]).items() if name != "record"}
    assert others == {name: schema for name, schema in get_schemas().items() if name != "record"}


def test_a_title_that_json_cannot_carry_is_still_identified() -> None:
    assert content_id("half \ud83d") != content_id("half ?")
    assert isinstance(
        QaTask(id="a", domain="qa", title="t", context="c", questions=(Question(id="q", question="", answer="a"),)),
        QaTask,
    )


@pytest.mark.parametrize(
    ("value", "right"),
    [(0.5, [True, None]), (None, [True, False]), (0.4, [True, False])],
    ids=["unscored", "null", "other"],
)
def test_a_score_whose_value_is_not_its_answers_is_refused(value: float | None, right: list[bool | None]) -> None:
    answers = a_score(a_task(), [True, False]).answers
    graded = [answer.model_copy(update={"correct": correct}) for answer, correct in zip(answers, right, strict=True)]
    with pytest.raises(ValidationError, match="value must be"):
        Score(value=value, baseline=None, model="m", judge="j", answers=tuple(graded))
