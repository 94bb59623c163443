"""adapter → score, with an engine that answers the last question first and a judge that leaves some unscored."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stages import eval as stage
from stages import filter as keeping
from stages.domains.qa import QA
from stages.errors import BadInput
from stages.fingerprints import fingerprint_folder
from stages.interfaces import Completion, NullProgress, Progress, Request
from stages.judges.base import Case, Verdict
from stages.judges.exact import ExactJudge
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.records.task import make_task
from stages.scoring.grading import get_owner_id
from tests.invented import Backwards, Lost, Notes, a_task, an_adapter, an_edit, numbered
from tests.stages.test_versions import an_adapter as write_adapter

GOLD = {"Where was Ada born?": "Velm", "What did Ada build?": "a bridge"}


class Unsure:
    """Leaves unscored whatever contains "hm"."""

    name = "unsure"

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            self.cases.append(case)
            yield Verdict(None, "timeout") if "hm" in case.prediction else Verdict(case.prediction == case.gold)


def student(request: Request) -> str:
    """Knows Velm once adapted, and the bridge always."""
    if "born" in str(request.prompt):
        return "Velm" if request.adapter else "in a town"
    return "a bridge"


def adapted(seed: int = 0, sample: int = 0, **lost: str) -> Record:
    task = a_task()
    edit = an_edit(task, sample)
    return Record(task=task, edit=edit, adapter=an_adapter(edit, seed, **lost))


def test_an_adapter_is_scored_beside_the_model_as_it_was() -> None:
    (record,) = stage.run([adapted()], Backwards(student), domain=QA(), judge=ExactJudge())
    score = record.score
    assert score is not None
    assert (score.value, score.baseline, score.model, score.judge) == (1.0, 0.5, "student", "exact")
    first = score.answers[0]
    assert (first.prediction, first.correct, first.baseline_prediction, first.baseline_correct) == (
        *("Velm", True),
        *("in a town", False),
    )


def test_the_baseline_is_asked_once_however_many_adapters_a_task_has() -> None:
    engine = Backwards(student)
    lines = [adapted(seed, sample) for sample in range(2) for seed in range(3)]
    records = list(stage.run(lines, engine, domain=QA(), judge=ExactJudge()))
    assert {get_owner_id(record) for record in records} == {get_owner_id(line) for line in lines}
    assert sum(request.adapter is None for request in engine.asked) == 2
    assert len(engine.asked) == 2 + 6 * 2


def test_a_line_without_an_adapter_is_the_model_as_it_is() -> None:
    (record,) = stage.run([Record(task=a_task())], Backwards(student), domain=QA(), judge=ExactJudge())
    assert record.score is not None
    assert (record.score.value, record.score.baseline) == (0.5, None)
    assert [answer.baseline_correct for answer in record.score.answers] == [None, None]


def test_questions_are_asked_greedily_and_without_the_passage() -> None:
    engine = Backwards(student)
    list(stage.run([Record(task=a_task())], engine, domain=QA(), judge=ExactJudge()))
    assert {(request.sampling.temperature, request.sampling.max_tokens) for request in engine.asked} == {(0.0, 64)}
    assert not any(a_task().context in str(request.prompt) for request in engine.asked)
    list(stage.run([Record(task=a_task())], engine, domain=QA(), judge=ExactJudge(), in_context=True))
    assert all(a_task().context in str(request.prompt) for request in engine.asked[2:])


def test_one_unscored_answer_leaves_the_value_open_and_filter_leaves_the_edit_out() -> None:
    def doubtful(request: Request) -> str:
        return "hm" if request.adapter and "born" in str(request.prompt) else "a bridge"

    records = list(stage.run([adapted()], Backwards(doubtful), domain=QA(), judge=Unsure()))
    score = records[0].score
    assert score is not None
    assert (score.value, score.baseline) == (None, 0.5)
    assert [(answer.correct, answer.reason) for answer in score.answers] == [(None, "timeout"), (True, None)]
    filtered = keeping.run(records)
    assert (filtered.examples, filtered.summary.unscored) == ((), 1)


def test_an_empty_answer_is_wrong_without_asking_the_judge() -> None:
    judge = Unsure()
    engine = Backwards(lambda request: " \n" if "born" in str(request.prompt) else "a bridge")
    (record,) = stage.run([Record(task=a_task())], engine, domain=QA(), judge=judge)
    assert record.score is not None
    answers = [(answer.correct, answer.reason) for answer in record.score.answers]
    assert answers == [(False, "empty answer"), (True, None)]
    assert [case.prediction for case in judge.cases] == ["a bridge"]


def test_an_unreadable_edit_is_worth_nothing() -> None:
    (record,) = stage.run([adapted(fault="edit")], Backwards(student), domain=QA(), judge=ExactJudge())
    assert record.score is not None
    assert (record.score.value, record.score.baseline) == (0.0, 0.5)
    assert {(a.prediction, a.correct, a.reason) for a in record.score.answers} == {(None, False, "the edit failed")}


def test_a_failed_training_is_unscored() -> None:
    (record,) = stage.run([adapted(fault="training")], Backwards(student), domain=QA(), judge=ExactJudge())
    assert record.score is not None
    assert (record.score.value, record.score.baseline) == (None, 0.5)
    assert {(a.correct, a.reason) for a in record.score.answers} == {(None, "the training failed")}


def test_answers_belong_to_their_questions_however_they_arrive() -> None:
    lines = [Record(task=numbered(title, 7)) for title in ("Ada", "Bo")]
    engine = Backwards(lambda request: str(request.prompt).split("Question ")[1].split(" about")[0])
    for record in stage.run(lines, engine, domain=QA(), judge=ExactJudge()):
        assert record.score is not None
        assert [answer.prediction for answer in record.score.answers] == [str(n) for n in range(7)]


def test_every_question_is_judged_with_its_own_gold_answer() -> None:
    judge = Unsure()
    list(stage.run([adapted()], Backwards(student), domain=QA(), judge=judge))
    assert {case.question: case.gold for case in judge.cases} == GOLD


def test_an_answer_that_the_engine_failed_to_give_is_unscored_and_asked_for_again() -> None:
    def shaky(request: Request) -> str:
        if request.adapter and "born" in str(request.prompt):
            raise Lost("api_error: status 500")
        return student(request)

    judge = Unsure()
    lines = [adapted(), adapted(1, fault="edit"), Record(task=a_task("Bo"))]
    plan = stage.plan(lines)
    records = {get_owner_id(record): record for record in stage.run(lines, Backwards(shaky), domain=QA(), judge=judge)}
    first, unreadable, plain = (records[get_owner_id(line)] for line in lines)
    assert first.score is not None
    assert (first.score.value, first.score.bounds, first.score.baseline) == (None, (0.5, 1.0), 0.5)
    answer = first.score.answers[0]
    assert (answer.prediction, answer.correct, answer.reason) == (None, None, "api_error: status 500")
    assert all(case.prediction for case in judge.cases)
    assert [plan.still_valid(line) for line in (first, unreadable, plain)] == [False, True, True]


def test_lines_of_a_task_are_kin_and_no_others() -> None:
    plan = stage.plan([adapted(), adapted(1), Record(task=a_task("Bo"))])
    assert plan.kin_of
    assert [plan.kin_of(key) for key in plan.wanted] == [a_task().id, a_task().id, a_task("Bo").id]


def test_a_line_whose_plain_answers_failed_is_made_again() -> None:
    def shaky(request: Request) -> str:
        if request.adapter is None:
            raise Lost("timeout")
        return student(request)

    (record,) = stage.run([adapted()], Backwards(shaky), domain=QA(), judge=ExactJudge())
    assert record.score is not None
    assert (record.score.value, record.score.baseline) == (1.0, None)
    assert not stage.plan([adapted()]).still_valid(record)


def test_a_score_names_the_files_of_its_adapter_and_is_made_again_for_others(tmp_path: Path) -> None:
    place = write_adapter(tmp_path / "one")
    line = adapted(path=str(place))
    elsewhere, plain = adapted(1, path="adapters/on-a-server"), Record(task=a_task("Bo"))
    made = list(stage.run([line, elsewhere, plain], Backwards(student), domain=QA(), judge=ExactJudge()))
    first, *others = sorted(made, key=lambda each: [line, elsewhere, plain].index(each.grow(score=None)))
    assert first.score is not None
    assert first.score.fingerprint == fingerprint_folder(place)
    assert ['"fingerprint"' in to_json(each) for each in (first, *others)] == [True, False, False]
    assert [stage.plan([line]).still_valid(each) for each in made] == [True] * 3
    (place / "adapter_model.safetensors").write_bytes(b"other")
    assert [stage.plan([line]).still_valid(each) for each in (first, *others)] == [False, True, True]
    shutil.rmtree(place)
    assert stage.plan([line]).still_valid(first), "what is gone is no other adapter"


def test_an_adapter_that_is_changed_while_it_is_asked_is_an_error(tmp_path: Path) -> None:
    place = write_adapter(tmp_path / "one")

    def meddle(request: Request) -> str:
        (place / "adapter_model.safetensors").write_bytes(b"other")
        return student(request)

    with pytest.raises(BadInput, match="one: its files were changed while it was asked; run the same command again"):
        list(stage.run([adapted(path=str(place))], Backwards(meddle), domain=QA(), judge=ExactJudge()))


def test_a_line_leaves_as_soon_as_its_own_answers_are_there() -> None:
    lines = [adapted(seed) for seed in range(3)] + [Record(task=a_task("Bo"))]
    engine = Backwards(student)
    first = next(stage.run(lines, engine, domain=QA(), judge=ExactJudge()))
    assert first.task.title == "Bo"


def with_ids(task_id: str, *question_ids: str) -> Record:
    task = a_task(task_id)
    questions = (q.model_copy(update={"id": i}) for q, i in zip(task.questions, question_ids, strict=False))
    return Record(task=task.model_copy(update={"id": task_id, "questions": tuple(questions)}))


def test_ids_may_hold_whatever_people_like() -> None:
    lines = [
        with_ids("a", "b/c", "d"),
        with_ids("a/b", "c", "x"),
        with_ids("n\n\nn", "\n", "/"),
        with_ids("é" * 999, "", "'"),
    ]
    records = list(stage.run(lines, Backwards(student), domain=QA(), judge=ExactJudge()))
    assert {record.task.id for record in records} == {line.task.id for line in lines}
    assert all(record.score and record.score.value == 0.5 for record in records)


def test_a_task_and_its_adapter_may_have_the_same_id() -> None:
    line = adapted()
    assert line.adapter is not None
    twin = line.grow(adapter=line.adapter.model_copy(update={"id": line.task.id}))
    (record,) = stage.run([twin], Backwards(student), domain=QA(), judge=ExactJudge())
    assert record.score is not None
    assert (record.score.value, record.score.baseline) == (1.0, 0.5)


def known_line(before: str | None, correct: bool | None) -> Record:
    """A finished line of another seed, with these answers of the plain model."""
    (line,) = stage.run([adapted(seed=9)], Backwards(student), domain=QA(), judge=ExactJudge())
    assert line.score is not None
    update = {"baseline_prediction": before, "baseline_correct": correct}
    answers = tuple(answer.model_copy(update=update) for answer in line.score.answers)
    return line.grow(score=line.score.model_copy(update={"answers": answers, "baseline": None}))


@pytest.mark.parametrize("before", [None, "in a town"])
def test_a_baseline_that_the_engine_failed_to_give_or_the_judge_to_score_is_asked_again(before: str | None) -> None:
    engine = Backwards(student)
    (record,) = stage.run([adapted()], engine, domain=QA(), judge=ExactJudge(), known=[known_line(before, None)])
    assert record.score is not None
    assert record.score.baseline == 0.5
    assert sum(request.adapter is None for request in engine.asked) == 2


def check(*lines: Record) -> None:
    scorable = stage.Scorable(QA())
    for line in lines:
        scorable(line)


def refusal(*lines: Record) -> str:
    with pytest.raises(BadInput) as caught:
        check(*lines)
    return str(caught.value)


def test_lines_that_cannot_be_scored_name_what_is_missing() -> None:
    task, edit = a_task(), an_edit(a_task())
    assert refusal(Record(task=task, edit=edit)) == "task 'Ada' has an edit but no adapter (run `seal adapt` first)"
    assert refusal(Record(task=a_task(pairs=[]))) == "task 'Ada' has no questions; `seal eval` needs at least one"
    imported = an_adapter(edit, path=None)
    assert refusal(Record(task=task, edit=edit, adapter=imported)) == (
        f"adapter {imported.id} was imported without its weights (run `seal adapt` first)"
    )


def test_lines_that_would_count_twice_are_refused() -> None:
    bare, line = Record(task=a_task()), adapted()
    assert line.adapter is not None
    assert refusal(bare, bare) == f"task {bare.task.id} occurs twice; each line must be another"
    assert refusal(line, line) == f"adapter {line.adapter.id} occurs twice; each line must be another"
    check(bare, line, adapted(seed=1))


def test_two_questions_with_one_id_are_refused() -> None:
    task = make_task("Ada", "context", [("q", "a"), ("r", "b")])
    twins = task.model_copy(update={"questions": tuple(q.model_copy(update={"id": "x"}) for q in task.questions)})
    assert refusal(Record(task=twins)) == "task 'Ada' has two questions with one id; give each its own"


def test_two_different_tasks_of_one_id_are_refused() -> None:
    first = a_task()
    other = first.model_copy(update={"title": "Somebody else"})
    with pytest.raises(BadInput, match=f"two different tasks have the id {first.id}; give each its own"):
        check(Record(task=first), Record(task=other))


def test_an_engine_that_leaves_a_question_out_ends_the_run() -> None:
    class Forgetful(Backwards):
        def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
            yield from list(super().sample(requests, progress))[1:]

    with pytest.raises(RuntimeError, match="the engine gave no completion for 1 requests, the first is "):
        list(stage.run([adapted()], Forgetful(student), domain=QA(), judge=ExactJudge()))


# ---- thoughts


def thinker(request: Request) -> str:
    """Thinks; about the bridge without an end where it is adapted."""
    if "born" in str(request.prompt):
        return "<think>\na town? No: hm.\n</think>\n\nVelm"
    return "<think>\na bridge?" if request.adapter else "hm.\n</think>\na bridge"


def test_what_is_graded_stands_behind_the_thought_and_the_line_keeps_both() -> None:
    judge = Unsure()
    (record,) = stage.run([Record(task=a_task())], Backwards(thinker), domain=QA(), judge=ExactJudge())
    list(stage.run([Record(task=a_task())], Backwards(thinker), domain=QA(), judge=judge))
    assert record.score is not None
    assert [(answer.correct, answer.prediction) for answer in record.score.answers] == [
        (True, "<think>\na town? No: hm.\n</think>\n\nVelm"),
        (True, "hm.\n</think>\na bridge"),
    ]
    assert {case.prediction.strip() for case in judge.cases} == {"Velm", "a bridge"}


def test_an_answer_that_ends_within_its_thought_is_unscored_and_stays_so() -> None:
    (record,) = stage.run([adapted()], Backwards(thinker), domain=QA(), judge=ExactJudge())
    score = record.score
    assert score is not None
    assert (score.value, score.bounds, score.baseline) == (None, (0.5, 1.0), 1.0)
    assert (score.answers[1].prediction, score.answers[1].reason) == (
        "<think>\na bridge?",
        "the model ended within its thought",
    )
    assert stage.is_answered(record)  # the same command asks no more for it: it would think as long again
    assert keeping.run([record]).summary.unscored == 1


@pytest.mark.parametrize("finish", ["length", "unknown"])
def test_a_thought_up_to_the_last_token_says_which_flag_gives_more(finish: str) -> None:
    cut = [Completion(str(n), "<think>\nSo", finish, 64) for n in range(2)]  # type: ignore[arg-type]
    items = [reply.item for reply in QA().make_answers(a_task(), cut, in_context=False)]
    assert items == [Verdict(None, "the model thought until --max-tokens; take more of them")] * 2


def test_nothing_behind_a_thought_is_an_empty_answer_and_wrong() -> None:
    engine = Backwards(lambda request: "<think>\nVelm, a bridge\n</think>\n\n")
    (record,) = stage.run([Record(task=a_task())], engine, domain=QA(), judge=ExactJudge())
    assert record.score is not None
    assert [(answer.correct, answer.reason) for answer in record.score.answers] == [(False, "empty answer")] * 2


def test_answers_that_are_cut_off_are_graded_as_they_are_and_counted() -> None:
    class Short(Backwards):
        def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
            for each in super().sample(requests, progress):
                yield replace(each, finish="length") if each.text == "a bridge" else each

    progress = Notes()
    (record,) = stage.run([adapted()], Short(student), domain=QA(), judge=ExactJudge(), progress=progress)
    assert record.score is not None
    assert record.score.value == 1.0
    assert progress.notes == ["2 of 4 answers were cut off at --max-tokens"]
    silent = Notes()
    list(stage.run([adapted()], Backwards(student), domain=QA(), judge=ExactJudge(), progress=silent))
    assert silent.notes == []
