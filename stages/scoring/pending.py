"""A score line needs two sets of answers: its task's baseline and its adapter's. Tracks which are still missing."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from stages.records.record import Record
from stages.scoring.grading import get_owner_id

AnswerKey = tuple[Literal["task", "adapter", "nobody"], str]
NO_ANSWERS: AnswerKey = ("nobody", "")  # for whom a line waits that needs no answers


def get_baseline_key(line: Record) -> AnswerKey:
    return "task", line.task.id


def get_adapter_key(line: Record) -> AnswerKey:
    return "adapter", line.adapter.id if line.adapter else ""


def list_missing_keys(line: Record, known: Collection[AnswerKey]) -> list[AnswerKey]:
    """List the answers that a line still needs: the plain model's, if they are not known, and its adapter's."""
    baseline = [] if get_baseline_key(line) in known else [get_baseline_key(line)]
    return baseline + ([get_adapter_key(line)] if line.adapter and line.adapter.path else [])


class PendingLines:
    """Lines that still lack answers, by the answers they wait for."""

    def __init__(self, lines: Sequence[Record], done: Mapping[AnswerKey, object]) -> None:
        self.lacking = {get_owner_id(line): set(list_missing_keys(line, done)) for line in lines}
        self.waiting: dict[AnswerKey, list[Record]] = {}
        for line in lines:
            for owner in self.lacking[get_owner_id(line)] or {NO_ANSWERS}:
                self.waiting.setdefault(owner, []).append(line)

    def ready(self, owner: AnswerKey) -> list[Record]:
        """Return the lines that waited for these answers alone."""
        touched = self.waiting.pop(owner, [])
        for line in touched:
            self.lacking[get_owner_id(line)].discard(owner)
        return [line for line in touched if not self.lacking[get_owner_id(line)]]
