"""Tables as sources: CSV, parquet and Arrow files, each by itself, as rows under the names of their columns.

A file is read for what it is, by its path: no builder of `datasets`, no cache and no network has a part in it.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from stages.errors import BadInput, BadLine, one_line
from stages.file_kinds import ARROW, GZIP, HEAD_BYTES, PARQUET, FileKind, WrongFileKind, detect_by_bytes
from stages.records.jsonl import LONGEST, read_entries
from stages.records.record import Record
from stages.records.strict_json import explain_bytes
from stages.sources.datasets.columns import Columns
from stages.sources.datasets.compressed import DamagedFile, open_decompressed, strip_gz
from stages.sources.documents import EmptySource, ReadContext, read_line
from stages.sources.squad import NESTED

_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?')
_BATCH = 1000  # rows that are in memory at once, beside what is made of them
Row = Mapping[str, Any] | list[str]  # a list: a line with more or fewer fields than there are columns
Rows = Iterator[tuple[str, Row]]  # each with its place


def open_table(path: Path, reading: ReadContext) -> Iterator[Record]:
    """Yield a table's records; rows are gathered. Raises BadInput, at once, if it is none or lacks columns."""
    with open_decompressed(path) as file:
        head = file.read(HEAD_BYTES)
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise EmptySource(str(path))
    kind, is_text = detect_by_bytes(head), strip_gz(path).suffix.lower() in (".csv", ".tsv")
    if kind and (is_text or kind not in (PARQUET, ARROW)):
        raise WrongFileKind(kind, str(path))
    if not is_text:
        if strip_gz(path) != path:
            raise BadInput(f"{path}: {GZIP.tell(str(path))}")
        return read_rows(*_read_arrow(path, kind), str(path), reading)
    return read_rows(*read_csv(open_decompressed(path), path), str(path), reading)


def read_rows(columns: list[str], rows: Rows, name: str, reading: ReadContext) -> Iterator[Record]:
    """Yield the records of rows with these columns. Raises MissingColumns, at once, if they make no task."""
    if twice := next((column for column in columns if column and columns.count(column) > 1), None):
        raise BadInput(f"{name}: two columns are called {twice}; rename one of them")
    if not reading.columns.asks_questions(columns, name):
        reading.note(f"{name}: no column question, so that its passages are tasks without questions")

    def make(row: Row) -> list[Record]:
        if isinstance(row, list):
            raise BadLine(f"{len(row)} fields, but there are {len(columns)} columns")
        found = {**row, "meta": _make_json(row["meta"])} if "meta" in row else dict(row)
        return read_line(found, reading, name)

    return read_entries(rows, name, make, reading.refuse)


def _make_json(value: Any) -> Any:
    """A value of a table as JSON has it: NaN as null, dates and whatever else JSON does not have as text."""
    if isinstance(value, Mapping):
        return {str(key): _make_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_make_json(each) for each in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    own = isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))
    return value if own else str(value)


def is_csv(start: bytes, columns: Columns) -> bool:
    """Return whether a stream begins with a header row, not like a text."""
    said, first, _ = _find_header(io.StringIO(start.decode("utf-8-sig", "replace"), newline=""))
    try:
        named = next(csv.reader([first.rstrip()], delimiter=said or _delimiter(first, Path())), [])
    except csv.Error:
        return False
    asking = {columns.names.get(name, name) for name in ("question", "paragraphs", *NESTED)}
    return len(named) > 1 and (not asking.isdisjoint(named) or {"title", "context"} <= set(named))


def _delimiter(first: str, path: Path) -> str:
    """The character that divides the fields of the first line."""
    return max("\t,;|" if strip_gz(path).suffix.lower() == ".tsv" else ",;\t|", key=first.count)


def read_csv(file: BinaryIO, path: Path) -> tuple[list[str], Rows]:
    """Return the columns and rows of text, separated by commas, semicolons, tabs or bars, as in the first line.

    All fields are text as they stand (007, NA); a blank one is no value. Raises DamagedFile for other text, where it
    is reached: rows are read as they are asked for.
    """
    text = _read_lines(file, path)
    said, first, above = _find_header(text)
    csv.field_size_limit(LONGEST)
    lines = csv.reader(chain([first], text), delimiter=said or _delimiter(first, path), strict=True)
    rows = _read_rows(lines, path, above)
    _, columns = next(rows, ("", []))
    return columns, ((place, _row(columns, fields)) for place, fields in rows)


def _read_lines(file: BinaryIO, path: Path) -> Iterator[str]:
    """The lines of a text with their ends, whichever these are. Raises DamagedFile for a line that is no text."""
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        while line := text.readline(LONGEST + 1):
            if len(line) > LONGEST:
                raise DamagedFile(f"{path}: a line of more than {LONGEST:,} letters, too long for a row")
            yield line
    except UnicodeDecodeError as error:
        place = file.tell() - len(error.object) + error.start  # in the file, not in the part that was read last
        told = explain_bytes(error).replace(f"byte {error.start}", f"byte {place}")
        raise DamagedFile(f"{path}: {told}") from None
    finally:
        text.close()


def _find_header(lines: Iterator[str]) -> tuple[str, str, int]:
    """Return the divider that Excel's sep=; names or "", the line of the columns' names, and how many are above it."""
    above, said = 0, ""
    for line in lines:
        if found := _SEPARATOR.fullmatch(line.strip()):
            said = found[1]
        elif line.strip():
            return said, line, above
        above += 1
    return said, "", above


def _read_rows(lines: Any, path: Path, above: int) -> Iterator[tuple[str, list[str]]]:
    """The fields of each line that is not blank, with its place. `above`: lines of the file before the reader's."""
    try:
        for fields in lines:
            if any(map(str.strip, fields)):
                yield f"line {above + lines.line_num}", fields
    except csv.Error as error:
        place = f"line {above + lines.line_num}"
        raise DamagedFile(f"{path}: {place}: no CSV ({error}): a quotation mark in a field is written twice") from None


def _row(columns: list[str], fields: list[str]) -> Row:
    if len(fields) != len(columns):
        return fields
    return {name: field if field.strip() else None for name, field in zip(columns, fields, strict=True)}


def _read_arrow(path: Path, kind: FileKind | None) -> tuple[list[str], Rows]:
    """The columns and rows of a parquet file, or of an Arrow file as `datasets` or feather write them."""
    import pyarrow.ipc
    import pyarrow.parquet

    if kind is None and path.suffix.lower() == ".parquet":
        raise BadInput(f"{path}: no parquet file, whatever its ending says")
    name = "parquet" if kind is PARQUET else "Arrow"
    with _whole(path, name):
        if kind is PARQUET:
            table = pyarrow.parquet.ParquetFile(path)
            columns, batches = table.schema_arrow.names, table.iter_batches(_BATCH)
        elif kind is ARROW:
            opened = pyarrow.ipc.open_file(path)
            columns = opened.schema.names
            batches = map(opened.get_batch, range(opened.num_record_batches))
        else:
            batches = pyarrow.ipc.open_stream(path.open("rb"))
            columns = batches.schema.names
    return columns, _rows_of(batches, path, name)


def _rows_of(batches: Iterable[Any], path: Path, name: str) -> Rows:
    number = 0
    with _whole(path, name):
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row


@contextmanager
def _whole(path: Path, name: str) -> Iterator[None]:
    """Raise DamagedFile for what pyarrow cannot read."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        what = one_line(str(error).split("\n", 1)[0])
        raise DamagedFile(f"{path}: not a whole {name} file: cut off or damaged ({what}); fetch it again") from None
