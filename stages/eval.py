"""adapter → score: the student answers the task's questions with the passage out of sight (SEAL section 3.1).

Lines without an adapter are answered by the model as it is: the baseline row, or with `in_context` the oracle row.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from stages.domains.base import Domain, Query
from stages.engines.base import ANSWERING, Engine, Renamed, Request, Sampling, Unwatched, Watch
from stages.failures import BadInput
from stages.judges.base import Case, Judge, Verdict
from stages.plan import Plan
from stages.records import Answer, Record, Score, Task


@dataclass(frozen=True)
class Graded:
    """The predictions and verdicts of one set of queries, in their order. A prediction is None where none was made."""

    predictions: tuple[str | None, ...]
    verdicts: tuple[Verdict, ...]


def plan(records: Iterable[Record]) -> Plan:
    """A line for each line that is read."""
    return Plan("score", {owner_of(record): record.grow(score=None) for record in records}, owner_of)


def owner_of(record: Record) -> str:
    """Whose answers the line's are: its adapter's, or the plain model's for its task."""
    return record.adapter.id if record.adapter else record.task.id


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
    """A score for each line, in order; for these `keys` (see `plan`) only.

    The baseline of a task is answered once, however many adapters it has, and not at all where a `known` score line of
    the same settings has it. Reads all lines first: requests are batched across them, and the stage before has then
    left the device.
    """
    lines = list(records)
    check(lines)
    lines = [line for line in lines if keys is None or owner_of(line) in keys]
    queries = {line.task.id: list(domain.queries(line.task, in_context=in_context, chat=chat)) for line in lines}
    baselines = {line.task.id: graded for line in known if (graded := baseline_of(line)) is not None}
    requests = list(_requests(lines, queries, sampling, baselines))
    owners = {request.id: key for key, request in requests}
    completions = engine.sample([request for _, request in requests], Renamed(watch, owners))
    texts: dict[str, str] = {}
    for line in lines:
        asked = queries[line.task.id]
        for owner in _askers(line, baselines):
            while not all(f"{owner}/{query.id}" in texts for query in asked):
                completion = next(completions)
                texts[completion.id] = completion.text
        if line.task.id not in baselines:
            baselines[line.task.id] = _grade(asked, [texts[f"{line.task.id}/{query.id}"] for query in asked], judge)
        yield line.grow(score=_score(line, asked, texts, baselines[line.task.id], engine.model, judge))


def baseline_of(line: Record) -> Graded | None:
    """The plain model's answers to the task's questions, if a finished score line holds them."""
    if line.score is None or line.adapter is None:
        return None
    answers = line.score.answers
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


def _askers(line: Record, baselines: Collection[str]) -> list[str]:
    """Whose answers a line needs: the plain model's where they are not known, and its adapter's."""
    plain = [] if line.task.id in baselines else [line.task.id]
    return plain + ([line.adapter.id] if line.adapter and line.adapter.path else [])


def _requests(
    lines: Sequence[Record], queries: dict[str, list[Query]], sampling: Sampling, known: Collection[str]
) -> Iterator[tuple[str, Request]]:
    """(key of the line, request): the baseline's questions before the first line of each task, then each adapter's."""
    asked = set(known)
    for line in lines:
        for owner in _askers(line, asked):
            path = None if owner == line.task.id else Path(line.adapter.path or "") if line.adapter else None
            for query in queries[line.task.id]:
                yield owner_of(line), Request(f"{owner}/{query.id}", query.prompt, sampling, path)
        asked.add(line.task.id)


def _grade(queries: Sequence[Query], predictions: Sequence[str], judge: Judge) -> Graded:
    """Verdicts in the order of the queries; an empty answer is wrong without asking the judge (SEAL App. B)."""
    pairs = list(zip(queries, predictions, strict=True))
    verdicts = judge.grade(Case(query.question, query.gold, text) for query, text in pairs if text.strip())
    graded = tuple(next(verdicts) if text.strip() else Verdict(False, "empty answer") for _, text in pairs)
    return Graded(tuple(predictions), graded)


def _score(
    line: Record, queries: Sequence[Query], texts: dict[str, str], baseline: Graded, model: str, judge: Judge
) -> Score:
    """The line's score. Without an adapter the value is the plain model's accuracy and there is no baseline."""
    adapter = line.adapter
    if adapter is None:
        return _build(queries, baseline, None, model, judge.name)
    if adapter.path is None:
        lost = Verdict(False if adapter.fault == "edit" else None, adapter.error)
        own = Graded((None,) * len(queries), (lost,) * len(queries))
    else:
        own = _grade(queries, [texts[f"{adapter.id}/{query.id}"] for query in queries], judge)
    return _build(queries, own, baseline, model, judge.name)


def _build(queries: Sequence[Query], own: Graded, baseline: Graded | None, model: str, judge: str) -> Score:
    answers = tuple(
        Answer(
            id=query.id,
            prediction=own.predictions[i],
            correct=own.verdicts[i].correct,
            reason=own.verdicts[i].reason,
            baseline_prediction=baseline.predictions[i] if baseline else None,
            baseline_correct=baseline.verdicts[i].correct if baseline else None,
        )
        for i, query in enumerate(queries)
    )
    return Score(
        value=accuracy([answer.correct for answer in answers]),
        baseline=accuracy([answer.baseline_correct for answer in answers]),
        model=model,
        judge=judge,
        answers=answers,
    )


def accuracy(verdicts: Sequence[bool | None]) -> float | None:
    """Share of right answers, or None as soon as one is unscored: nothing unscored becomes a reward."""
    if not verdicts or any(verdict is None for verdict in verdicts):
        return None
    return float(Fraction(sum(map(bool, verdicts)), len(verdicts)))
