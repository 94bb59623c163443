"""Record lines read the quick way: the task and the self-edit that a line shares with the line before are read once.

Lines come with all seeds of a self-edit together, and all self-edits of a task, so that most of a line is known. This
way knows good lines only. It gives up wherever it is not sure to find just what `parse_json` and the record's rules
do; then the line is read by these, which also say what is wrong.
"""

import json
import re
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from stages.records.handmade import complete_line
from stages.records.record import Record, SelfEdit, Task
from stages.records.strict_json import (
    MAX_DEPTH,
    MAX_VALUES,
    JsonFault,
    make_float,
    make_integer,
    make_object,
    parse_json,
    refuse_constant,
)

_FIRST = re.compile(r'\{[ \t\r]*"v"[ \t\r]*:[ \t\r]*1[ \t\r]*,[ \t\r]*"task"[ \t\r]*:[ \t\r]*(?=\{)')
_EDIT = re.compile(r'[ \t\r]*,[ \t\r]*"edit"[ \t\r]*:[ \t\r]*(?=\{)')
_MORE = re.compile(r'[ \t\r]*,[ \t\r]*(?=")')
_TASK: TypeAdapter[Task] = TypeAdapter(Annotated[Task, Field(discriminator="domain")])
_EDITS = TypeAdapter(SelfEdit)


class RecordParser:
    """Reads line after line. What it returns shares the tasks and self-edits that are the same, text for text."""

    def __init__(self) -> None:
        self.task, self.edit = Known(_TASK), Known(_EDITS)

    def parse(self, text: str | bytes) -> Any:
        """The Record of a line that is one; else what `parse_json` makes of it. Raises its errors."""
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
            rest = _DECODER.decode("{" + text[following.end() :])
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
        """Where the section that begins here ends. No whole object is the beginning of another one."""
        if self.text and text.startswith(self.text, start):
            return start + len(self.text)
        told, end = _DECODER.raw_decode(text, start)
        self.text, self.told, self.value = "", told, self.kind.validate_python(told)
        self.text = text[start:end]
        return end


def _is_plain(text: str) -> bool:
    """Whether a line can be neither too deep, nor of too many values, nor hold half characters."""
    short = len(text) <= MAX_VALUES and text.count("{") + text.count("[") <= MAX_DEPTH
    return short and "\\ud" not in text and "\\uD" not in text


def _sure(make: Any) -> Any:
    """The same; where it returns a Fault, this raises it."""

    def made(told: Any) -> Any:
        value = make(told)
        if isinstance(value, JsonFault):
            raise value
        return value

    return made


_DECODER = json.JSONDecoder(
    object_pairs_hook=_sure(make_object),
    parse_int=_sure(make_integer),
    parse_float=_sure(make_float),
    parse_constant=_sure(refuse_constant),
)
