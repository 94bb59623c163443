"""JSON lines in and out: the rules of reading, and how bad lines are reported.

Bytes are split on newlines only (U+2028 is legal inside a JSON string); a byte-order mark and CRLF are accepted;
NaN, Infinity, numbers beyond 64 bits, a key that occurs twice and over-deep nesting are refused; lone surrogates in
text become U+FFFD. A bad line is told to `refuse`, and reading goes on behind it; `raise_on_reject`,
the default, ends the run.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO, Generic, TypeVar

from pydantic import ValidationError

from stages.errors import BadInput, BadLine, one_line
from stages.records.frozen import FrozenModel, Meta
from stages.records.record import TAGS, Adapter, Record
from stages.records.strict_json import JsonFault, JsonObject, explain, parse_json, sanitize

_L = TypeVar("_L", bound=FrozenModel)
_T = TypeVar("_T")
_CONTROL = re.compile("[\x7f-\x9f]")
_MARKS = ("\ufeff", "\x1e")  # that may lead a line: a byte-order mark, the separator of a JSON text sequence (RFC 7464)
LONGEST = 32 * 2**20  # bytes of a line; a passage with its self-edit has some 20,000
_NEEDED = {  # where pydantic's own words do not say it
    "union_tag_not_found": "needs context and questions, or train and test (ARC)",
    "tuple_type": "input should be a list",
    "extra_forbidden": "extra inputs are not permitted; put what is your own under meta",
}
LONGEST_ENTRY = 10_000  # bytes of a bad entry of a whole document that its reject keeps
_MOST_FAULTS = 20  # of a line that are told
MAKERS = {"task": "seal tasks", "edit": "seal generate", "adapter": "seal adapt", "score": "seal eval"}


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
    """Raise BadInput: one bad line ends the run."""
    raise BadInput(f"{reject.where}: {reject.reason}")


def reject_entry(source: str, reason: str, entry: object) -> Reject:
    """Make the reject of one entry (JSON values) of a whole document; the reason begins with its place."""
    try:
        raw = json.dumps(entry, ensure_ascii=False, default=_found).encode("utf-8", "backslashreplace")
    except RecursionError:
        raw = b""
    whole = raw[:LONGEST_ENTRY].decode("utf-8", "ignore")  # without the half character at its end
    return Reject(source, 0, 0, one_line(reason), whole.encode())


def _found(value: object) -> object:
    return value.found if isinstance(value, JsonFault) else str(value)


def read_objects(
    lines: Iterable[bytes], name: str, refuse: OnReject = raise_on_reject
) -> Iterator[tuple[str, JsonObject]]:
    """Yield (`name:line`, object) of every line that holds a JSON object."""
    found = Lines(lines, name, lambda value: value, refuse)
    return ((f"{name}:{found.number}", value) for value in found)


class Lines(Generic[_T]):
    """What `make` makes of the object on each line that is not empty; it raises BadLine for a line to be refused.

    `number` (from 1) and `offset` (bytes before it) are the place of the line that came last, `raw` is the line itself.
    `parse` reads one line.
    """

    def __init__(
        self,
        lines: Iterable[bytes],
        name: str,
        make: Callable[[Any], _T],
        refuse: OnReject = raise_on_reject,
        *,
        parse: Callable[[str], Any] = parse_json,
    ) -> None:
        self.name = name
        self.number = self.offset = 0
        self.raw = b""
        self._items = self._read(lines, make, refuse, parse)

    def __iter__(self) -> Iterator[_T]:
        return self

    def __next__(self) -> _T:
        return next(self._items)

    @property
    def place(self) -> tuple[int, int]:
        """(number, offset)."""
        return self.number, self.offset

    def _read(
        self, lines: Iterable[bytes], make: Callable[[Any], _T], refuse: OnReject, parse: Callable[[str], Any]
    ) -> Iterator[_T]:
        end = 0
        for line in lines:
            raw = line.removesuffix(b"\n")
            size = len(raw) + (line.left_out if isinstance(line, _CutLine) else 0)
            self.number, self.offset, end = self.number + 1, end, end + size + 1
            self.raw = raw
            blank = raw.strip() == b"" or (self.number == 1 and raw.strip() == b"\xef\xbb\xbf")
            if blank and size <= LONGEST:  # a mark alone: an empty stream of a Windows program
                continue
            try:
                made = make(parse_object(raw, size, parse))
            except BadLine as error:
                refuse(Reject(self.name, *self.place, one_line(str(error)), raw))
            else:
                yield made


def parse_object(raw: bytes, size: int, parse: Callable[[str], Any]) -> JsonObject | Record:
    """Return the object of a line, or the record that the parser makes of it. Raises BadLine for none."""
    if size > LONGEST:
        raise BadLine(f"{size:,} bytes long; {LONGEST:,} are the most")
    try:
        text = raw.decode()
        value = parse(text[1:] if text.startswith(_MARKS) else text)
    except ValueError as error:
        raise BadLine(explain(error)) from None
    if not isinstance(value, dict | Record):
        kind = "null" if value is None else type(value).__name__
        raise BadLine(f"a JSON {kind}, but each line must be a JSON object")
    return value


class _CutLine(bytes):
    """The beginning of a line that is longer than LONGEST."""

    left_out: int = 0  # bytes of the line, without its newline, that are not here


def read_bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file's lines. What is beyond LONGEST is skipped, so that an endless line does not fill the memory."""
    while line := file.readline(LONGEST + 1):
        if line.endswith(b"\n") or len(line) <= LONGEST:
            yield line
            continue
        cut = _CutLine(line)
        while (piece := file.readline(2**20)) and not piece.endswith(b"\n"):
            cut.left_out += len(piece)
        cut.left_out += len(piece.removesuffix(b"\n"))
        yield cut


