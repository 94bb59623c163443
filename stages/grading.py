"""Answers in groups, such as those of one line, to their verdicts: a judge sees one long stream of cases, each once."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from stages.judges.base import Case, Judge, Verdict
from stages.records import Record

K = TypeVar("K")
Item = Case | Verdict  # an answer to be graded, or one that needs no judge
EMPTY = Verdict(False, "empty answer")


def owner_of(record: Record) -> str:
    """Whose answers the line's are: its adapter's, or the plain model's for its task."""
    return record.adapter.id if record.adapter else record.task.id


def in_groups(groups: Iterable[tuple[K, Sequence[Item]]], judge: Judge) -> Iterator[tuple[K, tuple[Verdict, ...]]]:
    """The verdicts of each group, in order, as soon as the judge has given them.

    An empty answer is wrong without asking (SEAL App. B), and what was asked before is not asked again. A judge that
    grades many cases at once takes them ahead.
    """
    waiting: deque[tuple[K, Sequence[Item]]] = deque()
    asked: deque[Case] = deque()
    known: dict[Case, Verdict | None] = {}  # None: asked

    def cases() -> Iterator[Case]:
        for key, items in groups:
            waiting.append((key, items))
            for item in items:
                if isinstance(item, Case) and item not in known and not is_empty(item):
                    known[item] = None
                    asked.append(item)
                    yield item

    for verdict in judge.grade(cases()):
        if not asked:
            raise RuntimeError(f"the judge {judge.name} gave too many verdicts")
        known[asked.popleft()] = verdict
        yield from _whole(waiting, known)
    yield from _whole(waiting, known)
    if waiting:
        raise RuntimeError(f"the judge {judge.name} gave too few verdicts")


def is_empty(case: Case) -> bool:
    return not case.prediction.strip()


def _whole(
    waiting: deque[tuple[K, Sequence[Item]]], known: dict[Case, Verdict | None]
) -> Iterator[tuple[K, tuple[Verdict, ...]]]:
    """The groups at the front that have all their verdicts."""
    while waiting:
        key, items = waiting[0]
        found = [_verdict(item, known) for item in items]
        whole = tuple(verdict for verdict in found if verdict)
        if len(whole) < len(found):
            return
        waiting.popleft()
        yield key, whole


def _verdict(item: Item, known: dict[Case, Verdict | None]) -> Verdict | None:
    if isinstance(item, Verdict):
        return item
    return EMPTY if is_empty(item) else known.get(item)
