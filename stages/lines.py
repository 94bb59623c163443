"""JSON lines in: the reading rules, and which sections a stage needs.

Bytes are split on newlines only (U+2028 is legal inside a JSON string); a byte-order mark and CRLF are accepted;
NaN, Infinity and over-deep nesting are not JSON; lone surrogates in text become U+FFFD.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import jsonlines
from pydantic import ValidationError

from stages.failures import BadInput
from stages.records import Frozen, Record, Section

L = TypeVar("L", bound=Frozen)
DEPTH = 100  # lists and objects within one another; pydantic cannot write more than some 250
MAKERS: dict[Section, str] = {"edit": "seal generate", "adapter": "seal adapt", "score": "seal eval"}


def parse_json(text: str | bytes) -> Any:
    """Strict JSON. Raises ValueError for anything that another JSON reader would not accept."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(value, allow_nan=False)  # an overflowing number such as 1e999 reads as infinity
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return _without_surrogates(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_surrogates(value: Any, depth: int = 0) -> Any:
    """Text with lone surrogates (half of a character, which UTF-8 cannot carry) replaced by U+FFFD."""
    if depth > DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item, depth + 1) for key, item in value.items()}
    return value


def read_objects(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object) of every non-empty line; where is `name:line`. Raises BadInput at the first bad line."""
    reader = jsonlines.Reader(enumerate_lines := _Counted(lines), loads=parse_json)
    values = reader.iter(skip_empty=True)
    while True:
        try:
            value = next(values)
        except StopIteration:
            return
        except jsonlines.InvalidLineError as error:
            raise BadInput(f"{name}:{error.lineno}: {_why(error)}") from None
        where = f"{name}:{enumerate_lines.count}"
        if not isinstance(value, dict):
            raise BadInput(f"{where}: a JSON {type(value).__name__}, but each line must be a JSON object")
        yield where, value


class _Counted:
    """Lines, and how many have been handed out."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.lines, self.count = lines, 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self.lines:
            self.count += 1
            yield line


def _why(error: jsonlines.InvalidLineError) -> str:
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        return f"not UTF-8 (byte {cause.start} of the line)"
    if isinstance(cause, json.JSONDecodeError):
        what = cause.msg.removesuffix(" starting at")
        early = what == "Unterminated string" or cause.pos >= len(cause.doc.rstrip())
        return (
            f"not JSON: {what} at column {cause.colno}{': the line ends early, is the file cut off?' if early else ''}"
        )
    return f"not JSON: {cause}" if cause else "a JSON null, but each line must be a JSON object"


def validate(kind: type[L], value: Any, where: str) -> L:
    """The object as a `kind` line. Raises BadInput naming the field, what was found and what is needed."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise BadInput(f"{where}: {problem(error)}") from None


def problem(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: the field, what is needed, what was found."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "the line"
    found = json.dumps(first["input"], ensure_ascii=False, default=str)
    found = found if len(found) <= 60 else found[:57] + "…"
    return f"{field}: {first['msg'].lower()} (found {found})"


def read_records(lines: Iterable[bytes], name: str, needs: Iterable[Section] = ()) -> Iterator[Record]:
    """Records that have every section in `needs`. Raises BadInput naming the stage that makes what is missing."""
    for where, value in read_objects(lines, name):
        if "task" not in value:
            raise BadInput(f"{where}: {_describe(value)}, not a record (run `seal tasks` first)")
        record = validate(Record, value, where)
        for section in needs:
            if getattr(record, section) is None:
                raise BadInput(f"{where}: has {_sections(record)} but no {section} (run `{MAKERS[section]}` first)")
        yield record


def _sections(record: Record) -> str:
    there = ["a task"]
    for section in MAKERS:
        if getattr(record, section) is not None:
            there.append(f"{'an' if section != 'score' else 'a'} {section}")
    return " and ".join(there)


def _describe(value: dict[str, Any]) -> str:
    if {"prompt", "completion"} <= value.keys():
        return "a training pair from `seal filter`"
    keys = ", ".join(list(value)[:4]) or "nothing"
    return f"an object with {keys}"
