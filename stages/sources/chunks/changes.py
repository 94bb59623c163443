"""What has changed since texts were cut into tasks before: new and changed chunks, and those that are gone.

A chunk is the same where its words are, whatever its title and wherever it stands now. A new one has changed another
where that is gone from the same section, or from the same document, and shares enough of its words; and where its words
are the same and its questions others. What stands in a file that was not read this time is not gone.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.file_kinds import check_lines
from stages.records.frozen import content_id
from stages.records.jsonl import Lines, OnReject, Reject, read_bounded_lines
from stages.records.parser import parse_record
from stages.records.record import Record
from stages.records.task import QaTask
from stages.sources.chunks.similarity import WordIndex
from stages.sources.datasets.folders import Omission, OnOmission

SEPARATOR = " › "  # between a document and the headings of a chunk
_NUMBER = re.compile(r" \(\d+\)$")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")
_SHARED_IN_SECTION, _SHARED_IN_DOCUMENT = 0.3, 0.6  # of the longer one's words, with which a chunk is a changed one
_MOST_REPLACED = 8  # by one chunk: in a long text without headings nearly all chunks share so many words


@dataclass(frozen=True)
class _Old:
    """A task from before: its id and title, how often it has which word, its questions, its file where it says one."""

    id: str
    title: str
    words: Mapping[str, int]
    questions: frozenset[tuple[str, tuple[str, ...]]]  # with their gold answers
    file: str | None

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
    not_read: dict[str, str] = field(default_factory=dict)  # as well, of files that were not read this time
    _sources: set[Path] = field(default_factory=set)
    _bad: set[Path] = field(default_factory=set)  # files and folders that were rejected or left out

    def watch(
        self, sources: Iterable[str], refuse: OnReject, leave_out: OnOmission, read: Container[str]
    ) -> tuple[OnReject, OnOmission]:
        """Return callbacks that note, too, what of the sources is not read. `read`: omissions of files that were."""
        self._sources = {Path("stdin" if source == "-" else source).absolute() for source in sources}

        def note_reject(reject: Reject) -> None:
            self._bad.add(Path(reject.source).absolute())
            refuse(reject)

        def note_omission(omission: Omission) -> None:
            if omission.kind not in read:
                self._bad.add(Path(omission.path).absolute())
            leave_out(omission)

        return note_reject, note_omission

    def pick(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield what the file does not have; reads everything first. A changed task says under `meta.replaces` whom.

        Raises MissingInput or BadInput for a file that is not there or no tasks, BadConfig for tasks without a passage.
        """
        before = _read_tasks(self.file)
        known: dict[str, list[_Old]] = {}
        for digest, old in before:
            known.setdefault(digest, []).append(old)
        kept, fresh = set[str](), list[tuple[Record, QaTask]]()
        for record in records:
            if not isinstance(record.task, QaTask):
                raise BadConfig(f"--since {self.file}: compares passages, which {record.task.name} has not")
            asked = _ask(record.task)
            same = {old.id for old in known.get(_digest(record.task), ()) if not asked or asked == old.questions}
            kept |= same
            if not same:
                fresh.append((record, record.task))
        self.unchanged = list(dict.fromkeys(old.id for _, old in before if old.id in kept))
        gone = [old for _, old in before if old.id not in kept]
        replaced = _pair([task for _, task in fresh], [old for old in gone if not _stands_in(self._bad, old)])
        taken = {old.id for olds in replaced.values() for old in olds}
        for old in gone:
            if old.id not in taken:
                is_read = not _stands_in(self._bad, old) and (not self._sources or _stands_in(self._sources, old))
                (self.withdrawn if is_read or not old.file else self.not_read)[old.id] = old.title
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
        more = f", {len(self.not_read)} not read this time" if self.not_read else ""
        return f"since {self.file}: {', '.join(f'{len(ids)} {kind}' for kind, ids in counts.items())}{more}"

    def facts(self) -> dict[str, Any]:
        """Return for the manifest the ids of each kind: new ones of the output, the others of the earlier file."""
        found = {"new": self.added, "changed": self.changed, "withdrawn": list(self.withdrawn)}
        unread = {"not_read": list(self.not_read)} if self.not_read else {}
        return {"file": str(self.file), **found, "unchanged": self.unchanged, **unread}


def _digest(task: QaTask) -> str:
    return content_id("text", task.context)


def _ask(task: QaTask) -> frozenset[tuple[str, tuple[str, ...]]]:
    return frozenset((question.question, question.golds) for question in task.questions)


def _stands_in(places: Container[Path], old: _Old) -> bool:
    """True if the task's file is one of these, or in a folder that is."""
    path = Path(old.file or "").absolute()
    return old.file is not None and any(each in places for each in (path, *path.parents))


def _read_tasks(path: Path) -> list[tuple[str, _Old]]:
    """The tasks of a file, each once, after the digests of their passages."""
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise MissingInput(f"--since {path}: {what}; give the file of tasks from before")
    found: dict[str, tuple[str, _Old]] = {}
    with path.open("rb") as file:
        for record in Lines(check_lines(read_bounded_lines(file), str(path)), str(path), parse_record):
            if not isinstance(record.task, QaTask):
                raise BadInput(f"--since {path}: compares passages, which {record.task.name} has not")
            task, source = record.task, (record.meta or {}).get("source")
            place = source.get("file") if isinstance(source, Mapping) else None
            words = Counter(_WORD.findall(task.context))
            old = _Old(task.id, task.title, words, _ask(task), place if isinstance(place, str) else None)
            found.setdefault(task.id, (_digest(task), old))
    return list(found.values())


def _pair(fresh: Sequence[QaTask], gone: Sequence[_Old]) -> dict[str, list[_Old]]:
    """For each new task those that are gone and that it replaces: of its section, else of its document."""
    sections: dict[str, list[_Old]] = {}
    documents: dict[str, list[_Old]] = {}
    for old in gone:
        sections.setdefault(old.section, []).append(old)
        documents.setdefault(old.section.partition(SEPARATOR)[0], []).append(old)
    own, near = _Groups(sections, _SHARED_IN_SECTION), _Groups(documents, _SHARED_IN_DOCUMENT)
    found: dict[str, list[_Old]] = {}
    for task in fresh:
        words, section = Counter(_WORD.findall(task.context)), _NUMBER.sub("", task.title)
        alike = own.find_alike(section, words)[:_MOST_REPLACED]
        found[task.id] = alike or near.find_alike(section.partition(SEPARATOR)[0], words)[:1]
    return found


class _Groups:
    """Tasks from before in groups, by name; the words of a group are looked at when it is asked for."""

    def __init__(self, groups: Mapping[str, Sequence[_Old]], least: float) -> None:
        self._groups, self._least = groups, least
        self._indexes: dict[str, WordIndex[_Old]] = {}

    def find_alike(self, name: str, words: Mapping[str, int]) -> list[_Old]:
        if name not in self._indexes:
            self._indexes[name] = WordIndex([(old, old.words) for old in self._groups.get(name, ())], self._least)
        return self._indexes[name].find_alike(words)
