"""task → task: a model writes the questions that measure learning, and those that measure nothing are dropped.

A question stays if the student answers it right with the passage in sight, twice the same under sampling, and not each
time without the passage, and if no other question that stays gives its answer away. What stays is split by fact: a part
rewards, the other is kept back as an exam. So the loop needs no questions by people (SEAL section 6 leaves it open).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from stages.domains.base import find_domain
from stages.domains.qa import QA, fill, require_passage
from stages.domains.quiz import TEMPLATE, find_flaws, find_leaks, read_pairs, split_by_fact
from stages.domains.trials import try_questions
from stages.domains.writing import unique_tasks
from stages.errors import BadConfig, BadLine, refuse_given
from stages.interfaces import Completion, Engine, NullProgress, Progress, Prompt, Request, sample_all
from stages.judges.base import FallbackJudge, Judge
from stages.records.frozen import content_id, derive_seed
from stages.records.record import Record, Section
from stages.records.task import DroppedQuestion, QaTask, Question, Quiz, make_task
from stages.records.thoughts import explain_no_answer, extract_answer
from stages.services.base import report_engine, report_judge
from stages.settings import ANSWERING, Sampling
from stages.tokens.token_counts import count_crowded
from stages.work import WHOLE_INPUT, EngineSource, JudgeSource, Listing, Plan, Source, WholeSource, Work, describe_plan

_AT_ONCE = 64  # tasks whose questions are written and tried together; what a crash costs at most


@dataclass(frozen=True)
class QuizRules:
    """How questions are written and tried.

    `template` None: ours. `given`: none are written, those of the lines are tried. `unchecked`: none are tried. `exam`:
    lines of this stage are turned to what was kept back, which is `exam_share` of what stayed.
    """

    template: str | None = None
    samples: int = 2  # times that questions are asked for
    exam_share: float = 0.5
    given: bool = False
    unchecked: bool = False
    exam: bool = False
    answer_stop: tuple[str, ...] = ()  # stop strings of the answers by which questions are tried

    def refuse_unused(self) -> None:
        """Raise BadConfig for rules that would have no effect beside others."""
        writing: dict[str, object] = {
            "--template": self.template,
            "-k": None if self.samples == QuizRules.samples else self.samples,
        }
        if self.exam:
            share = None if self.exam_share == QuizRules.exam_share else self.exam_share
            writing |= {"--given": self.given or None, "--unchecked": self.unchecked or None, "--exam-share": share}
            refuse_given(writing, "--exam only takes out what was kept back before; leave one of them out")
        if self.unchecked or self.exam:
            way = "--exam" if self.exam else "--unchecked"
            refuse_given({"--answer-stop": self.answer_stop}, f"{way} has no question answered; leave one of them out")
        if self.given:
            idle: dict[str, object] = {"--given --unchecked": self.unchecked or None}
            refuse_given(idle, "the questions are neither written nor tried; leave one of them out")
            refuse_given(writing, "--given writes no questions; leave one of them out")


@dataclass(frozen=True)
class MakeQuiz:
    """Lets a model write questions about each passage, tries them, and keeps those that measure learning."""

    engine: EngineSource
    judge: JudgeSource
    rules: QuizRules = QuizRules()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    chat: bool | None = None
    seed: int = 0
    name: str = "quiz"
    needs: tuple[Section, ...] = ()

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work | Listing:
        source, rules = source or WholeSource(records), self.rules
        rules.refuse_unused()
        if rules.given or rules.exam:
            told = "no questions are written; those that are there are answered up to --answer-stop"
            refuse_given({"--stop": self.sampling.get("stop")}, told)
        if not source.facts.lines:
            return Listing(WHOLE_INPUT)
        domain = find_domain(source.facts.domains)
        if domain.name != "qa":
            raise BadConfig(f"tasks of the domain {domain.name} are not measured by questions about a passage")
        lines = list(unique_tasks(source.sift(records, self._check)))
        lines = [_gather(line) for line in lines] if rules.given else lines
        if rules.exam:
            examined = [take_exam(line) for line in lines if line.quiz and line.quiz.exam]
            return Listing({"exam": True, **WHOLE_INPUT}, examined, len(examined))
        template = TEMPLATE if rules.template is None else domain.template_text(rules.template)
        model = self.engine.choose(source.facts.editors | source.facts.students)
        drawn = replace(Sampling(max_tokens=1024), **self.sampling, seed=self.seed)
        chat = self.engine.chats if self.chat is None else self.chat
        asking = Asking(template, rules, drawn, chat)
        return Work(
            plan=plan(lines),
            settings=lambda: {
                **{"template": template, "k": rules.samples, "given": rules.given, "unchecked": rules.unchecked},
                **({} if rules.exam_share == QuizRules.exam_share else {"exam_share": rules.exam_share}),
                **({"answer_stop": sorted(set(rules.answer_stop))} if rules.answer_stop else {}),
                **{"sampling": drawn.settings, "chat": chat, "judge": self.judge.settings()},
                **{**self.engine.settings(model), **WHOLE_INPUT},
            },
            summary=describe_plan(f"let {model} write and try questions about {len(lines)} passages", drawn),
            open=lambda finished: self._open(lines, model, asking),
            count_misfits=lambda: count_crowded(model, (asking.ask(require_passage(each.task)) for each in lines)),
            conclude=describe_quiz,
        )

    def _check(self, line: Record) -> None:
        """Raise BadLine for a line without what is to be worked on."""
        if self.rules.given and not require_passage(line.task).questions:
            raise BadLine(f"task {line.task.name!r} has no questions to try; leave --given out to have some written")
        if self.rules.given:
            QA().check(line.task)
        if self.rules.exam and line.quiz is None:
            raise BadLine(f"task {line.task.name!r} has no exam (run `seal quiz` without --exam first)")

    def _open(self, lines: Sequence[Record], model: str, asking: "Asking") -> "_Examiner":
        self.judge.probe()
        judge = self.judge.load()
        return _Examiner(lines, self.engine.load(model), judge, asking)


@dataclass(frozen=True)
class Asking:
    """How questions are asked for and tried."""

    template: str
    rules: QuizRules
    sampling: Sampling
    chat: bool

    def ask(self, task: QaTask) -> Prompt:
        """Ask for questions about the passage."""
        text = fill(self.template, task)
        return [{"role": "user", "content": text}] if self.chat else text

    @property
    def opened(self) -> bool:
        """True if a completion begins in the middle of the first question."""
        return not self.chat and self.template.rstrip().endswith("Question 1:")


@dataclass(frozen=True)
class _Examiner:
    lines: Sequence[Record]
    engine: Engine
    judge: Judge
    asking: Asking

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        wanted = iter([line for line in self.lines if line.task.id in keys])
        judge = FallbackJudge(self.judge, progress.note)
        while chunk := list(islice(wanted, _AT_ONCE)):
            yield from run(chunk, self.engine, judge, self.asking, progress=progress)

    def report(self) -> Iterator[str]:
        yield from report_engine(self.engine)
        yield from report_judge(self.judge)


def plan(lines: Iterable[Record]) -> Plan:
    """Plan a line for each task. One of whose questions some could not be tried is made again."""
    return Plan(
        "quiz", {line.task.id: _restore(line) for line in lines}, lambda line: line.task.id, _is_tried, restore=_restore
    )


def _restore(line: Record) -> Record:
    """Return the line as it was before its quiz."""
    if line.quiz is None:
        return line
    return line.grow(quiz=None, task=_pose(line, line.quiz.given))


def _gather(line: Record) -> Record:
    """Return a line of this stage as one with all questions that are left on it; other lines as they are."""
    if line.quiz is None:
        return line
    return line.grow(quiz=None, task=_pose(line, (*require_passage(line.task).questions, *line.quiz.exam)))


def _is_tried(line: Record) -> bool:
    return line.quiz is not None and line.quiz.failure is None


def take_exam(line: Record) -> Record:
    """Return the line with the questions that were kept back, as a task like any other."""
    return line.grow(quiz=None, task=_pose(line, line.quiz.exam if line.quiz else ()))


def run(
    lines: Sequence[Record], engine: Engine, judge: Judge, asking: Asking, *, progress: Progress = NullProgress()
) -> Iterator[Record]:
    """Write questions about these passages, try them together, and yield each line with what is left of them."""
    lines = [_restore(line) for line in lines]
    if asking.rules.given:
        found = [_Found(require_passage(line.task).questions) for line in lines]
    else:
        found = _write(lines, engine, asking, progress)
    tasks = [require_passage(line.task) for line in lines]
    found = [each.drop(find_flaws(task, each.kept)) for task, each in zip(tasks, found, strict=True)]
    if not asking.rules.unchecked:
        posed = [_pose(line, each.kept) for line, each in zip(lines, found, strict=True)]
        answering = replace(ANSWERING, seed=asking.sampling.seed, stop=asking.rules.answer_stop)
        tried = dict(try_questions(posed, engine, judge, answering, chat=asking.chat, progress=progress))
        reasons = [[tried[task.id, question.id] for question in task.questions] for task in posed]
        found = [each.drop(flaws) for each, flaws in zip(found, reasons, strict=True)]
        found = [each.drop(find_leaks(each.kept)) for each in found]
    for line, task, each in zip(lines, tasks, found, strict=True):
        reward, exam = split_by_fact(task.id, each.kept, asking.sampling.seed, asking.rules.exam_share)
        quiz = Quiz(
            model=engine.model,
            checked=not asking.rules.unchecked,
            exam=exam,
            dropped=each.dropped,
            error=each.error,
            given=task.questions,
        )
        yield line.grow(task=_pose(line, reward), quiz=quiz)


@dataclass(frozen=True)
class _Found:
    """The questions about one passage that stay so far, those that were dropped, and why some never came."""

    kept: tuple[Question, ...]
    dropped: tuple[DroppedQuestion, ...] = ()
    error: str | None = None

    def drop(self, reasons: Sequence[str | None]) -> "_Found":
        """Drop those for which there is a reason."""
        judged = list(zip(self.kept, reasons, strict=True))
        dropped = tuple(
            DroppedQuestion(question=question.question, answer=question.answer, reason=reason)
            for question, reason in judged
            if reason is not None
        )
        kept = tuple(question for question, reason in judged if reason is None)
        return replace(self, kept=kept, dropped=self.dropped + dropped)


def _pose(line: Record, questions: Sequence[Question]) -> QaTask:
    """Return the line's task with these questions."""
    return require_passage(line.task).model_copy(update={"questions": tuple(questions)})


