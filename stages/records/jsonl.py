"""JSON lines in: the reading rules, which sections a stage needs, and what becomes of a bad line.

Bytes are split on newlines only (U+2028 is legal inside a JSON string); a byte-order mark and CRLF are accepted;
NaN, Infinity, numbers beyond 64 bits, a key that occurs twice and over-deep nesting are refused; lone surrogates in
text become U+FFFD. A bad line is told to `refuse`, and reading goes on behind it; `stop`, the default, ends the run.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import jsonlines
from pydantic import ValidationError

from stages.errors import BadInput
from stages.file_kinds import detect_by_keys
from stages.records.frozen import FrozenModel, Meta
from stages.records.handmade import complete_line
from stages.records.parser import RecordParser
from stages.records.record import TAGS, Record, Section
from stages.records.strict_json import JsonFault, explain, parse_json, sanitize

_L = TypeVar("_L", bound=FrozenModel)
_T = TypeVar("_T")
LONGEST = 32 * 2**20  # bytes of a line; a passage with its self-edit has some 20,000
LONGEST_REASON = 300  # characters
_NEEDED = {  # where pydantic's own words do not say it
    "union_tag_not_found": "needs context and questions, or train and test (ARC)",
    "tuple_type": "input should be a list",
    "extra_forbidden": "extra inputs are not permitted; put what is your own under meta",
}
LONGEST_ENTRY = 10_000  # bytes of a bad entry of a whole document that its reject keeps
_MOST_FAULTS = 20  # of a line that are told
_MAKERS = {"task": "seal tasks", "edit": "seal generate", "adapter": "seal adapt", "score": "seal eval"}


class BadLine(BadInput):
    """What is wrong with one line or entry, without its place. Its reader makes a Reject of it."""


@dataclass(frozen=True)
class Reject:
    """A line that cannot be used. `line` 0: an entry of a whole document, which the reason names."""

    source: str
    line: int  # from 1
    offset: int  # bytes before the line in its source
    reason: str  # one line of text
    raw: bytes  # the line without its newline; of a line beyond LONGEST its beginning

    @property
    def where(self) -> str:
        """`source:line`, or `source` where there is no line."""
        return f"{self.source}:{self.line}" if self.line else self.source


OnReject = Callable[[Reject], None]  # told of each bad line; raises to stop the run


def raise_on_reject(reject: Reject) -> None:
    """Raises BadInput: one bad line ends the run."""
    raise BadInput(f"{reject.where}: {reject.reason}")


def reject_entry(source: str, reason: str, entry: object) -> Reject:
    """The reject of one entry (JSON values) of a whole document; the reason begins with its place."""
    try:
        raw = json.dumps(entry, ensure_ascii=False, default=_found).encode("utf-8", "backslashreplace")
    except RecursionError:
        raw = b""
    return Reject(source, 0, 0, one_line(reason), _whole_characters(raw[:LONGEST_ENTRY]))


def _found(value: object) -> object:
    return value.found if isinstance(value, JsonFault) else str(value)


def _whole_characters(raw: bytes) -> bytes:
    """UTF-8 text that was cut anywhere, without the half character at its end. Other bytes as they are."""
    for cut in range(min(4, len(raw))):
        try:
            raw[: len(raw) - cut].decode()
        except UnicodeDecodeError:
            continue
        return raw[: len(raw) - cut]
    return raw


def one_line(text: str) -> str:
    """Text from a bad file fit to be shown: one line, nothing that does not print, not too long."""
    cut = text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in cut)


def read_objects(
    lines: Iterable[bytes], name: str, refuse: OnReject = raise_on_reject
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object) of every line that holds a JSON object; where is `name:line`."""
    counted = _Counted(lines)
    return ((f"{name}:{counted.number}", value) for value in _read(counted, name, lambda value: value, refuse))


