"""Find duplicates: content that two sources share is read once, and lines of one input must differ."""

from collections.abc import Hashable, Iterator

from stages.errors import BadLine
from stages.records.frozen import content_id
from stages.records.jsonl import OnReject, to_json
from stages.records.record import Record
from stages.records.task import QaTask, Task
from stages.sources.datasets.folders import Omission, OnOmission, reject_file

TWICE = "twice"  # the kind of such an omission


class DuplicateFilter:
    """Fingerprints of what was read so far. Lines of one file are never compared with one another."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.seen: dict[str, int] = {}  # digest → its file
        self.called: dict[str, tuple[str, int]] = {}  # the name of a task → what it says, its file

    def leave_out(
        self, records: Iterator[Record], name: str, leave_out: OnOmission, refuse: OnReject
    ) -> Iterator[Record]:
        """Yield a file's records that no earlier file has. Another task under a known name goes to `refuse`."""
        self.names.append(name)
        mine = len(self.names) - 1
        for record in records:
            first = self.seen.setdefault(_digest_content(record), mine)
            if first != mine:
                leave_out(Omission(name, TWICE, f"{record.task.name} is in {self.names[first]} already"))
                continue
            if record.task.is_named:
                says = _digest_content(Record(task=record.task))
                known, other = self.called.setdefault(record.task.id, (says, mine))
                if known != says and other != mine:
                    reason = f"{record.task.id}: another task is called so in {self.names[other]}; rename one of them"
                    refuse(reject_file(name, reason, to_json(record).encode("utf-8", "replace")))
                    continue
            yield record


def _digest_content(record: Record) -> str:
    """Equal for lines that say the same. A text is its words, whatever its title; a passage not its questions' ids."""
    task = record.task
    if record.edit is None and record.adapter is None and record.score is None and isinstance(task, QaTask):
        if not task.questions:
            return content_id("text", task.context)
        return content_id("qa", task.title, task.context, [(q.question, *q.golds) for q in task.questions])
    return content_id(to_json(record.grow(meta=None)))


class UniqueLines:
    """Checks that lines differ from one another: one task for each id, and no line twice.

    The rule of every stage that reads lines: one that comes again, by the ids of what it is about and whatever else
    stands on it, is rejected with its place, and the first counts; so is one whose task is another under a known id.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, int] = {}  # a hash of each task by its id
        self.seen: set[Hashable] = set()
        self.last: Task | None = None  # lines in a row share their task, which is then the same object

    def add_task(self, task: Task) -> None:
        """Add a task. Raises BadLine if another one has its id."""
        if task is self.last:
            return
        own = hash(task)
        if self.tasks.setdefault(task.id, own) != own:
            raise BadLine(f"two different tasks have the id {task.id}; give each its own")
        self.last = task

    def add(self, task: Task, key: Hashable, told: str) -> None:
        """Add a line about this task. Raises BadLine for another task of a known id, and for a known key."""
        if task.id in self.tasks:
            self.add_task(task)
        self.check(key, told)
        self.add_task(task)
        self.seen.add(key)

    def check(self, key: Hashable, told: str) -> None:
        """Raise BadLine for a known key."""
        if key in self.seen:
            raise BadLine(f"{told}; each line must be another")
