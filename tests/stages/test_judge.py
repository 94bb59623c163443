"""score → score: stored answers graded again."""

from collections.abc import Iterable

import pytest

from stages import judge as stage
from stages.errors import BadInput
from stages.interfaces import NullProgress, Unit
from stages.judges.base import Case, Verdict
from stages.judges.exact import ExactJudge
from stages.records.record import Record
from stages.records.score import Answer, Score, make_score
from stages.records.thoughts import CUT_OFF
from tests.invented import a_line, a_task, an_adapter, an_edit
from tests.stages.test_eval import Unsure


def answered(*said: str | None, plain: tuple[str | None, ...] = (), fault: str | None = None, seed: int = 0) -> Record:
    """A line whose answers were all taken as right by a careless judge."""
    task, edit = a_task(), an_edit(a_task())
    answers = [
        Answer(
            id=question.id,
            prediction=text,
            correct=(text is not None) or (False if fault == "edit" else None),
            reason=None if text is not None else "the reason of old",
            baseline_prediction=before,
            baseline_correct=None if before is None else True,
        )
        for question, text, before in zip(task.questions, said, plain or (None,) * len(said), strict=True)
    ]
    adapter = an_adapter(edit, seed, fault=fault)
    return Record(task=task, edit=edit, adapter=adapter, score=make_score(answers, model="student", judge="careless"))


def regraded(*lines: Record) -> list[Score]:
    return [line.score for line in stage.run(lines, ExactJudge()) if line.score]


def test_answers_and_those_of_the_plain_model_get_the_other_judges_verdicts() -> None:
    (score,) = regraded(answered("Velm", "a house", plain=("a town", "a bridge")))
    assert [(answer.correct, answer.baseline_correct) for answer in score.answers] == [(True, False), (False, True)]
    assert (score.value, score.baseline, score.bounds, score.judge) == (0.5, 0.5, (0.5, 0.5), "exact")
    assert score.model == "student"


def test_what_was_said_stays_word_for_word() -> None:
    line = answered(" Velm \n", "", plain=("a town", ""))
    (score,) = regraded(line)
    assert line.score is not None
    before = [(answer.id, answer.prediction, answer.baseline_prediction) for answer in line.score.answers]
    assert [(answer.id, answer.prediction, answer.baseline_prediction) for answer in score.answers] == before


def test_an_answer_that_was_never_given_keeps_its_verdict() -> None:
    unusable, lost = regraded(answered(None, None, fault="edit"), answered(None, "Velm", seed=1))
    assert (unusable.value, [answer.reason for answer in unusable.answers]) == (0.0, ["the reason of old"] * 2)
    assert lost.value is None
    assert [(answer.correct, answer.reason) for answer in lost.answers] == [(None, "the reason of old"), (False, None)]


def test_an_empty_answer_is_wrong_without_asking() -> None:
    judge = Unsure()
    (line,) = stage.run([answered("", "hm")], judge)
    assert line.score is not None
    assert [answer.correct for answer in line.score.answers] == [False, None]
    assert [case.prediction for case in judge.cases] == ["hm"]


def test_the_same_answer_is_asked_once_however_many_lines_have_it() -> None:
    judge = Unsure()
    lines = [answered("Velm", "a bridge", plain=("a town", "a bridge"), seed=seed) for seed in range(5)]
    assert len(list(stage.run(lines, judge))) == 5
    assert len(judge.cases) == 3
    assert list(stage.all_cases(lines)) == [
        Case(question.question, question.answer, text)
        for question, text in zip(
            [*a_task().questions, a_task().questions[0]], ["Velm", "a bridge", "a town"], strict=True
        )
    ]


def test_what_a_judge_could_not_grade_is_graded_again() -> None:
    lines = [answered("Velm", "hm"), answered("Velm", "a bridge", seed=1), answered(None, "Velm", seed=2)]
    plan = stage.plan(lines)
    made = list(stage.run(lines, Unsure()))
    assert all(map(plan.contains, made))
    assert [plan.still_valid(line) for line in made] == [False, True, True]
    plain = next(iter(stage.run([answered("Velm", "Velm", plain=("hm", "x"))], Unsure())))
    assert not plan.still_valid(plain)


def test_other_answers_of_the_same_adapter_are_another_line() -> None:
    first, second = stage.plan([answered("Velm", "x")]), answered("Velm", "y")
    assert not first.contains(second)
    assert first.contains(answered("Velm", "x"))


def test_the_same_answers_of_other_files_of_the_adapter_are_another_line_and_keep_their_fingerprint() -> None:
    line = answered("Velm", "x")
    assert line.score is not None
    one, other = (line.grow(score=line.score.model_copy(update={"fingerprint": each})) for each in "ab")
    assert [stage.plan([one]).contains(each) for each in (one, other, line)] == [True, False, False]
    (made,) = stage.run([one], Unsure())
    assert made.score is not None
    assert made.score.fingerprint == "a"


def test_the_verdicts_of_old_do_not_make_another_line() -> None:
    line = a_line(a_task(), [True, False])
    assert stage.plan([line]).contains(a_line(a_task(), [False, None]))


