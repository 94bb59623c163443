"""What the self-edits of a task choose, which of them choose the same, and how many can be read."""

from collections.abc import Iterable
from typing import Literal

from stages.records.arc import ArcChoice
from stages.records.record import Record

EditClass = Literal["good", "unreadable", "repeat", "lost"]


class EditTracker:
    """What the self-edits of each task have chosen so far."""

    def __init__(self, known: Iterable[Record] = ()) -> None:
        self.by_task: dict[str, set[ArcChoice | None]] = {}
        self.completions = self.readable = self.repeats = 0  # that came, can be read, and repeat another of their task
        for line in known:
            self.added(line)

    def worth(self, line: Record, *, unique: bool) -> EditClass:
        """What a self-edit is worth that has just come. Only where they are to be `unique` may one be a repeat."""
        if not is_written(line):
            return "lost"
        self.completions += 1
        if _is_unreadable(line):
            return "unreadable"
        self.readable += 1
        chosen = _chosen_by(line)
        if unique and chosen is not None and chosen in self.by_task.get(line.task.id, ()):
            self.repeats += 1
            return "repeat"
        return "good"

    def added(self, line: Record) -> Record:
        """The line, which others must not repeat from here on."""
        self.by_task.setdefault(line.task.id, set()).add(_chosen_by(line))
        return line

    @property
    def told(self) -> str:
        """`41 of 60 completions can be read (68.3 %), 12 repeat another`"""
        share = f" ({100 * self.readable / self.completions:.1f} %)" if self.completions else ""
        repeats = f", {self.repeats} repeat another of their task" if self.repeats else ""
        return f"{self.readable} of {self.completions} completions can be read{share}{repeats}"


def is_written(line: Record) -> bool:
    """Whether the editor has answered, were it with a refusal."""
    return line.edit is None or line.edit.finish != "failed"


def _is_unreadable(line: Record) -> bool:
    """Whether there is a completion that is no self-edit: the model's failure."""
    return line.edit is not None and line.edit.error is not None and is_written(line)


def _chosen_by(line: Record) -> ArcChoice | None:
    """What was chosen, however it was written; None where the self-edit cannot be read."""
    chosen = line.edit.chosen if line.edit else None
    return chosen.model_copy(update={"repairs": ()}) if chosen else None
