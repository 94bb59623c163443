"""Make the requests for a student's answers, and put the answers together as completions come."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.domains.base import Query
from stages.interfaces import Completion, Request, Sampling
from stages.records.frozen import content_id
from stages.records.record import Record
from stages.records.task import Task
from stages.scoring.grading import AnswerKey, get_adapter_key, get_baseline_key, get_owner_id, list_missing_keys

Queries = Mapping[str, Sequence[Query]]  # by the task's id


@dataclass(frozen=True)
class Answered:
    """All answers of an adapter to its task, or of the plain model to a task."""

    owner: AnswerKey
    task: Task
    completions: tuple[Completion, ...]  # in the order of the task's queries


def _request_id(owner: AnswerKey, query: Query) -> str:
    """Hash ids into a request's id; ids of tasks, adapters and questions may hold any text."""
    return content_id(*owner, query.id)


def list_keyed_requests(
    lines: Sequence[Record], queries: Queries, sampling: Sampling, known: Collection[AnswerKey]
) -> Iterator[tuple[str, Request]]:
    """Yield (line's key, request): a task's baseline before its first line, then each adapter's questions."""
    asked = set(known)
    for line in lines:
        for owner in list_missing_keys(line, asked):
            path = (
                Path(line.adapter.path)
                if owner == get_adapter_key(line) and line.adapter and line.adapter.path
                else None
            )
            for query in queries[line.task.id]:
                yield get_owner_id(line), Request(_request_id(owner, query), query.prompt, sampling, path)
        asked.add(get_baseline_key(line))


def collect_answers(
    lines: Sequence[Record], queries: Queries, known: Collection[AnswerKey], completions: Iterable[Completion]
) -> Iterator[Answered]:
    """Yield each set of answers as soon as its last one has come. Raises RuntimeError where one never came."""
    tasks = {owner: line.task for line in lines for owner in list_missing_keys(line, known)}
    missing = {owner: len(queries[task.id]) for owner, task in tasks.items()}
    places = {_request_id(owner, query): owner for owner, task in tasks.items() for query in queries[task.id]}
    texts: dict[str, Completion] = {}
    for completion in completions:
        texts[completion.id] = completion
        owner = places[completion.id]
        missing[owner] -= 1
        if not missing[owner]:
            task = tasks[owner]
            own = (texts.pop(_request_id(owner, query)) for query in queries[task.id])
            yield Answered(owner, task, tuple(own))
    lost = [request for request, owner in places.items() if missing[owner] and request not in texts]
    if lost:
        raise RuntimeError(f"the engine gave no completion for {len(lost)} requests, the first is {lost[0]}")
