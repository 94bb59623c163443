"""Lines that must differ from one another: one task for each id, and no line twice.

The rule of every stage that reads lines: one that comes again, by the ids of what it is about and whatever else stands
on it, is rejected with its place, and the first counts; so is one whose task is another under a known id.
"""

from collections.abc import Hashable

from stages.errors import BadLine
from stages.records.record import Task


class UniqueLines:
    """What has been there. A line that is refused counts for nothing."""

    def __init__(self) -> None:
        self.tasks: dict[str, int] = {}  # a hash of each task by its id
        self.seen: set[Hashable] = set()
        self.last: Task | None = None  # lines in a row share their task, which is then the same object

    def add_task(self, task: Task) -> None:
        """Raises BadLine for another task of a known id."""
        if task is self.last:
            return
        own = hash(task)
        if self.tasks.setdefault(task.id, own) != own:
            raise BadLine(f"two different tasks have the id {task.id}; give each its own")
        self.last = task

    def add(self, task: Task, key: Hashable, told: str) -> None:
        """A line about this task. Raises BadLine for another task of a known id, and for a known key."""
        if task.id in self.tasks:
            self.add_task(task)
        self.check(key, told)
        self.add_task(task)
        self.seen.add(key)

    def check(self, key: Hashable, told: str) -> None:
        """Raises BadLine for a known key."""
        if key in self.seen:
            raise BadLine(f"{told}; each line must be another")
