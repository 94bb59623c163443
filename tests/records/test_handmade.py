"""Lines made by hand: what a section leaves out is derived from its content, and what cannot be is named at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import filter
from stages.domains.arc.domain import Arc
from stages.domains.qa import QA, TEMPLATES
from stages.errors import BadInput, BadLine
from stages.records.handmade import complete_line
from stages.records.jsonl import to_json
from stages.records.parser import parse_record, read_records
from stages.records.record import Record, SelfEdit
from stages.records.schema import LINES
from stages.records.task import make_task
from tests.invented import a_line, a_task, an_edit, plan_lines
from tests.invented_grids import MIRRORED, a_choice

QUESTIONS = [
    {"question": "Where was Ada born?", "answer": "Velm"},
    {"question": "What did Ada build? ", "answer": "a bridge"},
]
TASK = {"title": "Ada", "context": "Ada was born in Velm.", "questions": QUESTIONS}
GRIDS = {
    "train": [{"input": before, "output": after} for before, after in MIRRORED],
    "test": [{"input": [[8, 1, 2]]}],
}
WHOLE = json.loads(to_json(a_line(a_task(), [True, None])))


def read(line: dict[str, Any], *needs: Any) -> Record:
    (record,) = read_records([json.dumps(line).encode()], "f", needs)
    return record


def refusal(line: dict[str, Any], *needs: Any) -> str:
    with pytest.raises(BadInput) as caught:
        read(line, *needs)
    return str(caught.value).removeprefix("f:1: ")


def edit_of(task: dict[str, Any], **edit: Any) -> SelfEdit:
    found = read({"task": task, "edit": edit}).edit
    assert found
    return found


# ---- tasks


def test_a_task_by_hand_is_the_one_that_seal_tasks_makes() -> None:
    made = make_task("Ada", "Ada was born in Velm.", [(each["question"], each["answer"]) for each in QUESTIONS])
    assert read({"task": TASK}).task == made
    assert read({"task": {**TASK, "domain": "qa", "id": None}}).task == made


def test_ids_that_are_given_stay_and_their_text_too() -> None:
    named = {**TASK, "id": "mine", "questions": [{**QUESTIONS[0], "id": "q1"}, QUESTIONS[1]]}
    task = read({"task": named}).task
    assert task.domain == "qa"
    assert (task.id, [question.id for question in task.questions]) == ("mine", ["q1", "90026bb9"])
    assert task.questions[1].question == "What did Ada build? "


def test_further_gold_answers_by_hand_are_those_of_seal_tasks() -> None:
    pair = {"question": "Where?", "answer": "Velm ", "other_answers": ["in Velm", "Velm"]}
    task = read({"task": {"context": "C", "questions": [pair]}}).task
    assert task == make_task("", "C", [("Where?", ["Velm", "in Velm"])])
    with pytest.raises(BadInput, match=r"task\.questions\.0\.other_answers: input should be a list"):
        read({"task": {"context": "C", "questions": [{**pair, "other_answers": "in Velm"}]}})


def test_a_passage_alone_is_a_task_without_title_and_questions() -> None:
    assert read({"task": {"context": "C"}}).task == make_task("", "C", [])
    edit = an_edit(make_task("", "C", []), completion="One.")
    assert [each.completion for each in QA().make_training_set(make_task("", "C", []), edit).examples] == ["One.", "C"]


def test_grids_are_an_arc_task_whose_tests_may_lack_their_outputs() -> None:
    task = read({"task": GRIDS}).task
    assert task.domain == "arc"
    assert task.test[0].output is None
    assert task == read({"task": {**GRIDS, "test": [{"input": [[8, 1, 2]], "output": None}]}}).task
    assert task.id != read({"task": {**GRIDS, "test": [{"input": [[8, 1, 1]]}]}}).task.id
    assert read({"task": {**GRIDS, "id": "swap"}}).task.id == "swap"


# ---- self-edits


def test_a_completion_is_an_edit_with_the_prompt_that_the_default_template_asks_with() -> None:
    edit, task = edit_of(TASK, completion="Ada."), read({"task": TASK}).task
    assert (edit.sample, edit.model, edit.finish, edit.tokens, edit.sampling) == (0, "unknown", "unknown", None, {})
    assert (edit.template, edit.prompt) == ("implications", QA().edit_prompt(task, "implications", chat=False))


@pytest.mark.parametrize("template", TEMPLATES)
def test_template_and_prompt_follow_from_each_other(template: str) -> None:
    prompt = QA().edit_prompt(read({"task": TASK}).task, template, chat=False)
    assert edit_of(TASK, completion="x", template=template).prompt == prompt
    assert edit_of(TASK, completion="x", prompt=prompt).template == template


@pytest.mark.parametrize("template", ["none", "mine.txt", "/etc/passwd"])
def test_no_file_is_read_for_the_prompt_of_another_template(template: str) -> None:
    edit = edit_of(TASK, completion="x", template=template)
    assert (edit.template, edit.prompt) == (template, "")


def test_a_prompt_of_ones_own_stays() -> None:
    edit = edit_of(TASK, completion="x", prompt="Say:")
    assert (edit.template, edit.prompt) == ("custom", "Say:")
    chat = edit_of(TASK, completion="x", prompt=[{"role": "user", "content": "Say:"}])
    assert (chat.template, [turn.content for turn in chat.prompt if not isinstance(turn, str)]) == ("custom", ["Say:"])


def test_edits_have_one_id_only_where_all_that_they_say_is_the_same() -> None:
    said = [{}, {"completion": "b"}, {"sample": 1}, {"model": "m"}, {"template": "self-qa"}, {"prompt": "Say:"}]
    ids = [edit_of(TASK, **{"completion": "a", **more}).id for more in said]
    ids += [edit_of({**TASK, "title": "Bo"}, completion="a").id]
    assert len(set(ids)) == len(ids)
    assert edit_of(TASK, completion="a").id == ids[0]
    assert edit_of(TASK, completion="a", id="mine").id == "mine"


def test_an_arc_edit_is_read_as_seal_generate_reads_it() -> None:
    good, bad = a_choice("basic"), "turn it around"
    assert edit_of(GRIDS, completion=good).chosen == Arc().read_choice(good)
    broken = edit_of(GRIDS, completion=bad)
    assert (broken.chosen, broken.error) == (None, "there is no JSON object in the completion")
    assert not isinstance(broken.prompt, str)


def test_edits_by_hand_go_through_adapt_and_come_to_a_training_pair(tmp_path: Path) -> None:
    lines = [read({"task": TASK, "edit": {"completion": text}}, "edit") for text in ("It is red.", "It is old.")]
    todo = plan_lines(lines, "student", domain=QA(), out=tmp_path)
    assert len(todo) == len({piece.job.seed for piece in todo.values() if piece.job}) == 2
    scores = [{"value": 0.5}, {"value": 1, "baseline": 0.25}]
    scored = [read(json.loads(to_json(line)) | {"score": score}) for line, score in zip(lines, scores, strict=True)]
    (kept,) = filter.run(scored).examples
    assert (kept.completion, kept.value, kept.baseline) == ("It is old.", 1.0, 0.25)
    assert isinstance(kept.prompt, str) and kept.prompt.startswith("Let's read the following passage")


# ---- adapters and scores


def test_an_adapter_by_hand_names_its_base_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "student"}')
    line = read({"task": TASK, "adapter": {"path": str(tmp_path)}}, "adapter")
    assert line.adapter
    assert (line.adapter.model, line.adapter.seed, line.adapter.fault) == ("student", 0, None)
    text = json.dumps({"task": TASK, "adapter": {"path": tmp_path.name}}).encode()
    (beside,) = read_records([text], str(tmp_path.parent / "adapters.jsonl"))
    assert beside.adapter
    assert beside.adapter.model == "student"
    gone = read({"task": TASK, "adapter": {"path": str(tmp_path / "gone")}}).adapter
    assert gone
    assert gone.model == "unknown"


@pytest.mark.parametrize("changed", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_that_is_trained_anew_into_its_directory_is_another(tmp_path: Path, changed: str) -> None:
    def told() -> str:
        line = read({"task": TASK, "adapter": {"path": str(tmp_path)}}, "adapter")
        assert line.adapter
        return line.adapter.id

    (tmp_path / "adapter_config.json").write_text('{"r": 4}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"one")
    first = told()
    assert told() == first
    (tmp_path / changed).write_text('{"r": 8}')
    assert told() != first


def test_one_adapter_on_many_lines_has_an_id_on_each() -> None:
    tasks = [TASK, {**TASK, "title": "Bo"}]
    lines = [{"task": task, "edit": {"completion": text}} for task in tasks for text in "ab"]
    bare = [{"task": task} for task in tasks]
    ids = [read({**line, "adapter": {"path": "p"}}).adapter for line in (*lines, *bare)]
    assert len({adapter.id for adapter in ids if adapter}) == 6


@pytest.mark.parametrize("before", [[True, True], [True, None]])
def test_a_baseline_that_its_answers_contradict_is_refused(before: list[bool | None]) -> None:
    answers = [{"id": str(place), "correct": True, "baseline_correct": each} for place, each in enumerate(before)]
    with pytest.raises(BadInput, match="baseline must be the share of right baseline answers"):
        read({"task": TASK, "score": {"baseline": 0.5, "answers": answers}}, "score")


def test_a_baseline_by_hand_beside_answers_of_the_adapter_alone_counts_as_written() -> None:
    answers = [{"id": "1", "correct": True}, {"id": "2", "correct": False}]
    edit = {"completion": "It is red."}
    line = read({"task": TASK, "edit": edit, "score": {"baseline": 0.4, "answers": answers}}, "score")
    (kept,) = filter.run([line], keep=filter.KeepRule("gain")).examples
    assert (kept.value, kept.baseline) == (0.5, 0.4)


def test_an_adapter_that_failed_elsewhere_is_unscored_unless_the_line_says_whose_fault_it_is() -> None:
    failed = read({"task": TASK, "adapter": {"error": "out of memory", "model": "m"}}).adapter
    assert failed
    assert (failed.path, failed.fault) == (None, "training")
    theirs = read({"task": TASK, "adapter": {"error": "unreadable", "fault": "edit"}}).adapter
    assert theirs
    assert theirs.fault == "edit"


def test_a_score_by_hand_is_its_value_or_what_its_answers_come_to() -> None:
    alone = read({"task": TASK, "score": {"value": 0.5}}).score
    assert alone
    assert (alone.value, alone.bounds, alone.baseline, alone.judge) == (0.5, (0.5, 0.5), None, "unknown")
    answers = [{"id": "a", "prediction": "x", "correct": True}, {"id": "b", "prediction": "y"}]
    graded = read({"task": TASK, "score": {"answers": answers}}).score
    assert graded
    assert (graded.value, graded.bounds) == (None, (0.5, 1.0))


# ---- what cannot be derived


@pytest.mark.parametrize(
    ("line", "needs", "words"),
    [
        ({"task": TASK, "edit": {"text": "x"}}, ["edit"], "edit.completion: field required, made by `seal"),
        ({"task": TASK, "edit": {"text": "x"}}, ["edit"], "edit.text: extra inputs are not permitted; put"),
        ({"task": TASK, "edit": {"text": "x"}}, ["edit"], "required, made by `seal generate` (found {"),
        ({"task": {"title": "x"}}, [], 'task: needs context and questions, or train and test (ARC) (found {"title"'),
        ({"task": {"questions": [{"question": "q"}, {}]}}, [], "task.context: field required"),
        ({"task": {"questions": [{"question": "q"}, {}]}}, [], "task.questions.0.answer: field required"),
        ({"task": {"questions": [{"question": "q"}, {}]}}, [], "task.questions.1.question: field required, made"),
        ({"task": {"context": "c", "questions": [{}]}}, [], ", also task.questions.0.answer"),
        ({"task": TASK, "adapter": {}}, [], "adapter.path: field required"),
        ({"task": TASK, "score": {}}, [], "score.value: field required"),
        ({"task": TASK, "edit": {}, "adapter": {}, "score": {}}, [], "score.value: field required, made by `seal eva"),
        ({"task": {"context": 3}}, ["edit"], "(found 3); no edit (run `seal generate` first)"),
        ({"task": TASK}, ["edit", "score"], "no edit (run `seal generate` first), no score (run `seal eval` first)"),
        ({"task": [], "edit": {"completion": "x"}}, [], "task: input should be a valid dictionary or object"),
        ({"task": {**TASK, "questions": "x"}}, [], 'task.questions: input should be a list (found "x")'),
        ({"task": {**TASK, "train": []}}, [], "task: needs context and questions, or train and test (ARC)"),
    ],
)  # fmt: skip
def test_all_that_is_missing_is_named_at_once_with_the_stage_that_makes_it(
    line: dict[str, Any], needs: list[str], words: str
) -> None:
    assert words in refusal(line, *needs)


def test_what_could_be_derived_is_never_said_to_be_missing() -> None:
    told = refusal({"task": {"context": 1}, "edit": {}, "adapter": {}, "score": {}})
    told += refusal({"task": [], "edit": {}, "adapter": {}, "score": {}})
    for field in (
        "id",
        "sample",
        "model",
        "template",
        "prompt",
        "finish",
        "tokens",
        "sampling",
        "seed",
        "fit",
        "judge",
    ):
        assert f".{field}" not in told.replace("edit.completion", "")


# ---- any line


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


@given(st.lists(st.sampled_from(places(WHOLE)[1:]), max_size=8), st.none() | st.integers() | st.just("x") | st.just([]))
@settings(deadline=None)
def test_whatever_is_gone_from_a_line_it_is_completed_for_good_or_refused(paths: list[Any], put: Any) -> None:
    line = json.loads(json.dumps(WHOLE))
    for *way, last in paths:
        holder = line
        for key in way:
            holder = holder[key] if isinstance(holder, dict) and key in holder else None
        if isinstance(holder, dict) and last in holder:
            holder.pop(last) if put is None else holder.__setitem__(last, put)
    try:
        record = parse_record(line)
    except BadLine:
        return
    again = json.loads(to_json(record))
    assert parse_record(again) == record == LINES["record"].model_validate_json(to_json(record))


def test_a_line_of_ours_passes_as_it_is() -> None:
    assert complete_line(WHOLE) == WHOLE
    assert complete_line({"a": 1}) == {"a": 1}
