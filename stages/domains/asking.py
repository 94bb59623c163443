"""The requests that a student's answers come from, and the answers put together as their completions come."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.domains.base import Query
from stages.interfaces import Completion, Request, Sampling
from stages.records.frozen import content_id
from stages.records.record import Record, Task
from stages.scoring.grading import get_owner_id
from stages.scoring.pending import AnswerKey, get_adapter_key, get_baseline_key, list_missing_keys

Queries = Mapping[str, Sequence[Query]]  # by the task's id


@dataclass(frozen=True)
class Answered:
    """All answers of one owner: an adapter, or the plain model for a task."""

    owner: AnswerKey
    task: Task
    completions: tuple[Completion, ...]  # in the order of the task's queries


def _request_id(owner: AnswerKey, query: Query) -> str:
    """Ids of tasks, adapters and questions hold whatever people like."""
    return content_id(*owner, query.id)


def list_keyed_requests(
    lines: Sequence[Record], queries: Queries, sampling: Sampling, known: Collection[AnswerKey]
) -> Iterator[tuple[str, Request]]:
    """(key of the line, request): the baseline's questions before the first line of each task, then each adapter's."""
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
    """Each owner's answers as soon as the last of them has come."""
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