def _write(lines: Sequence[Record], engine: Engine, asking: Asking, progress: Progress) -> list[_Found]:
    """Ask for questions about each passage; they stay in the order of the samples."""
    progress.set_phase("writing questions")
    requests = list[tuple[str, Request]]()
    for line in lines:
        prompt = asking.ask(require_passage(line.task))
        for sample in range(asking.rules.samples):
            drawn = replace(asking.sampling, seed=derive_seed(asking.sampling.seed, line.task.id, sample))
            requests.append((line.task.id, Request(content_id(line.task.id, sample), prompt, drawn)))
    said = {each.id: each for each in sample_all(requests, engine, progress)}
    names = [[content_id(line.task.id, sample) for sample in range(asking.rules.samples)] for line in lines]
    return [_read(line, [said[name] for name in own], asking) for line, own in zip(lines, names, strict=True)]


def _read(line: Record, completions: Sequence[Completion], asking: Asking) -> _Found:
    """Read the questions of a passage's completions. What the engine failed to give is told, and asked for again."""
    pairs: list[tuple[str, str]] = []
    error = None
    for completion in completions:
        text = None if completion.error else extract_answer(completion.text, completion.finish)
        if text is None:
            error = completion.error or explain_no_answer(completion.finish)
        else:
            whole = text.rpartition("\n")[0] if completion.finish == "length" else text  # half an answer is another one
            pairs += read_pairs(whole, opened=asking.opened)
    task = require_passage(line.task)
    return _Found(make_task(task.title, task.context, pairs).questions, error=error)


def describe_quiz(lines: Sequence[Record]) -> Iterator[str]:
    """Say how many questions stay, and what the others died of."""
    found = [line.quiz for line in lines if line.quiz]
    reward = sum(len(require_passage(line.task).questions) for line in lines if line.quiz)
    reasons = Counter(each.reason.partition(":")[0] for quiz in found for each in quiz.dropped)
    exam = sum(len(quiz.exam) for quiz in found)
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    dropped = f"{reasons.total()} dropped{f' ({why})' if why else ''}"
    yield f"{reward} questions reward, {exam} are kept for the exam, {dropped}"
    if bare := sum(not require_passage(line.task).questions for line in lines):
        yield f"{bare} of {len(lines)} passages have no question left: `seal eval` cannot score them"
