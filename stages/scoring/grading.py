"""Answers in groups, such as those of one line, to their verdicts: a judge sees one long stream of cases, each once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from stages.judges.base import Case, Judge, Verdict, grade_pairs
from stages.records.record import Record

_K = TypeVar("_K")
AnswerItem = Case | Verdict  # an answer to be graded, or one that needs no judge
EMPTY_ANSWER = Verdict(False, "empty answer")


def get_owner_id(record: Record) -> str:
    """Whose answers the line's are: its adapter's, or the plain model's for its task."""
    return record.adapter.id if record.adapter else record.task.id


def grade_groups(
    groups: Iterable[tuple[_K, Sequence[AnswerItem]]], judge: Judge, tell: Callable[[Case], object] = lambda case: None
) -> Iterator[tuple[_K, tuple[Verdict, ...]]]:
    """The verdicts of each group as soon as it has them all.

    An empty answer is wrong without asking (SEAL App. B), and what was asked before is not asked again. A judge that
    grades many cases at once takes them ahead. Each case that was graded is told to `tell`.
    """
    waiting: Waiting[_K] = Waiting()

    def cases() -> Iterator[Case]:
        for key, items in groups:
            yield from waiting.add(key, items)

    for case, verdict in grade_pairs(judge, cases()):
        waiting.settle(case, verdict)
        tell(case)
        yield from waiting.whole()
    yield from waiting.whole()
    if waiting.groups:
        raise RuntimeError(f"the judge {judge.name} gave too few verdicts")


def grade_without_judge(groups: Iterable[tuple[_K, Sequence[AnswerItem]]]) -> Iterator[tuple[_K, tuple[Verdict, ...]]]:
    """The same where no answer needs a judge: each group as it comes. Raises RuntimeError for one that does."""
    for key, items in groups:
        if any(isinstance(item, Case) for item in items):
            raise RuntimeError("an answer needs a judge, but there is none")
        yield key, tuple(item for item in items if isinstance(item, Verdict))


class Waiting(Generic[_K]):
    """Groups that lack verdicts, and all verdicts so far."""

    def __init__(self) -> None:
        self.groups: dict[int, tuple[_K, Sequence[AnswerItem]]] = {}
        self.lacking: dict[int, set[Case]] = {}
        self.known: dict[Case, Verdict | None] = {}  # None: asked
        self.askers: dict[Case, list[int]] = {}
        self.ready: deque[int] = deque()
        self.added = 0

    def add(self, key: _K, items: Sequence[AnswerItem]) -> Iterator[Case]:
        """One group more; the cases of it that are to be asked."""
        number, self.added = self.added, self.added + 1
        open_cases = {item: None for item in items if isinstance(item, Case) and not is_empty(item)}
        lacking = {case for case in open_cases if self.known.get(case) is None}
        self.groups[number], self.lacking[number] = (key, items), lacking
        if not lacking:
            self.ready.append(number)
        for case in lacking:  # before any is asked: verdicts may come while it is
            self.askers.setdefault(case, []).append(number)
        for case in open_cases:
            if case not in self.known:
                self.known[case] = None
                yield case

    def settle(self, case: Case, verdict: Verdict) -> None:
        self.known[case] = verdict
        for number in self.askers.pop(case, ()):
            self.lacking[number].discard(case)
            if not self.lacking[number]:
                self.ready.append(number)

    def whole(self) -> Iterator[tuple[_K, tuple[Verdict, ...]]]:
        """The groups that have got all their verdicts since it was last asked."""
        while self.ready:
            number = self.ready.popleft()
            key, items = self.groups.pop(number)
            del self.lacking[number]
            yield key, tuple(self._verdict(item) for item in items)

    def _verdict(self, item: AnswerItem) -> Verdict:
        if isinstance(item, Verdict):
            return item
        return EMPTY_ANSWER if is_empty(item) else self.known[item] or Verdict(None, "api_error: no verdict")


def is_empty(case: Case) -> bool:
    return not case.prediction.strip()