class Lines(Generic[_T]):
    """What was made of the lines of a file, one after the other, and the place of the one that came last."""

    def __init__(
        self,
        lines: Iterable[bytes],
        name: str,
        make: Callable[[Any], _T],
        refuse: OnReject = raise_on_reject,
        *,
        parse: Callable[[str | bytes], Any] = parse_json,
    ) -> None:
        self.name, self._counted = name, _Counted(lines)
        self._items = _read(self._counted, name, make, refuse, parse=parse)

    def __iter__(self) -> Iterator[_T]:
        return self

    def __next__(self) -> _T:
        return next(self._items)

    @property
    def place(self) -> tuple[int, int]:
        """(line from 1, bytes before it) of what came last."""
        return self._counted.number, self._counted.offset


def read_lines(
    lines: Iterable[bytes], name: str, make: Callable[[dict[str, Any]], _T], refuse: OnReject = raise_on_reject
) -> Lines[_T]:
    """What `make` makes of the object on each line that is not empty; it raises BadLine for a line to be refused."""
    return Lines(lines, name, make, refuse)


def _read(
    counted: "_Counted",
    name: str,
    make: Callable[[Any], _T],
    refuse: OnReject,
    *,
    parse: Callable[[str | bytes], Any] = parse_json,
) -> Iterator[_T]:
    reader = jsonlines.Reader(counted, loads=parse)
    while True:
        try:
            made = make(_object(reader, counted))
        except EOFError:
            return
        except BadLine as error:
            refuse(Reject(name, counted.number, counted.offset, one_line(str(error)), counted.raw))
        else:
            yield made


def _object(reader: jsonlines.Reader, counted: "_Counted") -> dict[str, Any] | Record:
    """The next object, or the record that the parser made of one. Raises BadLine for none, EOFError at the end."""
    try:
        value = reader.read(allow_none=True, skip_empty=True)
    except jsonlines.InvalidLineError as error:
        if counted.length > LONGEST:
            raise BadLine(f"{counted.length:,} bytes long; {LONGEST:,} are the most") from None
        raise BadLine(explain(error.__cause__ or error)) from None
    if not isinstance(value, dict | Record):
        kind = "null" if value is None else type(value).__name__
        raise BadLine(f"a JSON {kind}, but each line must be a JSON object")
    return value


def read_entries(
    entries: Iterable[tuple[str, Any]],
    name: str,
    make: Callable[[Any], list[Record]],
    refuse: OnReject = raise_on_reject,
) -> Iterator[Record]:
    """The records that `make` makes of each (place, entry) of a whole document: all of an entry's records, or none."""
    for place, entry in entries:
        try:
            found = make(sanitize(entry))
        except (BadLine, JsonFault) as error:
            refuse(reject_entry(name, f"{place}: {error}", entry))
        else:
            yield from found


class CutLine(bytes):
    """The beginning of a line that is longer than LONGEST."""

    left_out: int = 0  # bytes of the line, without its newline, that are not here


def read_bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file. A line without end does not fill the memory: what is beyond LONGEST is passed over."""
    while line := file.readline(LONGEST + 1):
        if line.endswith(b"\n") or len(line) <= LONGEST:
            yield line
            continue
        cut = CutLine(line)
        while (piece := file.readline(2**20)) and not piece.endswith(b"\n"):
            cut.left_out += len(piece)
        cut.left_out += len(piece.removesuffix(b"\n"))
        yield cut


_BOM = b"\xef\xbb\xbf"


class _Counted:
    """Lines, and the place of the one that was handed out last."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.lines = lines
        self.number = self.offset = self.length = 0  # length: bytes without the newline
        self.raw = b""

    def __iter__(self) -> Iterator[bytes]:
        end = 0
        for line in self.lines:
            self.number, self.offset, self.raw = self.number + 1, end, line.removesuffix(b"\n")
            self.length = len(self.raw) + (line.left_out if isinstance(line, CutLine) else 0)
            end += self.length + 1
            if self.number == 1 and self.raw.strip() == _BOM:  # an empty stream of a Windows program
                continue
            yield self.raw if self.length <= LONGEST else b"\xff"  # refused unread


