"""JSON sources: lines of tasks or records, or one document in a known layout.

Lines are read as they come; a document is read whole. Which of the two it is shows in the first lines.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from stages.conversion.pool import ConverterPool
from stages.errors import BadConfig, BadInput, BadLine, one_line
from stages.file_kinds import (
    GRID_PAIRS,
    HEAD_BYTES,
    WrongFileKind,
    detect_by_bytes,
    detect_by_keys,
    is_object,
    is_spread,
)
from stages.records.jsonl import (
    Lines,
    OnReject,
    get_meta,
    raise_on_reject,
    read_bounded_lines,
    read_entries,
)
from stages.records.parser import parse_record
from stages.records.record import Record
from stages.records.strict_json import JsonFault, explain, parse_loosely
from stages.records.task import QaTask
from stages.sources import arc, pooled_results, seal_official, squad
from stages.sources.arc import Solutions
from stages.sources.chunks.splitter import Splitter
from stages.sources.datasets.columns import Columns
from stages.sources.datasets.compressed import open_decompressed, strip_gz
from stages.sources.datasets.folders import JSON_SUFFIXES, OnOmission, ignore
from stages.sources.heads import FIRST_LINES, LINE_KEYS, Readable, detect_by_first_line, is_document, is_line, read_head
from stages.sources.texts import check_passage

_LINE_FILES = (".jsonl", ".ndjson")
_LARGEST = 2**31  # bytes of a document, which is read whole
KNOWN = (
    "known are SQuAD, ARC tasks, a list of {title, context, questions} (with completions or not), official "
    "result files, and record lines"
)


@dataclass(frozen=True)
class ReadContext:
    """How sources are read, and the callbacks for what is rejected, left out or noted.

    `refuse` is told of what is bad, `leave_out` of what is left out, `note` of what else there is to know. `title` is
    that of a text, or the id of an ARC task, that comes on stdin. `mine` are files of this run itself, by device and
    inode. `split` None: of a dataset train, of a folder everything. `config` is that of a dataset, `columns` are the
    user's own names for those of rows.
    """

    refuse: OnReject = raise_on_reject
    leave_out: OnOmission = ignore
    note: Callable[[str], object] = ignore
    split: str | None = None
    title: str | None = None
    mine: frozenset[tuple[int, int]] = frozenset()
    solutions: Solutions = field(default_factory=Solutions)
    passages: pooled_results.PassageFile = field(default_factory=pooled_results.PassageFile)
    rows: squad.PassageRows = field(default_factory=squad.PassageRows)
    config: str | None = None
    columns: Columns = field(default_factory=Columns)
    allow_empty: bool = False  # a source without a task is none to complain of
    keep_unanswerable: bool = False
    splitter: Splitter | None = None  # None: a text is one passage
    converter: ConverterPool = field(default_factory=ConverterPool)
    about: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by file, how its self-edits were written

    @property
    def unanswered(self) -> squad.UnanswerablePolicy:
        """The policy for questions without an answer."""
        return squad.UnanswerablePolicy(self.keep_unanswerable, self.leave_out)


class EmptySource(BadInput):
    """A file or stream with nothing in it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: empty")


def open_json(path: Path, reading: ReadContext) -> Iterator[Record]:
    """Open a JSON file and yield its records. Raises BadInput, at once, if it holds no lines and no known document."""
    file = open_decompressed(path)
    try:
        head = read_head(file)
        file.seek(0)
        return read_opened(file, head, path, reading, close=file.close)
    except BaseException:
        file.close()
        raise


def read_opened(
    file: Readable, head: list[bytes], path: Path, reading: ReadContext, *, close: Callable[[], None]
) -> Iterator[Record]:
    """Yield the records of a file or stream that begins with `head`; `close` is called after reading."""
    start = b"".join(head)
    ending = strip_gz(path).suffix.lower()
    lines = ending in _LINE_FILES
    if not start.strip(b"\xef\xbb\xbf \t\r\n\0") and ending != ".json":
        raise EmptySource(str(path))
    if kind := detect_by_bytes(start) or (detect_by_first_line(head) if lines and not reading.columns.names else None):
        raise WrongFileKind(kind, str(path))
    if (lines or any(map(is_line, head))) and not is_document(start):
        return _close_after(_load_lines(file, path, reading), close)
    raw = file.read(_LARGEST + 1)
    close()
    if len(raw) > _LARGEST:
        raise BadInput(f"{path}: more than {_LARGEST:,} bytes, too much for one document; give an object on each line")
    return _from_whole(raw, path, reading)


def _close_after(records: Iterator[Record], close: Callable[[], None]) -> Iterator[Record]:
    """The records; then `close`."""
    try:
        yield from records
    finally:
        close()


def _load_lines(file: Readable, path: Path, reading: ReadContext) -> Iterator[Record]:
    """Record lines as they are, `{title, context, questions}` lines as tasks; rows are gathered."""
    lines = read_bounded_lines(cast("BinaryIO", file))
    found = Lines(lines, str(path), lambda value: read_line(value, reading, str(path)), reading.refuse)
    return chain.from_iterable(found)


