"""Whose answers a score line waits for: the plain model's for its task, and its adapter's."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from stages.records.record import Record
from stages.scoring.grading import owner_of

Owner = tuple[Literal["task", "adapter", "nobody"], str]
NOBODY: Owner = ("nobody", "")  # for whom a line waits that needs no answers


def plain(line: Record) -> Owner:
    return "task", line.task.id


def adapted(line: Record) -> Owner:
    return "adapter", line.adapter.id if line.adapter else ""


def owners(line: Record, known: Collection[Owner]) -> list[Owner]:
    """Whose answers a line needs: the plain model's where they are not known, and its adapter's."""
    baseline = [] if plain(line) in known else [plain(line)]
    return baseline + ([adapted(line)] if line.adapter and line.adapter.path else [])


class Waiting:
    """The lines whose answers are not all there, by those whose answers they wait for."""

    def __init__(self, lines: Sequence[Record], done: Mapping[Owner, object]) -> None:
        self.lacking = {owner_of(line): set(owners(line, done)) for line in lines}
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