def check(lines: Iterable[Record]) -> None:
    gradable = stage.Gradable()
    for line in lines:
        gradable(line)


def refusal(*lines: Record) -> str:
    with pytest.raises(BadInput) as caught:
        check(lines)
    return str(caught.value)


def test_lines_that_cannot_be_graded_name_why() -> None:
    task = a_task()
    mean = Score(value=0.5, baseline=None, model="m", judge="j", answers=())
    assert refusal(Record(task=task, score=mean)) == (
        f"task {task.id}: its score is a mean without answers; there is nothing to grade"
    )
    line = answered("Velm", "x")
    assert refusal(line, line).endswith("occurs twice; each line must be another")
    strange = line.grow(task=a_task(pairs=[("Another question?", "Velm"), ("And one more?", "x")]))
    assert "which is none of its questions" in refusal(strange)
    assert line.score
    fewer = line.score.model_copy(update={"answers": line.score.answers[:1]})
    assert "no answer to " in refusal(line.grow(score=fewer))
    assert refusal(Record(task=task)) == f"task {task.id} has no score (run `seal eval` first)"


def test_a_verdict_is_never_taken_from_the_old_judge_where_there_is_an_answer() -> None:
    class Silent:
        name = "silent"

        def grade(self, cases):  # type: ignore[no-untyped-def]
            return (Verdict(None, "timeout") for _ in cases)

    (line,) = stage.run([answered("Velm", "a bridge", plain=("Velm", "x"))], Silent())
    assert line.score is not None
    assert [(answer.correct, answer.baseline_correct) for answer in line.score.answers] == [(None, None)] * 2
    assert (line.score.value, line.score.bounds) == (None, (0.0, 1.0))


def test_a_baseline_that_was_never_given_stays_without_a_verdict() -> None:
    (score,) = regraded(answered("Velm", "x"))
    assert [answer.baseline_correct for answer in score.answers] == [None, None]
    assert score.baseline is None


def test_what_was_never_said_cannot_be_right() -> None:
    line = answered(None, "Velm", fault="edit")
    assert line.score is not None
    first, second = line.score.answers
    lying = make_score((first.model_copy(update={"correct": True}), second), model="m", judge="j")
    words = "an answer that was never given is graded as right"
    assert words in refusal(line.grow(score=lying))
    lying = make_score((first.model_copy(update={"baseline_correct": True}), second), model="m", judge="j")
    assert words in refusal(line.grow(score=lying))


class Keeping(ExactJudge):
    """Knows its verdict on every answer but one."""

    def get_cached(self, case: Case) -> bool | None:
        return None if case.prediction == "a house" else True


class Counting(NullProgress):
    """What is expected, and what of it is done."""

    def __init__(self) -> None:
        self.expected, self.done = list[tuple[int, str]](), 0

    def expect(self, amount: int, unit: Unit = "tokens", *, steps: int = 0) -> None:
        self.expected.append((amount, unit))

    def advance(self, amount: int) -> None:
        self.done += amount


@pytest.mark.parametrize(("judge", "verdicts"), [(ExactJudge(), 4), (Keeping(), 1)])
def test_the_work_is_counted_in_verdicts_that_are_not_known_already(judge: ExactJudge, verdicts: int) -> None:
    progress = Counting()
    list(stage.run([answered("Velm", "a house", plain=("a town", "a bridge"))], judge, progress=progress))
    assert (progress.expected, progress.done) == ([(verdicts, "verdicts")], verdicts)


def test_self_edits_by_hand_without_an_adapter_are_lines_of_their_own() -> None:
    lines = [a_line(a_task(), [True, False], sample=sample).grow(adapter=None) for sample in (0, 1)]
    check(lines)
    assert len({stage.key_of(line) for line in lines}) == 2


def test_thoughts_are_cut_from_stored_answers_and_one_without_an_end_is_unscored() -> None:
    line = answered(
        "<think>\nhm\n</think>\n\nVelm", "<think>\na bridge", plain=("so </think>\nVelm", "[THINK]a bridge")
    )
    (score,) = regraded(line)
    assert [(answer.correct, answer.baseline_correct) for answer in score.answers] == [(True, True), (None, None)]
    assert (score.value, score.baseline) == (None, None)
    assert score.answers[1].reason == "the model thought until --max-tokens (of `seal eval`)"
    assert score.answers[0].prediction == "<think>\nhm\n</think>\n\nVelm"


def test_an_answer_that_was_cut_off_right_behind_its_thought_stays_unscored() -> None:
    thought = "<think>\nhm\n</think>\n"
    line = answered(thought, thought, plain=(thought, thought))
    assert line.score is not None
    first, second = line.score.answers
    first = first.model_copy(update={"correct": None, "reason": CUT_OFF, "baseline_correct": None})
    (score,) = regraded(line.grow(score=make_score([first, second], model="student", judge="careless")))
    assert [(each.correct, each.reason) for each in score.answers] == [(None, CUT_OFF), (False, "empty answer")]
    assert [each.baseline_correct for each in score.answers] == [None, False]
