"""What the self-edits of a task choose, and which of them choose the same."""

from collections.abc import Iterable

from stages.arc_records import ArcChoice
from stages.records import Record


class Choices:
    """What the self-edits of each task have chosen so far."""

    def __init__(self, known: Iterable[Record]) -> None:
        self.by_task: dict[str, set[ArcChoice | None]] = {}
        for line in known:
            self.add(line)

    def has(self, line: Record) -> bool:
        chosen = chosen_by(line)
        return chosen is not None and chosen in self.by_task.get(line.task.id, ())

    def add(self, line: Record) -> None:
        self.by_task.setdefault(line.task.id, set()).add(chosen_by(line))


def chosen_by(line: Record) -> ArcChoice | None:
    """What was chosen, however it was written; None where the self-edit cannot be read."""
    chosen = line.edit.chosen if line.edit else None
    return chosen.model_copy(update={"repairs": ()}) if chosen else None
