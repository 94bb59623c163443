"""Answers in groups, such as those of one adapter, to their verdicts: a judge sees one long stream of cases."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from stages.judges.base import Case, Judge, Verdict

K = TypeVar("K")
Item = Case | Verdict  # an answer to be graded, or one that needs no judge
EMPTY = Verdict(False, "empty answer")


def in_groups(groups: Iterable[tuple[K, Sequence[Item]]], judge: Judge) -> Iterator[tuple[K, tuple[Verdict, ...]]]:
    """The verdicts of each group, in order, as soon as the judge has given them.

    An empty answer is wrong without asking (SEAL App. B). A judge that grades many cases at once takes them ahead.
    """
    waiting: deque[tuple[K, list[Item]]] = deque()
    given: deque[Verdict] = deque()

    def cases() -> Iterator[Case]:
        for key, answers in groups:
            items = [EMPTY if is_empty(item) else item for item in answers]
            waiting.append((key, items))
            yield from (item for item in items if isinstance(item, Case))

    for verdict in judge.grade(cases()):
        given.append(verdict)
        yield from _whole(waiting, given)
    yield from _whole(waiting, given)
    if waiting or given:
        raise RuntimeError(f"the judge {judge.name} gave too {'few' if waiting else 'many'} verdicts")


def is_empty(item: Item) -> bool:
    return isinstance(item, Case) and not item.prediction.strip()


def _whole(waiting: deque[tuple[K, list[Item]]], given: deque[Verdict]) -> Iterator[tuple[K, tuple[Verdict, ...]]]:
    """The groups at the front that have all their verdicts."""
    while waiting and sum(isinstance(item, Case) for item in waiting[0][1]) <= len(given):
        key, items = waiting.popleft()
        yield key, tuple(given.popleft() if isinstance(item, Case) else item for item in items)