def read_line(value: dict[str, Any], reading: ReadContext, name: str) -> list[Record]:
    """Return the records of a line, row or object; `reading` gathers a passage's rows instead. Raises BadLine."""
    if _is_record(value):
        record = parse_record(value)
        if isinstance(record.task, QaTask):
            check_passage(record.task.context)
        return [record]
    return [record for _, entry in squad.split_entry(value) for record in _from_entry(entry, reading, name)]


def _is_record(value: Any) -> bool:
    """True for a record, good or bad; other things may have a task that is a name."""
    if not isinstance(value, dict) or "task" not in value:
        return False
    return isinstance(value["task"], dict) or value.keys().isdisjoint((*LINE_KEYS - {"task"}, "train", "paragraphs"))


def _from_entry(entry: Any, reading: ReadContext, name: str) -> list[Record]:
    """The records of a passage, with its self-edits in official files; none of a row. Raises BadLine."""
    if _is_record(entry):
        raise BadLine("a record in a list; make lines of it: jq -c '.[]' FILE")
    entry = arc.unpack_grids(reading.columns.rename(entry)) if isinstance(entry, dict) else entry
    if arc.is_task(entry):
        return [arc.make_named_record(entry, reading.solutions, name)]
    if isinstance(entry, dict) and LINE_KEYS.isdisjoint(entry) and (kind := detect_by_keys(entry)):
        raise BadLine(kind.tell("stdin"))
    if squad.is_row(entry):
        reading.rows.add(entry, name, reading.unanswered)
        return []
    task = squad.read_passage(entry, reading.unanswered, name)
    if task is None:
        return []
    if "completions" not in entry:
        return [Record(task=task, meta=get_meta(entry))]
    if name not in reading.about:
        reading.about[name] = seal_official.read_about(Path(name), reading.note)
    return seal_official.make_edit_lines(task, entry, reading.about[name])


def _from_whole(raw: bytes, path: Path, reading: ReadContext) -> Iterator[Record]:
    """The records of a whole file: of one document, or of lines whose first ones are bad."""
    try:
        document = parse_loosely(raw.decode("utf-8-sig"))
    except ValueError as error:
        if any(map(is_object, raw.split(b"\n", FIRST_LINES)[:FIRST_LINES])):
            return _load_lines(BytesIO(raw), path, reading)
        way, is_stream = "", str(path) == "stdin"
        if is_spread(raw[:HEAD_BYTES]) and "Extra data" in str(error):
            way = f"; several documents become lines with: jq -c . {'FILE' if is_stream else path}"
        elif not is_stream and strip_gz(path) == path and path.suffix.lower() not in JSON_SUFFIXES:
            way = f"; a text under such a name is read with: seal tasks - --title TITLE < {path}"
        raise BadInput(f"{path}: {explain(error)}{way}") from None
    keys = LINE_KEYS.union(reading.columns.names.values())
    is_arc = arc.is_task(document) or arc.is_challenges(document)
    if isinstance(document, dict) and not keys.isdisjoint(document) and not is_arc:
        return read_entries(
            [("the object", document)], str(path), lambda value: read_line(value, reading, str(path)), reading.refuse
        )
    return _from_document(document, path, reading)


def _from_document(document: Any, path: Path, reading: ReadContext) -> Iterator[Record]:
    """A whole JSON document, told apart by its keys. Raises BadInput for one of no known layout."""
    if isinstance(document, JsonFault):
        raise BadInput(f"{path}: {document}")
    if arc.is_task(document) and str(path) == "stdin":
        name = reading.title or arc.get_name(document)
        if not name:
            raise BadConfig("stdin: an ARC task has no name there; give --title ID")
        document = {name: document}
    if arc.is_task(document) or arc.is_challenges(document):
        return arc.read_challenges(document, path, reading.refuse, reading.solutions)
    if isinstance(document, list) and document and detect_by_keys(document[0]) is GRID_PAIRS:
        raise WrongFileKind(GRID_PAIRS, str(path))
    if isinstance(document, dict) and any(isinstance(document.get(key), list) for key in ("data", "paragraphs")):
        return _from_entries(document, path, reading)
    if isinstance(document, dict) and isinstance(document.get("articles"), list):
        return seal_official.read_rewards(document, path, reading.refuse)
    if pooled_results.is_pooled(document):
        return pooled_results.read_pooled(document, path, reading.passages)
    if isinstance(document, list) and any(map(arc.is_task, document)):
        return arc.read_tasks(document, path, reading.refuse, reading.solutions)
    if document == [] or (isinstance(document, list) and any(isinstance(each, dict | JsonFault) for each in document)):
        return _from_entries(document, path, reading)
    if kind := detect_by_keys(document):
        raise WrongFileKind(kind, str(path))
    keys = ", ".join(key[:40] for key in list(document)[:5]) if isinstance(document, dict) else ""
    found = f"an object with {keys or 'nothing'}" if isinstance(document, dict) else type(document).__name__
    raise BadInput(one_line(f"{path}: {found}") + f"; {KNOWN}")


def _from_entries(document: Any, path: Path, reading: ReadContext) -> Iterator[Record]:
    """The records of a SQuAD document, or of a list of tasks, passages or rows."""
    items = enumerate(document) if isinstance(document, list) else ()
    places = chain.from_iterable(squad.split_entry(item, f"[{number}]") for number, item in items)
    found = places if isinstance(document, list) else squad.split_entry(document)
    return read_entries(found, str(path), lambda entry: _from_entry(entry, reading, str(path)), reading.refuse)
