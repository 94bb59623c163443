"""What has changed since texts were cut into tasks before: new and changed chunks, and those that are gone.

A chunk is the same where its words are, whatever its title and wherever it stands now. A new one has changed another
where that is gone from the same section, or from the same document, and shares enough of its words.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.file_kinds import check_lines
from stages.records.frozen import content_id
from stages.records.jsonl import Lines, read_bounded_lines
from stages.records.parser import parse_record
from stages.records.record import Record
from stages.records.task import QaTask

SEPARATOR = " › "  # between a document and the headings of a chunk
_NUMBER = re.compile(r" \(\d+\)$")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")
_SHARED_IN_SECTION, _SHARED_IN_DOCUMENT = (
    0.3,
    0.6,
)  # of the words of the longer one, with which a chunk is a changed one


@dataclass(frozen=True)
class _Old:
    """A task from before: its id, its title, and how often it has which word."""

    id: str
    title: str
    words: Mapping[str, int]

    @property
    def section(self) -> str:
        return _NUMBER.sub("", self.title)


@dataclass
class Since:
    """An earlier file of tasks. `pick` compares; then the rest says what it found, by ids."""

    file: Path
    added: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)  # a new task → those from before that it replaces
    unchanged: list[str] = field(default_factory=list)  # ids from before
    withdrawn: dict[str, str] = field(default_factory=dict)  # ids from before → titles

    def pick(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield what the file does not have; reads everything first. A changed task says under `meta.replaces` whom.

        Raises MissingInput or BadInput for a file that is not there or no tasks, BadConfig for tasks without a passage.
        """
        before = _read_tasks(self.file)
        kept, fresh = set[str](), list[tuple[Record, QaTask]]()
        for record in records:
            if not isinstance(record.task, QaTask):
                raise BadConfig(f"--since {self.file}: compares passages, which {record.task.name} has not")
            digest = _digest(record.task)
            if digest in before:
                kept.add(digest)
            else:
                fresh.append((record, record.task))
        self.unchanged = [old.id for digest, old in before.items() if digest in kept]
        gone = [old for digest, old in before.items() if digest not in kept]
        replaced = _pair([task for _, task in fresh], gone)
        taken = {old.id for olds in replaced.values() for old in olds}
        self.withdrawn = {old.id: old.title for old in gone if old.id not in taken}
        for record, _ in fresh:
            olds = [old.id for old in replaced.get(record.task.id, ())]
            if olds:
                self.changed[record.task.id] = olds
                record = record.model_copy(update={"meta": {**(record.meta or {}), "replaces": olds}})
            else:
                self.added.append(record.task.id)
            yield record

    def describe(self) -> str:
        """Say in one line how many tasks are new, changed, withdrawn and unchanged."""
        counts = {"new": self.added, "changed": self.changed, "withdrawn": self.withdrawn, "unchanged": self.unchanged}
        return f"since {self.file}: {', '.join(f'{len(ids)} {kind}' for kind, ids in counts.items())}"

    def facts(self) -> dict[str, Any]:
        """Return for the manifest the ids of each kind: new ones of the output, the others of the earlier file."""
        found = {"new": self.added, "changed": self.changed, "withdrawn": list(self.withdrawn)}
        return {"file": str(self.file), **found, "unchanged": self.unchanged}


def _digest(task: QaTask) -> str:
    return content_id("text", task.context)


def _read_tasks(path: Path) -> dict[str, _Old]:
    """The tasks of a file by the digest of their passages."""
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise MissingInput(f"--since {path}: {what}; give the file of tasks from before")
    found: dict[str, _Old] = {}
    with path.open("rb") as file:
        for record in Lines(check_lines(read_bounded_lines(file), str(path)), str(path), parse_record):
            if not isinstance(record.task, QaTask):
                raise BadInput(f"--since {path}: compares passages, which {record.task.name} has not")
            words = Counter(_WORD.findall(record.task.context))
            found.setdefault(_digest(record.task), _Old(record.task.id, record.task.title, words))
    return found


def _pair(fresh: Sequence[QaTask], gone: Sequence[_Old]) -> dict[str, list[_Old]]:
    """For each new task those that are gone and that it replaces: of its section, else of its document."""
    sections: dict[str, list[_Old]] = {}
    documents: dict[str, list[_Old]] = {}
    for old in gone:
        sections.setdefault(old.section, []).append(old)
        documents.setdefault(old.section.partition(SEPARATOR)[0], []).append(old)
    found: dict[str, list[_Old]] = {}
    for task in fresh:
        words, section = Counter(_WORD.findall(task.context)), _NUMBER.sub("", task.title)
        own = _find_alike(words, sections.get(section, ()), _SHARED_IN_SECTION)
        near = documents.get(section.partition(SEPARATOR)[0], ())
        found[task.id] = own or _find_alike(words, near, _SHARED_IN_DOCUMENT)[:1]
    return found


def _find_alike(words: Mapping[str, int], olds: Sequence[_Old], least: float) -> list[_Old]:
    """Those that share at least so much of the words of the longer one, the most alike first."""
    shares = [(_share(words, old.words), -place, old) for place, old in enumerate(olds)]
    return [old for share, _, old in sorted(shares, key=lambda each: each[:2], reverse=True) if share >= least]


def _share(some: Mapping[str, int], others: Mapping[str, int]) -> float:
    """How many words two texts have in common, of those of the longer one, 0 to 1."""
    common = sum(min(count, others.get(word, 0)) for word, count in some.items())
    return common / max(1, sum(some.values()), sum(others.values()))
