"""Questions that an engine answers with an adapter, graded: the exam of `seal accept`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.domains.answers import answered_chat, collect_answers, list_keyed_requests
from stages.domains.base import Domain, find_domain
from stages.interfaces import Completion, Engine, NullProgress, Progress, Request, sample_all
from stages.judges.base import Judge
from stages.records.record import Record
from stages.records.task import Task
from stages.scoring.exams import read_exam
from stages.scoring.grading import grade_groups, grade_without_judge
from stages.settings import Sampling


@dataclass(frozen=True)
class Examination:
    """The tasks and how they are asked. Answers are greedy."""

    domain: Domain
    tasks: Sequence[Task]
    judge: Judge | None  # None: the domain needs none
    sampling: Sampling
    chat: bool
    asks_otherwise: bool  # than the score lines' answers were: it is another file's, or they had passages in sight

    def recall(self, lines: Sequence[Record]) -> dict[tuple[str, str], bool | None]:
        """Return the verdicts that the adapter's score lines have; none where they were asked otherwise."""
        return {
            (line.task.id, answer.id): answer.correct
            for line in lines
            for answer in (line.score.answers if line.score and not self.asks_otherwise else ())
        }


def read_examination(
    lines: Sequence[Record], file: Path | None, load_judge: Callable[[], Judge], told: Mapping[str, Any] = {}
) -> Examination | None:
    """Return the exam of a file, or of score lines; None where there is neither.

    `told`: the settings of the run that made the score lines, as far as they are known. It is asked in the same way.
    """
    tasks = [line.task for line in lines if line.score and any(each.correct is not None for each in line.score.answers)]
    domain = find_domain({task.domain for task in tasks} or {line.task.domain for line in lines})
    if file:
        tasks = list(read_exam(file, "--exam", domain.name, domain.check))
    if not tasks:
        return None
    fits = [line.adapter.fit for line in lines if line.adapter]
    told_chat = told.get("chat")
    given = told_chat if isinstance(told_chat, bool) else None
    chat = answered_chat(given, domain.defaults.chat, {fit["chat"] for fit in fits if "chat" in fit})
    known = {task.id: task for task in tasks}
    return Examination(
        domain,
        tuple(known.values()),
        None if domain.judge else load_judge(),
        _read_sampling(domain.defaults.answering, told),
        chat,
        bool(file or told.get("in_context") or told.get("retrieve")),
    )


def _read_sampling(usual: Sampling, told: Mapping[str, Any]) -> Sampling:
    """How the answers ended: as the settings say, else as usual."""
    found = told.get("sampling")
    if not isinstance(found, dict):
        return usual
    most, stop = found.get("max_tokens"), found.get("stop", [])
    texts = tuple(each for each in stop if each and isinstance(each, str)) if isinstance(stop, list) else ()
    return replace(usual, max_tokens=most if isinstance(most, int) and most > 0 else usual.max_tokens, stop=texts)


def run_exam(exam: Examination, engine: Engine) -> dict[tuple[str, str], bool | None]:
    """Return the verdict on each question, by the ids of task and question; None: unscored."""
    domain, lines = exam.domain, [Record(task=task) for task in exam.tasks]
    queries = {task.id: list(domain.queries(task, in_context=False, chat=exam.chat)) for task in exam.tasks}
    requests = list(list_keyed_requests(lines, queries, exam.sampling, {}))
    told = collect_answers(lines, queries, {}, sample_all(requests, engine, NullProgress(), "answers"))
    replies = (
        (each.task.id, list(domain.make_answers(each.task, each.completions, in_context=False))) for each in told
    )
    groups = (((name, [reply.id for reply in said]), [reply.item for reply in said]) for name, said in replies)
    graded = grade_groups(groups, exam.judge) if exam.judge else grade_without_judge(groups)
    return {
        (name, question): verdict.correct
        for (name, questions), verdicts in graded
        for question, verdict in zip(questions, verdicts, strict=True)
    }


class AdaptedEngine:
    """An Engine that answers every request with one adapter."""

    def __init__(self, engine: Engine, adapter: Path | None) -> None:
        self.engine, self.adapter, self.model = engine, adapter, engine.model

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        """Yield one completion per request."""
        return self.engine.sample([replace(each, adapter=self.adapter) for each in requests], progress)
