"""task → task: which questions a model's answers let stand, and what comes of those that could not be tried."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stages.errors import BadConfig, BadInput, BadLine
from stages.interfaces import Completion, NullProgress, Progress, Request
from stages.judges.factory import LocalJudge
from stages.quiz import MakeQuiz, QuizRules, describe_quiz, plan, take_exam
from stages.records.record import Record
from stages.records.task import QaTask, Quiz
from stages.work import Listing, Work, resume
from tests.bench.planted_questions import examine
from tests.invented import Backwards, Lost, a_task
from tests.invented_grids import an_arc_task

ADA = Record(task=a_task("Ada"), meta={"mine": 1})
WRITTEN = "Where was she born?\nAnswer: Velm\nQuestion 2: What did she build?\nAnswer: a bridge\n"
IDLE = (
    ({"given": True, "unchecked": True}, "--given --unchecked: the questions are neither written nor tried"),
    ({"given": True, "template": "no-qa"}, "--template no-qa: --given writes no questions"),
    ({"given": True, "samples": 3}, "-k 3: --given writes no questions"),
    ({"exam": True, "given": True}, "--given: --exam only takes out what was kept back before"),
    ({"exam": True, "unchecked": True}, "--unchecked: --exam only takes out"),
    ({"exam": True, "template": "no-qa"}, "--template no-qa: --exam only takes out"),
    ({"exam": True, "samples": 3}, "-k 3: --exam only takes out"),
    ({"exam": True, "exam_share": 0.2}, "--exam-share 0.2: --exam only takes out"),
    ({"exam": True, "answer_stop": ("Q",)}, "--answer-stop 'Q': --exam has no question answered; leave one of"),
    ({"unchecked": True, "answer_stop": ("Q",)}, "--answer-stop 'Q': --unchecked has no question answered"),
)


class Source:
    """An engine that is loaded at once and chooses its own name."""

    name, served, chats = "own", False, False

    def __init__(self, answer: Callable[[Request], str]) -> None:
        self.engine = Backwards(answer, "student")

    def choose(self, named: object, moved: object = None) -> str:
        return "student"

    def settings(self, model: str) -> dict[str, str]:
        return {"model": model}

    def load(self, model: str, adapters: object = ()) -> Backwards:
        return self.engine


class Student:
    """Writes the questions, and answers as told: by question, with and without the passage in sight."""

    def __init__(self, answers: dict[str, tuple[str, str]], written: str = WRITTEN) -> None:
        self.answers, self.written = answers, written
        self.sampled: dict[str, int] = {}

    def __call__(self, request: Request) -> str:
        prompt = str(request.prompt)
        if prompt.endswith("Question 1: "):
            return self.written
        asked = re.findall(r"Topic: Ada\n(.*)\nAnswer:", prompt)[-1]
        inside, outside = self.answers[asked]
        answers = (inside if "Passage:" in prompt else outside).split("|")
        if request.sampling.temperature:  # another answer each time
            self.sampled[asked] = self.sampled.get(asked, 0) + 1
            return answers[self.sampled[asked] % len(answers)]
        return answers[0]


GOOD = {"Where was she born?": ("Velm", "Oslo"), "What did she build?": ("a bridge", "a ship")}


def make(answer: Callable[[Request], str], lines: Sequence[Record] = (ADA,), **rules: object) -> list[Record]:
    rules = rules if rules.get("given") else {"samples": 1, **rules}
    stage = MakeQuiz(Source(answer), LocalJudge("exact"), QuizRules(**rules))  # type: ignore[arg-type]
    work = stage.prepare(lines)
    assert isinstance(work, Work)
    made = list(work.open([]).make(list(work.plan.wanted)))
    assert all(work.plan.contains(line) for line in made)
    return made


def test_answers_end_at_other_strings_than_the_questions_that_are_written() -> None:
    source, rules = Source(Student(GOOD)), QuizRules(samples=1, answer_stop=("\n",))
    work = MakeQuiz(source, LocalJudge("exact"), rules, {"stop": ("\n\nTopic",)}).prepare([ADA])  # type: ignore[arg-type]
    assert isinstance(work, Work)
    list(work.open([]).make(list(work.plan.wanted)))
    stops = {str(each.prompt).endswith("Question 1: "): each.sampling.stop for each in source.engine.asked}
    assert stops == {True: ("\n\nTopic",), False: ("\n",)}
    assert work.settings()["answer_stop"] == ["\n"]  # type: ignore[operator]
    assert work.settings()["sampling"]["stop"] == ["\n\nTopic"]  # type: ignore[operator]


def quiz_of(line: Record) -> tuple[list[str], list[str], dict[str, str]]:
    """(questions that reward, that examine, reasons of the dropped ones)"""
    assert isinstance(line.task, QaTask)
    assert line.quiz is not None
    dropped = {each.question: each.reason for each in line.quiz.dropped}
    return [q.question for q in line.task.questions], [q.question for q in line.quiz.exam], dropped


def test_written_questions_that_are_learned_from_the_passage_alone_reward_or_examine() -> None:
    (line,) = make(Student(GOOD))
    reward, exam, dropped = quiz_of(line)
    assert sorted(reward + exam) == sorted(GOOD)
    assert (len(reward), len(exam), dropped) == (1, 1, {})
    assert line.quiz is not None
    assert (line.quiz.model, line.quiz.checked, line.quiz.error) == ("student", True, None)
    assert line.quiz.given == ADA.task.questions  # type: ignore[union-attr]
    assert (line.task.id, line.meta) == (ADA.task.id, {"mine": 1})


@pytest.mark.parametrize(
    ("inside", "outside", "reason"),
    [
        ("Oslo", "Oslo", "not answered with the passage in sight"),
        ("Velm", "in Velm", None),
        ("Velm", "Velm", "known without the passage"),
        ("Velm", "Velm|Oslo", None),  # by luck
        ("Velm", "Oslo|Velm", None),
        ("Velm|Oslo", "Oslo", "not answered the same twice"),
    ],
)
def test_a_question_falls_by_the_first_trial_that_goes_wrong(inside: str, outside: str, reason: str | None) -> None:
    (line,) = make(Student({**GOOD, "Where was she born?": (inside, outside)}))
    reward, exam, dropped = quiz_of(line)
    assert dropped == ({} if reason is None else {"Where was she born?": reason})
    assert ("Where was she born?" in reward + exam) == (reason is None)


@pytest.mark.parametrize(
    ("inside", "dropped"),
    [
        ("Bo", {"Where was she born?": "another question says the answer: Who lives in Velm?"}),
        ("Al", {"Who lives in Velm?": "not answered with the passage in sight"}),
    ],
)
def test_only_a_question_that_stays_gives_another_ones_answer_away(inside: str, dropped: dict[str, str]) -> None:
    written = WRITTEN + "Question 3: Who lives in Velm?\nAnswer: Bo"
    (line,) = make(Student({**GOOD, "Who lives in Velm?": (inside, "Ed")}, written))
    reward, exam, found = quiz_of(line)
    assert found == dropped
    assert sorted(reward + exam) == sorted({*GOOD, "Who lives in Velm?"} - set(dropped))


def test_a_question_whose_first_answer_is_wrong_stays_with_the_right_one() -> None:
    written = "Where was she born?\nAnswer: Oslo\nQuestion 2: Where was she born?\nAnswer: Velm"
    (line,) = make(Student({"Where was she born?": ("Velm", "Rome")}, written))
    assert [each.answer for each in (*line.task.questions, *line.quiz.exam)] == ["Velm"]  # type: ignore[union-attr]
    assert [(each.answer, each.reason) for each in line.quiz.dropped] == [  # type: ignore[union-attr]
        ("Oslo", "not answered with the passage in sight")
    ]


def test_no_two_samples_are_drawn_from_one_seed_and_another_run_has_others() -> None:
    seeds = []
    for run_seed in (0, 1):
        source = Source(Student(GOOD))
        work = MakeQuiz(source, LocalJudge("exact"), QuizRules(samples=3), seed=run_seed).prepare([ADA])
        assert isinstance(work, Work)
        assert len(list(work.open([]).make(list(work.plan.wanted)))) == 1
        drawn = [each.sampling.seed for each in source.engine.asked if each.sampling.temperature]
        # Of three samples come two questions; each is asked twice with the passage and twice without.
        assert len(set(drawn)) == len(drawn) == 3 + 2 * 4
        seeds += drawn
    assert len(set(seeds)) == 22


def test_what_an_engine_fails_to_say_is_no_verdict_and_the_line_is_made_again() -> None:
    def lost_answer(request: Request) -> str:
        if "What did she build?\nAnswer" in str(request.prompt):
            raise Lost("timeout: no answer within 5 s")
        return Student(GOOD)(request)

    (line,) = make(lost_answer)
    assert quiz_of(line)[2] == {"What did she build?": "unchecked: timeout: no answer within 5 s"}
    assert not plan([ADA]).still_valid(line)

    def lost_question(request: Request) -> str:
        raise Lost("timeout: no answer within 5 s")

    (line,) = make(lost_question)
    assert line.quiz is not None
    assert (line.quiz.error, line.quiz.dropped) == ("timeout: no answer within 5 s", ())
    assert not plan([ADA]).still_valid(line)
    assert plan([ADA]).still_valid(make(Student(GOOD))[0])


def test_given_questions_are_tried_and_keep_their_ids_and_all_their_answers() -> None:
    task = a_task("Ada", [("Where was Ada born?", ["Velm", "the town of Velm"]), ("What did Ada build?", "a bridge")])  # type: ignore[list-item]
    answers = {"Where was Ada born?": ("the town of Velm", "Oslo"), "What did Ada build?": ("a bridge", "a bridge")}
    student = Student(answers)
    (line,) = make(student, [Record(task=task)], given=True)
    assert isinstance(line.task, QaTask)
    assert isinstance(task, QaTask)
    assert line.task.questions == task.questions[:1]
    assert quiz_of(line)[2] == {"What did Ada build?": "known without the passage"}


def test_the_last_line_of_a_cut_off_completion_is_no_question() -> None:
    class CutOff(Backwards):
        def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
            for each in super().sample(requests, progress):
                yield replace(each, finish="length") if "Answer: Velm" in each.text else each

    source, cut = Source(Student(GOOD)), WRITTEN.removesuffix("idge\n")
    source.engine = CutOff(lambda request: cut)
    work = MakeQuiz(source, LocalJudge("exact"), QuizRules(samples=1, unchecked=True)).prepare([ADA])
    assert isinstance(work, Work)
    (line,) = work.open([]).make(list(work.plan.wanted))
    assert quiz_of(line) == (["Where was she born?"], [], {})


def test_unchecked_questions_are_asked_of_nobody() -> None:
    student = Student({}, WRITTEN + "Question 3: Where was she born?\nAnswer: Velm")
    (line,) = make(student, unchecked=True)
    reward, exam, dropped = quiz_of(line)
    assert (sorted(reward + exam), dropped) == (sorted(GOOD), {"Where was she born?": "repeats another question"})
    assert line.quiz is not None
    assert line.quiz.checked is False


def test_written_questions_that_nobody_tried_are_tried_by_another_model(tmp_path: Path) -> None:
    written = WRITTEN + "Question 3: Who lives in Velm?\nAnswer: Bo"
    (line,) = make(Student({}, written), unchecked=True)
    student = Student({**GOOD, "Who lives in Velm?": ("Al", "Al"), "Where was Ada born?": ("", "")})
    (tried,) = make(student, [line], given=True)
    reward, exam, dropped = quiz_of(tried)
    assert sorted(reward + exam) == sorted(GOOD)
    assert dropped == {"Who lives in Velm?": "not answered with the passage in sight"}
    stage = MakeQuiz(Source(student), LocalJudge("exact"), QuizRules(given=True))  # type: ignore[arg-type]
    assert resume(stage, [line], tmp_path / "quiz.jsonl") == resume(stage, [line], tmp_path / "quiz.jsonl") == [tried]


def test_without_an_exam_all_that_stays_rewards() -> None:
    (line,) = make(Student(GOOD), exam_share=0.0)
    assert [sorted(part) for part in quiz_of(line)[:2]] == [sorted(GOOD), []]


def test_the_exam_is_a_task_like_any_other() -> None:
    (line,) = make(Student(GOOD))
    stage = MakeQuiz(Source(Student({})), LocalJudge("exact"), QuizRules(exam=True))  # type: ignore[arg-type]
    listed = stage.prepare([line])
    assert isinstance(listed, Listing)
    (exam,) = listed.lines
    assert isinstance(exam, Record)
    assert exam == take_exam(line)
    assert [q.question for q in exam.task.questions] == quiz_of(line)[1]  # type: ignore[union-attr]
    assert (exam.task.id, exam.quiz, exam.meta) == (ADA.task.id, None, {"mine": 1})


def test_a_passage_that_nothing_was_kept_back_of_is_in_no_exam() -> None:
    (line,) = make(Student(GOOD))
    assert line.quiz is not None
    bare = line.grow(task=a_task("Bo"), quiz=line.quiz.model_copy(update={"exam": ()}))
    stage = MakeQuiz(Source(Student({})), LocalJudge("exact"), QuizRules(exam=True))  # type: ignore[arg-type]
    listed = stage.prepare([bare, line])
    assert isinstance(listed, Listing)
    assert (list(listed.lines), listed.total) == ([take_exam(line)], 1)


def test_a_quiz_of_a_quiz_begins_with_the_line_as_it_was() -> None:
    (once,) = make(Student(GOOD))
    (twice,) = make(Student(GOOD), [once])
    assert twice == once


def test_a_run_goes_on_with_the_tasks_that_its_file_lacks(tmp_path: Path) -> None:
    source = Source(Student(GOOD))
    stage = MakeQuiz(source, LocalJudge("exact"), QuizRules(samples=1))  # type: ignore[arg-type]
    first = resume(stage, [ADA], tmp_path / "quiz.jsonl")
    asked = len(source.engine.asked)
    assert resume(stage, [ADA], tmp_path / "quiz.jsonl") == first
    assert len(source.engine.asked) == asked > 0


def test_what_cannot_be_asked_is_refused_before_a_model_is_loaded() -> None:
    source = Source(Student({}))

    def prepare(line: Record, **rules: object) -> object:
        return MakeQuiz(source, LocalJudge("exact"), QuizRules(**rules)).prepare([line])  # type: ignore[arg-type]

    with pytest.raises(BadConfig, match="of the domain arc are not measured by questions"):
        prepare(Record(task=an_arc_task()))
    (line,) = make(Student(GOOD))
    for rules, why in IDLE:
        with pytest.raises(BadConfig, match=why):
            prepare(line, **rules)
    with pytest.raises(BadLine, match="has no questions to try; leave --given out"):
        prepare(Record(task=a_task("Ada", [])), given=True)
    (first, _) = ADA.task.questions  # type: ignore[attr-defined]
    twice = a_task("Ada").model_copy(update={"questions": (first, first)})
    with pytest.raises(BadLine, match="has two questions with one id; give each its own"):
        prepare(Record(task=twice), given=True)
    with pytest.raises(BadLine, match=r"has no exam \(run `seal quiz` without --exam first\)"):
        prepare(ADA, exam=True)
    with pytest.raises((BadConfig, BadInput), match="no-such"):
        prepare(ADA, template="no-such")


def test_the_end_says_how_many_stay_and_what_the_others_died_of() -> None:
    made = make(Student({**GOOD, "Where was she born?": ("Velm", "Velm")}))
    assert list(describe_quiz(made)) == [
        "1 questions reward, 0 are kept for the exam, 1 dropped (1 known without the passage)"
    ]
    none = make(Student({}, "Nothing to ask."))
    assert list(describe_quiz(none))[1] == "1 of 1 passages have no question left: `seal eval` cannot score them"
    assert isinstance(none[0].quiz, Quiz)


def test_planted_bad_questions_are_found_by_the_tiny_model() -> None:
    found = list(examine(3))
    bad = [removed for kind, removed in found if kind not in ("good", "")]
    assert len(bad) == 12
    assert sum(bad) >= 0.9 * len(bad)
    good = [removed for kind, removed in found if kind == "good"]
    assert sum(good) <= 0.5 * len(good)
