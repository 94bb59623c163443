"""The beginning of a file or stream: it tells lines from one document, and is read again with the rest."""

from typing import BinaryIO, Protocol

from stages.file_kinds import HEAD_BYTES, SFT_PAIRS, FileKind, detect_by_keys, is_spread
from stages.records.jsonl import LONGEST
from stages.records.strict_json import parse_json
from stages.sources import arc

FIRST_LINES = 3  # lines from which it is told whether a file holds lines
LINE_KEYS = frozenset({"task", "title", "context", "question"})


class Readable(Protocol):
    """A file or stream opened for reading."""

    def readline(self, limit: int = -1, /) -> bytes: ...
    def read(self, limit: int = -1, /) -> bytes: ...


class Rewound:
    """A stream, from its beginning again after its first lines were looked at."""

    def __init__(self, head: list[bytes], rest: BinaryIO) -> None:
        self.head, self.rest = b"".join(head), rest

    def readline(self, limit: int = -1, /) -> bytes:
        limit = limit if limit >= 0 else LONGEST
        line, newline, _ = self.head[:limit].partition(b"\n")
        found = line + newline
        self.head = self.head[len(found) :]
        return found if newline or len(found) == limit else found + self.rest.readline(limit - len(found))

    def read(self, limit: int = -1, /) -> bytes:
        found, self.head = self.head, b""
        return found + self.rest.read(max(0, limit - len(found)) if limit >= 0 else -1)


def read_head(file: BinaryIO) -> list[bytes]:
    """Return a file's first lines: up to one that may be a source's line, and no more than needed to tell."""
    head: list[bytes] = []
    told = size = 0
    while told < FIRST_LINES and size <= HEAD_BYTES and (line := file.readline(LONGEST + 1)):
        head.append(line)
        size += len(line)
        told += bool(line.strip(b"\xef\xbb\xbf \t\r\n"))
        if is_line(line):
            break
    return head


def is_line(line: bytes) -> bool:
    """True for a JSON object that may be a task, a record or a row."""
    try:
        value = parse_json(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not LINE_KEYS.isdisjoint(value) and not arc.is_challenges(value)


def is_document(start: bytes) -> bool:
    """True if a file of lines begins with a document after all: a list, or one over several lines."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return is_spread(start) or (text[:1] == b"[" and text[1:].lstrip()[:1] in (b"{", b"]"))


def detect_by_first_line(head: list[bytes]) -> FileKind | None:
    """The kind of a file of lines by its first one; None where that may be a task, or is bad."""
    try:
        first = parse_json(next(filter(bytes.strip, head)).decode("utf-8-sig"))
    except (ValueError, RecursionError, StopIteration):
        return None
    pair = isinstance(first, dict) and (
        first.keys() >= {"prompt", "completion"}
        or first.keys() >= {"prompt", "chosen", "rejected"}
        or isinstance(first.get("messages"), list)
    )
    return SFT_PAIRS if pair and LINE_KEYS.isdisjoint(first) else detect_by_keys(first)
