"""Try questions on the student: with the passage in sight and without it, and twice more each under sampling."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from stages.domains.qa import QA, make_case
from stages.interfaces import Completion, Engine, Progress, Request, sample_all
from stages.judges.base import Case, Judge, Verdict
from stages.records.frozen import content_id, derive_seed
from stages.records.task import UNCHECKED, QaTask, Question
from stages.records.thoughts import explain_no_answer, extract_answer
from stages.scoring.grading import grade_groups
from stages.settings import Sampling

_TWICE = 0.7  # the temperature at which a question is asked twice more


@dataclass(frozen=True)
class _Trial:
    """One way in which a question is asked. `flaw`: of one that is answered wrong with the passage in sight."""

    name: str
    temperature: float
    flaw: str | None = None  # None: the passage is not in sight

    @property
    def in_context(self) -> bool:
        return self.flaw is not None


_TRIALS = (
    _Trial("with", 0.0, "not answered with the passage in sight"),
    _Trial("once", _TWICE, "not answered the same twice"),
    _Trial("twice", _TWICE, "not answered the same twice"),
    _Trial("without", 0.0),
    _Trial("without once", _TWICE),
    _Trial("without twice", _TWICE),
)


def _find_flaw(verdicts: Sequence[Verdict]) -> str | None:
    """Return why a question is dropped, by the verdicts of its trials: with the passage each must be right.

    Without it one that is wrong is enough: who is right by luck alone does not know it. What is unscored is no verdict.
    """
    outside = list[Verdict]()
    for trial, verdict in zip(_TRIALS, verdicts, strict=True):
        if not trial.in_context:
            outside.append(verdict)
        elif not verdict.correct:
            return trial.flaw if verdict.correct is False else f"{UNCHECKED}{verdict.reason}"
    if any(verdict.correct is False for verdict in outside):
        return None
    unscored = next((verdict.reason for verdict in outside if verdict.correct is None), None)
    return "known without the passage" if unscored is None else f"{UNCHECKED}{unscored}"


def try_questions(
    tasks: Sequence[QaTask], engine: Engine, judge: Judge, answering: Sampling, *, chat: bool, progress: Progress
) -> Iterator[tuple[tuple[str, str], str | None]]:
    """Yield ((task's id, question's id), the reason to drop it or None) for every question, as verdicts come.

    `answering`: how answers are drawn, but for the temperature; each has a seed of its own, derived from this one.
    """
    progress.set_phase("trying questions")
    requests = list[tuple[str, Request]]()
    for task in tasks:
        for trial in _TRIALS:
            for query in QA().queries(task, in_context=trial.in_context, chat=chat):
                name = content_id(task.id, query.id, trial.name)
                drawn = replace(answering, temperature=trial.temperature, seed=derive_seed(answering.seed, name))
                requests.append((task.id, Request(name, query.prompt, drawn)))
    said = {each.id: each for each in sample_all(requests, engine, progress)}
    progress.set_phase("judging")
    groups = (
        (
            (task.id, question.id),
            [_read_answer(question, said[content_id(task.id, question.id, trial.name)]) for trial in _TRIALS],
        )
        for task in tasks
        for question in task.questions
    )
    for key, verdicts in grade_groups(groups, judge):
        yield key, _find_flaw(verdicts)


def _read_answer(question: Question, completion: Completion) -> Case | Verdict:
    said = extract_answer(completion.text, completion.finish)
    if completion.error or said is None:
        return Verdict(None, completion.error or explain_no_answer(completion.finish))
    return make_case(question, said)