def read_entries(
    entries: Iterable[tuple[str, Any]],
    name: str,
    make: Callable[[Any], list[Record]],
    refuse: OnReject = raise_on_reject,
) -> Iterator[Record]:
    """Yield the records that `make` makes of each (place, entry) of a document: all of an entry's, or none."""
    for place, entry in entries:
        try:
            found = make(sanitize(entry))
        except (BadLine, JsonFault) as error:
            refuse(reject_entry(name, f"{place}: {error}", entry))
        else:
            yield from found


def validate(kind: type[_L], value: Any) -> _L:
    """Return the object as a `kind` line. Raises BadLine naming the field, what was found and what is needed."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise BadLine(explain_invalid(error)) from None


def explain_invalid(error: ValidationError) -> str:
    """Explain all that is wrong: the fields, what is needed and which stage makes it, and what was found."""
    groups: dict[tuple[str, str], list[str]] = {}
    found: dict[int, str] = {}  # what several keys are missing in may be long
    for fault in error.errors(include_url=False)[:_MOST_FAULTS]:
        said = fault["msg"].removeprefix("Value error, ")
        needed, place = _NEEDED.get(fault["type"]) or said[:1].lower() + said[1:], fault["loc"]
        if fault["type"] == "missing" and place[0] in MAKERS:
            needed += f", made by `{MAKERS[place[0]]}`"
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
    """Return a value as JSON, or its beginning."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 52 else f"{text[:51]}…"


def get_meta(entry: Mapping[str, Any]) -> Meta | None:
    """Return the `meta` of a source's entry for its lines. Raises BadLine if it is no object."""
    found = entry.get("meta")
    if found is None or isinstance(found, dict):
        return found
    raise BadLine(f"meta: must be an object (found {excerpt(found)})")


def to_json(line: FrozenModel) -> str:
    """Write the line as JSON text without a newline: absent sections are left out, null fields are kept.

    Characters that would steer a terminal are escaped. JSON itself sees only to those below the space.
    """
    if not isinstance(line, Record):
        unsaid = {"meta"} if getattr(line, "meta", 0) is None else set()
        return _escape(line.model_dump(mode="json", exclude=unsaid))
    there = [(name, getattr(line, name)) for name in Record.model_fields]
    told = [f'"{name}": {_section(name, value)}' for name, value in there if value is not None]
    return f"{{{', '.join(told)}}}"


@dataclass(frozen=True, slots=True)
class EncodedLine:
    """A line as it is to stand in a file, encoded by whoever has made it."""

    data: bytes
    trained: Adapter | None = None  # what is new on it, where that is the training of an adapter


def encode_line(line: FrozenModel) -> bytes:
    """Return the line as it stands in a file."""
    return to_json(line).encode("utf-8", "replace") + b"\n"


_written: dict[str, tuple[FrozenModel, str]] = {}  # per section the last one, and its text: lines in a row share tasks


def _section(name: str, value: Any) -> str:
    if not isinstance(value, FrozenModel):
        return _escape(value)
    last = _written.get(name)
    if last is None or last[0] is not value:
        last = _written[name] = value, _escape(value.model_dump(mode="json"))
    return last[1]


def _escape(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return (
        text if text.isascii() and "\x7f" not in text else _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    )