def validate(kind: type[_L], value: Any) -> _L:
    """The object as a `kind` line. Raises BadLine naming the field, what was found and what is needed."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise BadLine(explain_invalid(error)) from None


def explain_invalid(error: ValidationError) -> str:
    """All that is wrong: the fields, what is needed and which stage makes it, and what was found."""
    groups: dict[tuple[str, str], list[str]] = {}
    found: dict[int, str] = {}  # what several keys are missing in may be long
    for fault in error.errors(include_url=False)[:_MOST_FAULTS]:
        needed, place = _NEEDED.get(fault["type"]) or fault["msg"].lower().removeprefix("value error, "), fault["loc"]
        if fault["type"] == "missing" and place[0] in _MAKERS:
            needed += f", made by `{_MAKERS[place[0]]}`"
        value = fault["input"]
        known = found[id(value)] = found.get(id(value)) or excerpt(value)
        groups.setdefault((needed, known), []).append(_field(place))
    return "; ".join(
        f"{field}: {needed} (found {known}){', also ' if more else ''}{', '.join(more)}"
        for (needed, known), (field, *more) in groups.items()
    )


def _field(place: tuple[int | str, ...]) -> str:
    """`task.context`, without the tags that pydantic puts behind what has several kinds: a task, and each answer."""
    before = ("", "", *place)
    kinds = (
        last == "task" or (isinstance(last, int) and behind == "answers") for behind, last in pairwise(before[:-1])
    )
    named = [str(part)[:40] for part, kind in zip(place, kinds, strict=True) if not (kind and part in TAGS)]
    return ".".join(named) or "the line"


def excerpt(value: object) -> str:
    """A value as JSON, or the beginning of it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 52 else f"{text[:51]}…"


def get_meta(entry: Mapping[str, Any]) -> Meta | None:
    """What a source's entry carries for its lines. Raises BadLine where it is no object."""
    found = entry.get("meta")
    if found is None or isinstance(found, dict):
        return found
    raise BadLine(f"meta: must be an object (found {excerpt(found)})")


def read_records(
    lines: Iterable[bytes], name: str, needs: Iterable[Section] = (), refuse: OnReject = raise_on_reject
) -> Lines[Record]:
    """Records that have every section in `needs`. What is missing is told with the stage that makes it."""
    wanted, folder = tuple(needs), Path(name).parent
    return Lines(lines, name, lambda value: _record(value, wanted, folder), refuse, parse=RecordParser().parse)


def _record(value: dict[str, Any] | Record, needs: tuple[Section, ...], folder: Path = Path()) -> Record:
    if not isinstance(value, Record) and "task" not in value:
        raise BadLine(_describe(value))
    absent = [section for section in needs if _lacks(value, section)]
    missing = ", ".join(f"no {each} (run `{_MAKERS[each]}` first)" for each in absent)
    try:
        record = value if isinstance(value, Record) else parse_record(value, folder)
    except BadLine as error:
        raise BadLine(f"{error}; {missing}" if absent else str(error)) from None
    if absent:
        raise BadLine(f"has {_sections(record)} but {missing}")
    return record


def _lacks(value: dict[str, Any] | Record, section: Section) -> bool:
    found = getattr(value, section) if isinstance(value, Record) else value.get(section)
    return found is None


def parse_record(value: dict[str, Any], folder: Path = Path()) -> Record:
    """The object as a record, what it leaves out derived. Raises BadLine naming all that is wrong."""
    return validate(Record, complete_line(value, folder))


def _sections(record: Record) -> str:
    there = ["a task"]
    for section in list(_MAKERS)[1:]:
        if getattr(record, section) is not None:
            there.append(f"{'an' if section != 'score' else 'a'} {section}")
    return " and ".join(there)


def _describe(value: dict[str, Any]) -> str:
    """What an object is that is no record, and what to do."""
    if kind := detect_by_keys(value):
        return kind.tell("stdin")
    keys = ", ".join(key[:40] for key in list(value)[:4]) or "nothing"
    pair = {"prompt", "completion"} <= value.keys()
    found = "a training pair from `seal filter`" if pair else f"an object with {keys}"
    return f"{found}, not a record (run `seal tasks` first)"
