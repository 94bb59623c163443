"""adapter → score: the student answers the task's questions with the passage out of sight (SEAL section 3.1).

Lines without an adapter are answered by the model as it is: the baseline row, or with `in_context` the oracle row.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.domains.base import Domain, Query
from stages.engines.base import ANSWERING, Completion, Engine, Renamed, Request, Sampling, Unwatched, Watch
from stages.failures import BadInput
from stages.grading import Item, in_groups, owner_of
from stages.judges.base import Case, Judge, Verdict
from stages.plan import Plan
from stages.records import Answer, Record, Task, content_id
from stages.scores import make_score

Queries = Mapping[str, Sequence[Query]]  # by the task's id
Owner = tuple[Literal["task", "adapter", "nobody"], str]  # whose answers: the plain model's for a task, an adapter's
NOBODY: Owner = ("nobody", "")  # for whom a line waits that needs no answers


@dataclass(frozen=True)
class Graded:
    """The predictions and verdicts of one set of queries, in their order. A prediction is None where none was made."""

    predictions: tuple[str | None, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Answered:
    """All answers of one owner: an adapter, or the plain model for a task."""

    owner: Owner
    task_id: str
    completions: tuple[Completion, ...]  # in the order of the task's queries


def plan(records: Iterable[Record]) -> Plan:
    """A line for each line that is read. One that lacks an answer, which the engine failed to give, is made again."""
    wanted = {owner_of(record): record.grow(score=None) for record in records}
    return Plan("score", wanted, owner_of, is_answered)


def is_answered(line: Record) -> bool:
    """Whether every question of a finished line has its answers, right, wrong or not yet judged."""
    answers = line.score.answers if line.score else ()
    own, baseline = line.adapter is None or line.adapter.path is not None, line.adapter is not None
    return all(
        not (own and answer.prediction is None) and not (baseline and answer.baseline_prediction is None)
        for answer in answers
    )


def run(
    records: Iterable[Record],
    engine: Engine,
    *,
    domain: Domain,
    judge: Judge,
    sampling: Sampling = ANSWERING,
    in_context: bool = False,
    chat: bool = False,
    keys: Collection[str] | None = None,
    known: Iterable[Record] = (),
    watch: Watch = Unwatched(),
) -> Iterator[Record]:
    """A score for each line, as its answers are there; for these `keys` (see `plan`) only.

    The baseline of a task is answered once, however many adapters it has, and not at all where a `known` score line of
    the same settings has it. Reads all lines first: requests are batched across them, and the stage before has then
    left the device.
    """
    lines = list(records)
    check(lines)
    lines = [line for line in lines if keys is None or owner_of(line) in keys]
    queries = {line.task.id: list(domain.queries(line.task, in_context=in_context, chat=chat)) for line in lines}
    done: dict[Owner, Graded] = {plain(line): graded for line in known if (graded := baseline_of(line)) is not None}
    requests = list(_requests(lines, queries, sampling, done))
    owners = {request.id: key for key, request in requests}
    completions = engine.sample([request for _, request in requests], Renamed(watch, owners))
    groups = ((each, _items(each, queries)) for each in _answered(lines, queries, done, completions))
    waiting = _Waiting(lines, done)
    yield from (_line(line, queries, done, engine.model, judge) for line in waiting.ready(NOBODY))
    for answered, verdicts in in_groups(groups, judge):
        predictions = tuple(None if each.error else each.text for each in answered.completions)
        done[answered.owner] = Graded(predictions, verdicts)
        for line in waiting.ready(answered.owner):
            yield _line(line, queries, done, engine.model, judge)


class _Waiting:
    """The lines whose answers are not all there, by those whose answers they wait for."""

    def __init__(self, lines: Sequence[Record], done: Collection[Owner]) -> None:
        self.lacking = {owner_of(line): set(_owners(line, done)) for line in lines}
        self.waiting: dict[Owner, list[Record]] = {}
        for line in lines:
            for owner in self.lacking[owner_of(line)] or {NOBODY}:
                self.waiting.setdefault(owner, []).append(line)

    def ready(self, owner: Owner) -> list[Record]:
        """The lines that have waited for this owner alone."""
        touched = self.waiting.pop(owner, [])
        for line in touched:
            self.lacking[owner_of(line)].discard(owner)
        return [line for line in touched if not self.lacking[owner_of(line)]]


def baseline_of(line: Record) -> Graded | None:
    """The plain model's answers to the task's questions, if a finished score line holds all of them."""
    answers = line.score.answers if line.score and line.adapter else ()
    if not answers or any(answer.baseline_prediction is None for answer in answers):
        return None
    verdicts = tuple(Verdict(answer.baseline_correct, None) for answer in answers)
    return Graded(tuple(answer.baseline_prediction for answer in answers), verdicts)


def check(lines: Sequence[Record]) -> None:
    """Raises BadInput for lines that cannot be scored or would be counted twice."""
    seen: set[str] = set()
    tasks: dict[str, Task] = {}
    for line in lines:
        if tasks.setdefault(line.task.id, line.task) != line.task:
            raise BadInput(f"two different tasks have the id {line.task.id}; give each its own")
        owner = owner_of(line)
        if not line.task.questions:
            raise BadInput(f"task {line.task.title!r} has no questions; `seal eval` needs at least one")
        if len({question.id for question in line.task.questions}) < len(line.task.questions):
            raise BadInput(f"task {line.task.title!r} has two questions with one id; give each its own")
        if line.edit and not line.adapter:
            raise BadInput(f"task {line.task.title!r} has an edit but no adapter (run `seal adapt` first)")
        if line.adapter and not line.adapter.path and not line.adapter.error:
            raise BadInput(f"adapter {line.adapter.id} was imported without its weights (run `seal adapt` first)")
        if owner in seen:
            raise BadInput(f"{'adapter' if line.adapter else 'task'} {owner} occurs twice; each line must be another")
        seen.add(owner)


def adapters(lines: Iterable[Record]) -> Iterator[tuple[Path, str]]:
    """(directory, the model that it was trained on) of each line that has an adapter."""
    for line in lines:
        if line.adapter and line.adapter.path:
            yield Path(line.adapter.path), line.adapter.model


def plain(line: Record) -> Owner:
    return "task", line.task.id


def adapted(line: Record) -> Owner:
    return "adapter", line.adapter.id if line.adapter else ""


def _owners(line: Record, known: Collection[Owner]) -> list[Owner]:
    """Whose answers a line needs: the plain model's where they are not known, and its adapter's."""
    baseline = [] if plain(line) in known else [plain(line)]
    return baseline + ([adapted(line)] if line.adapter and line.adapter.path else [])


def _request_id(owner: Owner, query: Query) -> str:
    """Ids of tasks, adapters and questions hold whatever people like."""
    return content_id(*owner, query.id)


def _requests(
    lines: Sequence[Record], queries: Queries, sampling: Sampling, known: Collection[Owner]
) -> Iterator[tuple[str, Request]]:
    """(key of the line, request): the baseline's questions before the first line of each task, then each adapter's."""
    asked = set(known)
    for line in lines:
        for owner in _owners(line, asked):
            path = Path(line.adapter.path) if owner == adapted(line) and line.adapter and line.adapter.path else None
            for query in queries[line.task.id]:
                yield owner_of(line), Request(_request_id(owner, query), query.prompt, sampling, path)
        asked.add(plain(line))


def _answered(
    lines: Sequence[Record], queries: Queries, known: Collection[Owner], completions: Iterable[Completion]
) -> Iterator[Answered]:
    """Each owner's answers as soon as the last of them has come."""
    tasks = {owner: line.task.id for line in lines for owner in _owners(line, known)}
    missing = {owner: len(queries[task]) for owner, task in tasks.items()}
    places = {_request_id(owner, query): owner for owner, task in tasks.items() for query in queries[task]}
    texts: dict[str, Completion] = {}
    for completion in completions:
        texts[completion.id] = completion
        owner = places[completion.id]
        missing[owner] -= 1
        if not missing[owner]:
            own = (texts.pop(_request_id(owner, query)) for query in queries[tasks[owner]])
            yield Answered(owner, tasks[owner], tuple(own))


