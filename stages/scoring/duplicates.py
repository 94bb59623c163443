"""Which self-edits of a task choose the same, and how many can be read."""

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
            self.add(line)

    def classify(self, line: Record, *, unique: bool) -> EditClass:
        """Count a self-edit that has just come. Only where they are to be `unique` may one be a repeat."""
        if not is_written(line):
            return "lost"
        self.completions += 1
        if line.edit is not None and line.edit.error is not None:
            return "unreadable"  # the model's failure
        self.readable += 1
        choice = _get_choice(line)
        if unique and choice is not None and choice in self.by_task.get(line.task.id, ()):
            self.repeats += 1
            return "repeat"
        return "good"

    def add(self, line: Record) -> Record:
        """The line, which others must not repeat from here on."""
        self.by_task.setdefault(line.task.id, set()).add(_get_choice(line))
        return line

    @property
    def summary(self) -> str:
        """`41 of 60 completions can be read (68.3 %), 12 repeat another of their task`"""
        share = f" ({100 * self.readable / self.completions:.1f} %)" if self.completions else ""
        repeats = f", {self.repeats} repeat another of their task" if self.repeats else ""
        return f"{self.readable} of {self.completions} completions can be read{share}{repeats}"


def is_written(line: Record) -> bool:
    """Whether the editor has answered, were it with a refusal."""
    return line.edit is None or line.edit.finish != "failed"


def _get_choice(line: Record) -> ArcChoice | None:
    """What was chosen, however it was written; None where the self-edit cannot be read."""
    choice = line.edit.chosen if line.edit else None
    return choice.model_copy(update={"repairs": ()}) if choice else None
