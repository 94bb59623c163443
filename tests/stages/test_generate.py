"""task → edit, with an engine that answers out of order."""

import pytest

from stages import generate
from stages.domains.qa import NO_EDIT, QA
from stages.engines.base import Request, Sampling
from stages.failures import BadConfig, BadInput
from stages.generate import Writing
from stages.records import Record, derive_seed
from tests.stages.invented import Backwards, Lost, a_task

ADA, BO = Record(task=a_task("Ada")), Record(task=a_task("Bo"))


def name_and_sample(request: Request) -> str:
    return f"{'Ada' if 'Ada' in str(request.prompt) else 'Bo'} {request.id[-1]}"


def test_samples_leave_as_they_come_and_belong_to_their_tasks() -> None:
    records = generate.run([ADA, BO], Backwards(name_and_sample, "editor"), Writing(QA(), samples=3))
    edits = [(record.task.title, record.edit.sample, record.edit.completion) for record in records if record.edit]
    assert edits == [(name, sample, f"{name} {sample}") for name in ("Bo", "Ada") for sample in (2, 1, 0)]


def one_is_lost(request: Request) -> str:
    if request.id.endswith("/1"):
        raise Lost("timeout: no answer within 5 s")
    return "a line"


def test_a_completion_that_never_came_is_told_on_its_line_and_asked_for_again() -> None:
    plan = generate.plan([ADA], samples=3)
    records = {
        record.edit.sample: record
        for record in generate.run([ADA], Backwards(one_is_lost), Writing(QA(), samples=3))
        if record.edit
    }
    lost = records[1].edit
    assert lost is not None
    assert (lost.completion, lost.finish, lost.tokens) == ("", "failed", None)
    assert lost.error == "timeout: no answer within 5 s"
    assert [plan.intact(records[sample]) for sample in range(3)] == [True, False, True]


def test_an_edit_says_who_wrote_it_and_how_it_was_asked() -> None:
    sampling = Sampling(temperature=0.5, max_tokens=9, seed=4)
    (record,) = generate.run([ADA], Backwards(name_and_sample, "editor"), Writing(QA(), samples=1, sampling=sampling))
    edit = record.edit
    assert edit is not None
    assert (edit.model, edit.template, edit.finish, edit.tokens) == ("editor", "implications", "stop", 3)
    assert edit.prompt == QA().edit_prompt(ADA.task, "implications", chat=False)
    assert edit.sampling == {
        "temperature": 0.5,
        "top_p": 0.95,
        "max_tokens": 9,
        "seed": derive_seed(4, ADA.task.id, 0),
    }


def test_lines_of_the_same_task_count_once() -> None:
    records = list(generate.run([ADA, BO, ADA], Backwards(name_and_sample), Writing(QA(), samples=2)))
    assert [record.task.title for record in records] == ["Bo", "Bo", "Ada", "Ada"]


def test_two_different_tasks_with_one_id_are_refused() -> None:
    other = Record(task=BO.task.model_copy(update={"id": ADA.task.id}))
    words = f"two different tasks have the id {ADA.task.id}; give each its own"
    with pytest.raises(BadInput, match=words):
        generate.plan([ADA, other], samples=2)
    with pytest.raises(BadInput, match=words):
        list(generate.run([ADA, other], Backwards(name_and_sample), Writing(QA())))
    with pytest.raises(BadInput, match=words):
        list(generate.by_hand([ADA, ADA, other], QA(), NO_EDIT, ""))


def test_every_sample_has_its_own_seed_and_other_tasks_do_not_change_it() -> None:
    alone, beside = Backwards(name_and_sample), Backwards(name_and_sample)
    list(generate.run([ADA], alone, Writing(QA())))
    list(generate.run([BO, ADA], beside, Writing(QA())))
    seeds = {request.id: request.sampling.seed for request in beside.asked}
    assert len(set(seeds.values())) == 10
    assert {request.id: request.sampling.seed for request in alone.asked}.items() <= seeds.items()


def test_equal_completions_of_two_samples_are_two_edits() -> None:
    records = generate.run([ADA], Backwards(lambda _: "the same"), Writing(QA(), samples=2))
    assert len({record.edit.id for record in records if record.edit}) == 2


def test_a_chat_prompt_is_kept_as_messages() -> None:
    (record,) = generate.run([ADA], Backwards(name_and_sample), Writing(QA(), samples=1, chat=True))
    assert record.edit is not None
    assert [message.role for message in record.edit.prompt if not isinstance(message, str)] == ["system", "user"]


def test_the_passage_only_baseline_is_one_empty_edit_per_task() -> None:
    records = list(generate.by_hand([ADA, ADA, BO], QA(), NO_EDIT, ""))
    assert [(record.task.title, record.edit.completion) for record in records if record.edit] == [
        ("Ada", ""),
        ("Bo", ""),
    ]
    assert {record.edit.template for record in records if record.edit} == {NO_EDIT}


def test_an_unknown_template_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(BadConfig, match="--template implied: unknown; take one of implications"):
        generate.check_template([ADA], Writing(QA(), "implied"))
    generate.check_template([ADA], Writing(QA(), "rewrite"))
    generate.check_template([], Writing(QA(), "anything"))