def _items(answered: Answered, queries: Queries) -> list[Item]:
    """What the judge is to grade. An answer that the engine failed to give is unscored, never wrong."""
    return [
        Verdict(None, each.error) if each.error else Case(query.question, query.gold, each.text)
        for query, each in zip(queries[answered.task_id], answered.completions, strict=True)
    ]


def _line(line: Record, queries: Queries, done: Mapping[Owner, Graded], model: str, judge: Judge) -> Record:
    """The line with its score. Without an adapter the value is the plain model's accuracy; there is no baseline."""
    asked, baseline, adapter = queries[line.task.id], done[plain(line)], line.adapter
    if adapter is None:
        own, before = baseline, None
    elif adapter.path is None:
        lost = Verdict(False if adapter.fault == "edit" else None, adapter.error)
        own, before = Graded((None,) * len(asked), (lost,) * len(asked)), baseline
    else:
        own, before = done[adapted(line)], baseline
    answers = [_answer(query, place, own, before) for place, query in enumerate(asked)]
    return line.grow(score=make_score(answers, model=model, judge=judge.name))


def _answer(query: Query, place: int, own: Graded, before: Graded | None) -> Answer:
    return Answer(
        id=query.id,
        prediction=own.predictions[place],
        correct=own.verdicts[place].correct,
        reason=own.verdicts[place].reason,
        baseline_prediction=before.predictions[place] if before else None,
        baseline_correct=before.verdicts[place].correct if before else None,
    )
