"""Track which self-edits of a task make the same choice, and how many can be read."""

from collections.abc import Iterable
from typing import Literal

from stages.records.arc import ArcChoice
from stages.records.record import Record

EditClass = Literal["good", "unreadable", "repeat", "lost"]


class EditTracker:
    """Remembers what the self-edits of each task chose."""

    def __init__(self, known: Iterable[Record] = ()) -> None:
        self.by_task: dict[str, set[ArcChoice | None]] = {}
        self.completions = self.readable = self.repeats = 0  # that came, can be read, and repeat another of their task
        for line in known:
            self.add(line)

    def classify(self, line: Record, *, unique: bool) -> EditClass:
        """Count a self-edit that has just come. It can be a repeat only if self-edits are to be `unique`."""
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
        """Remember a line's choice, which later ones must not repeat. Returns the line."""
        self.by_task.setdefault(line.task.id, set()).add(_get_choice(line))
        return line

    @property
    def summary(self) -> str:
        """Summarise: `41 of 60 completions can be read (68.3 %), 12 repeat another of their task`"""
        share = f" ({100 * self.readable / self.completions:.1f} %)" if self.completions else ""
        repeats = f", {self.repeats} repeat another of their task" if self.repeats else ""
        return f"{self.readable} of {self.completions} completions can be read{share}{repeats}"


def is_written(line: Record) -> bool:
    """Return whether the editor has answered, even with a refusal."""
    return line.edit is None or line.edit.finish != "failed"


def _get_choice(line: Record) -> ArcChoice | None:
    """Return what was chosen, however it was written; None if the self-edit cannot be read."""
    choice = line.edit.chosen if line.edit else None
    return choice.model_copy(update={"repairs": ()}) if choice else None
