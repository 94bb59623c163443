"""Read records from lines: check for the sections a stage needs, and parse what lines share only once.

Lines come with all seeds of a self-edit together, and all self-edits of a task, so that most of a line is known: the
task and the self-edit that a line shares with the line before are read once. The quick way knows good lines only. It
gives up wherever it is not sure to find just what `parse_json` and the record's rules do; then the line is read by
these, which also say what is wrong.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stages.errors import BadLine
from stages.file_kinds import detect_by_keys
from stages.records.handmade import complete_line
from stages.records.jsonl import MAKERS, Lines, OnReject, raise_on_reject, validate
from stages.records.record import AnyTask, Record, Section, SelfEdit
from stages.records.strict_json import MAX_DEPTH, MAX_VALUES, STRICT_DECODER, JsonObject, parse_json
from stages.records.task import Task

_FIRST = re.compile(r'\{[ \t\r]*"v"[ \t\r]*:[ \t\r]*1[ \t\r]*,[ \t\r]*"task"[ \t\r]*:[ \t\r]*(?=\{)')
_EDIT = re.compile(r'[ \t\r]*,[ \t\r]*"edit"[ \t\r]*:[ \t\r]*(?=\{)')
_MORE = re.compile(r'[ \t\r]*,[ \t\r]*(?=")')
_TASK: TypeAdapter[Task] = TypeAdapter(AnyTask)
_EDITS = TypeAdapter(SelfEdit)


def read_records(
    lines: Iterable[bytes], name: str, needs: Iterable[Section] = (), refuse: OnReject = raise_on_reject
) -> Lines[Record]:
    """Yield records that have every section in `needs`. Missing ones are reported with the stage that makes them."""
    wanted, folder = tuple(needs), Path(name).parent
    return Lines(lines, name, lambda value: _record(value, wanted, folder), refuse, parse=RecordParser().parse)


def _record(value: JsonObject | Record, needs: tuple[Section, ...], folder: Path = Path()) -> Record:
    if not isinstance(value, Record) and "task" not in value:
        raise BadLine(_describe(value))
    absent = [section for section in needs if _lacks(value, section)]
    missing = ", ".join(f"no {each} (run `{MAKERS[each]}` first)" for each in absent)
    try:
        record = value if isinstance(value, Record) else parse_record(value, folder)
    except BadLine as error:
        raise BadLine(f"{error}; {missing}" if absent else str(error)) from None
    if absent:
        raise BadLine(f"has {_sections(record)} but {missing}")
    return record


def _lacks(value: JsonObject | Record, section: Section) -> bool:
    found = getattr(value, section) if isinstance(value, Record) else value.get(section)
    return found is None


def parse_record(value: JsonObject, folder: Path = Path()) -> Record:
    """Return the object as a record, deriving what it leaves out. Raises BadLine naming all that is wrong."""
    return validate(Record, complete_line(value, folder))


def _sections(record: Record) -> str:
    there = ["a task"]
    for section in list(MAKERS)[1:]:
        if getattr(record, section) is not None:
            there.append(f"{'an' if section != 'score' else 'a'} {section}")
    return " and ".join(there)


def _describe(value: JsonObject) -> str:
    """What an object is that is no record, and what to do."""
    if kind := detect_by_keys(value):
        return kind.tell("stdin")
    keys = ", ".join(key[:40] for key in list(value)[:4]) or "nothing"
    pair = {"prompt", "completion"} <= value.keys()
    found = "a training pair from `seal filter`" if pair else f"an object with {keys}"
    return f"{found}, not a record (run `seal tasks` first)"


class RecordParser:
    """Parses line after line. Its records share the tasks and self-edits whose text is the same."""

    def __init__(self) -> None:
        self.task, self.edit = Known(_TASK), Known(_EDITS)

    def parse(self, text: str | bytes) -> Any:
        """Return the Record of a valid line, else what `parse_json` makes of it. Raises its errors."""
        try:
            record = self._record(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):  # ValidationError is a ValueError
            record = None
        return parse_json(text) if record is None else record

    def _record(self, text: str) -> Record | None:
        first = _FIRST.match(text)
        if not first or not _is_plain(text):
            return None
        end = self.task.read(text, first.end())
        known: dict[str, Known] = {"task": self.task}
        if following := _EDIT.match(text, end):
            end = self.edit.read(text, following.end())
            known["edit"] = self.edit
        rest: dict[str, Any] = {}
        if following := _MORE.match(text, end):
            rest = STRICT_DECODER.decode("{" + text[following.end() :])
        elif text[end:].strip(" \t\r") != "}":
            return None
        told = {name: section.told for name, section in known.items()} | rest
        if "v" in rest or len(told) < len(known) + len(rest) or complete_line(told) != told:
            return None
        return Record.model_validate(told | {name: section.value for name, section in known.items()})


class Known:
    """One section: its text on the line before, and what that was."""

    def __init__(self, kind: TypeAdapter[Any]) -> None:
        self.kind = kind
        self.text = ""
        self.told: Any = None  # as JSON has it
        self.value: Any = None

    def read(self, text: str, start: int) -> int:
        """Return where the section that begins here ends. No whole object is the beginning of another one."""
        if self.text and text.startswith(self.text, start):
            return start + len(self.text)
        told, end = STRICT_DECODER.raw_decode(text, start)
        self.text, self.told, self.value = "", told, self.kind.validate_python(told)
        self.text = text[start:end]
        return end


def _is_plain(text: str) -> bool:
    """True if a line can be neither too deep, nor of too many values, nor hold half characters."""
    short = len(text) <= MAX_VALUES and text.count("{") + text.count("[") <= MAX_DEPTH
    return short and "\\ud" not in text and "\\uD" not in text
