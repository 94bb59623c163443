"""Grade answers in groups, such as those of one line, and track the answers that a line still needs.

The judge gets one stream of cases, each of them once.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from stages.errors import BadLine
from stages.judges.base import Case, Judge, Verdict, grade_pairs
from stages.records.frozen import content_id
from stages.records.record import Origin, Record
from stages.records.task import Task
from stages.records.thoughts import extract_answer

_K = TypeVar("_K")
AnswerItem = Case | Verdict  # an answer to be graded, or one that needs no judge
EMPTY_ANSWER = Verdict(False, "empty answer")


def get_owner_id(record: Record) -> str:
    """Return the id that the line's answers belong to: its adapter's, or its task's for the plain model.

    About a task that the adapter was not trained on, the id names that, too. A pool's adapter is on the lines of many
    self-edits; there the id names the self-edit, too.
    """
    adapter = record.adapter
    if adapter and adapter.origin:
        return f"{adapter.id}/{content_id(record.task.id)}"
    if adapter and adapter.is_pooled:
        return get_pooled_id(adapter.id, record)
    return adapter.id if adapter else record.task.id


def get_pooled_id(adapter_id: str, record: Record) -> str:
    """Return the id that the answers of a line belong to whose adapter is a pool's."""
    return f"{adapter_id}/{content_id(record.task.id, record.edit.id if record.edit else None)}"


@dataclass(frozen=True)
class _Group(Generic[_K]):
    key: _K
    items: Sequence[AnswerItem]
    lacking: set[Case]


def grade_groups(
    groups: Iterable[tuple[_K, Sequence[AnswerItem]]], judge: Judge, tell: Callable[[Case], object] = lambda case: None
) -> Iterator[tuple[_K, tuple[Verdict, ...]]]:
    """Yield the verdicts of each group as soon as it has them all.

    An empty answer is wrong without asking (SEAL App. B), and what was asked before is not asked again. A judge that
    grades many cases at once takes them ahead. Each case that was graded is told to `tell`.
    """
    verdicts: dict[Case, Verdict] = {}
    waiting: dict[Case, list[_Group[_K]]] = {}  # by each case that they lack, which is asked once
    ready: deque[_Group[_K]] = deque()

    def list_cases() -> Iterator[Case]:
        for key, items in groups:
            cases = dict.fromkeys(item for item in items if isinstance(item, Case) and not is_empty(item))
            lacking = [case for case in cases if case not in verdicts]
            new = [case for case in lacking if case not in waiting]
            group = _Group(key, items, set(lacking))
            if not lacking:
                ready.append(group)
            for case in lacking:  # before any is asked: verdicts may come while it is
                waiting.setdefault(case, []).append(group)
            yield from new

    def take_ready() -> Iterator[tuple[_K, tuple[Verdict, ...]]]:
        while ready:
            group = ready.popleft()
            yield (
                group.key,
                tuple(
                    item if isinstance(item, Verdict) else EMPTY_ANSWER if is_empty(item) else verdicts[item]
                    for item in group.items
                ),
            )

    for case, verdict in grade_pairs(judge, list_cases()):
        verdicts[case] = verdict
        for group in waiting.pop(case, ()):
            group.lacking.discard(case)
            if not group.lacking:
                ready.append(group)
        tell(case)
        yield from take_ready()
    yield from take_ready()
    if waiting:
        raise RuntimeError(f"the judge {judge.name} gave too few verdicts")


def grade_without_judge(
    groups: Iterable[tuple[_K, Sequence[AnswerItem]]],
) -> Iterator[tuple[_K, tuple[Verdict, ...]]]:
    """Yield each group as it comes, if no answer needs a judge. Raises RuntimeError for one that does."""
    for key, items in groups:
        if any(isinstance(item, Case) for item in items):
            raise RuntimeError("an answer needs a judge, but there is none")
        yield key, tuple(item for item in items if isinstance(item, Verdict))


def is_empty(case: Case) -> bool:
    return not case.prediction.strip()


# ---- the answers of a line: its task's baseline and its adapter's

AnswerKey = tuple[Literal["task", "adapter"], str]


def get_baseline_key(line: Record) -> AnswerKey:
    return "task", line.task.id


def get_adapter_key(line: Record) -> AnswerKey:
    """Return the key of the adapter's answers to the line's task. The lines of a pool about one task share them."""
    adapter = line.adapter
    if adapter and (adapter.origin or adapter.is_pooled):
        return "adapter", f"{adapter.id}/{content_id(line.task.id)}"
    return "adapter", adapter.id if adapter else ""


def list_missing_keys(line: Record, known: Collection[AnswerKey]) -> list[AnswerKey]:
    """List the answers that a line still needs: of the plain model's and its adapter's those that are not known."""
    own = [get_adapter_key(line)] if line.adapter and line.adapter.path else []
    return [key for key in (get_baseline_key(line), *own) if key not in known]


def ask_other_task(line: Record, task: Task) -> Record:
    """Return a line about this task and the line's adapter, which says what it was trained on."""
    if line.adapter is None:
        raise BadLine(f"task {line.task.name!r} has no adapter to ask about other tasks (run `seal adapt` first)")
    own = Origin(task_id=line.task.id, edit_id=line.edit.id if line.edit else None)
    origin = line.adapter.origin or (Origin(task_id=None, edit_id=None) if line.adapter.is_pooled else own)
    return Record(task=task, adapter=line.adapter.model_copy(update={"origin": origin}), meta=line.meta)


def list_parts(line: Record, anchors: Sequence[Task]) -> list[Record]:
    """List what is asked for a line: its own task, and with its adapter each anchor."""
    return [line, *(ask_other_task(line, task) for task in anchors if line.adapter)]


class PendingLines:
    """Lines that still lack answers, to their own tasks and to the anchors, by the answers they wait for."""

    def __init__(self, lines: Sequence[Record], done: Mapping[AnswerKey, object], anchors: Sequence[Task] = ()) -> None:
        self.lacking = {
            get_owner_id(line): {key for part in list_parts(line, anchors) for key in list_missing_keys(part, done)}
            for line in lines
        }
        self.ready = [line for line in lines if not self.lacking[get_owner_id(line)]]
        self.waiting: dict[AnswerKey, list[Record]] = {}
        for line in lines:
            for owner in self.lacking[get_owner_id(line)]:
                self.waiting.setdefault(owner, []).append(line)

    def complete(self, found: Iterable[AnswerKey]) -> Iterator[Record]:
        """Yield each line as soon as the last of its answers is found; first those that need none."""
        yield from self.ready
        for owner in found:
            for line in self.waiting.pop(owner, []):
                self.lacking[get_owner_id(line)].discard(owner)
                if not self.lacking[get_owner_id(line)]:
                    yield line


def is_answered(line: Record) -> bool:
    """Return True if every question of a finished line has its answers, right, wrong or not yet judged."""
    kept = line.score.retention.answers if line.score and line.score.retention else []
    answers = [*(line.score.answers if line.score else ()), *kept]
    said = [(each.prediction, each.correct) for each in kept]
    said += [(each.baseline_prediction, each.baseline_correct) for each in kept]
    if any(text is not None and correct is None and _ends_behind_thought(text) for text, correct in said):
        return False  # not judged, and `seal judge` does not know the anchors' gold answers
    own, baseline = line.adapter is None or line.adapter.path is not None, line.adapter is not None
    return all(
        not (own and answer.prediction is None) and not (baseline and answer.baseline_prediction is None)
        for answer in answers
    )


def _ends_behind_thought(said: str) -> bool:
    """True if a judge would be asked about the answer: it does not end within its thought."""
    return extract_answer(said, "length") is not None
