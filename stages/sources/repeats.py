"""The same content in two files, or in two sources: it is taken once, and told."""

from collections.abc import Iterator

from stages.records.frozen import content_id
from stages.records.jsonl import OnReject, to_json
from stages.records.record import QaTask, Record
from stages.sources.datasets.folders import Omission, OnOmission, reject_file

TWICE = "twice"  # the kind of such an omission


class DuplicateFilter:
    """What was read so far, as fingerprints. Lines of one file are never compared with one another."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.seen: dict[str, int] = {}  # digest → its file
        self.called: dict[str, tuple[str, int]] = {}  # the name of a task → what it says, its file

    def leave_out(
        self, records: Iterator[Record], name: str, leave_out: OnOmission, refuse: OnReject
    ) -> Iterator[Record]:
        """The records of one file that none before it has. Another task under the same name is told to `refuse`."""
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
