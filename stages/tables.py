"""Tables as sources: CSV, parquet and Arrow files, each by itself, as rows under the names of their columns.

A file is read for what it is, by its path: no builder of `datasets`, no cache and no network has a part in it.
"""

import ast
import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.documents import Empty, Reading, from_line
from stages.failures import BadInput
from stages.kinds import ARROW, HEAD, PARQUET, Foreign, Kind, look_at_bytes
from stages.lines import LONGEST, BadLine, one_line, read_entries
from stages.records import Record
from stages.strict_json import explain_bytes, parse_json

BATCH = 1000  # rows that are in memory at once, beside what is made of them
OPTIONAL = ("id", "answer", "answers", "questions", "meta")  # without a value they are as if not there
Row = Mapping[str, Any] | list[str]  # a list: a line with more or fewer fields than there are columns
Rows = Iterator[tuple[str, Row]]  # each with its place


class Damaged(BadInput):
    """A table that cannot be read on."""


def open_table(path: Path, reading: Reading) -> Iterator[Record]:
    """The records of a table; its rows are gathered. Raises BadInput, at once, where it is none or lacks columns."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise Empty(str(path))
    kind, is_text = look_at_bytes(head), path.suffix.lower() in (".csv", ".tsv")
    if kind and (is_text or kind not in (PARQUET, ARROW)):
        raise Foreign(kind, str(path))
    columns, rows = read_csv(path) if is_text else read_arrow(path, kind)
    return from_rows(columns, rows, str(path), reading)


def from_rows(columns: list[str], rows: Rows, name: str, reading: Reading) -> Iterator[Record]:
    """The records of rows with these columns. Raises Columnless, at once, where no task can be made of them."""
    if not reading.columns.need(columns, name):
        reading.note(f"{name}: no column question, so that its passages are tasks without questions")

    def make(row: Row) -> list[Record]:
        if isinstance(row, list):
            raise BadLine(f"{len(row)} fields, but there are {len(columns)} columns")
        there = {key: value for key, value in row.items() if value is not None or key not in OPTIONAL}
        record = from_line(there, reading, name)
        return [] if record is None else [record]

    return read_entries(rows, name, make, reading.refuse)


def read_csv(path: Path) -> tuple[list[str], Rows]:
    """The columns and rows of text: fields between commas, semicolons, tabs or bars, as the first line has them.

    All fields are text as they stand (007, NA); one without a letter is no value. Raises BadInput for other text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: {explain_bytes(error)}") from None
    first = text.lstrip().partition("\n")[0]
    delimiters = "\t,;|" if path.suffix.lower() == ".tsv" else ",;\t|"
    csv.field_size_limit(LONGEST)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(delimiters, key=first.count), strict=True)
    columns = next((line for line in _read_on(lines, path) if line), [])
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice:
        raise BadInput(f"{path}: two columns are called {twice}; rename one of them")
    return columns, ((f"line {lines.line_num}", _row(columns, fields)) for fields in _read_on(lines, path) if fields)


def _read_on(lines: Iterable[list[str]], path: Path) -> Iterator[list[str]]:
    try:
        yield from lines
    except csv.Error as error:
        place = f"line {getattr(lines, 'line_num', 0)}"
        raise Damaged(f"{path}: {place}: no CSV ({error}): a quotation mark in a field is written twice") from None


def _row(columns: list[str], fields: list[str]) -> Row:
    if len(fields) != len(columns):
        return fields
    row: dict[str, Any] = {name: field or None for name, field in zip(columns, fields, strict=True)}
    return {name: _values(field) if name == "answers" else field for name, field in row.items()}


def _values(field: Any) -> Any:
    """What a field of several answers holds: JSON, or a list or dict as Python prints it; other text as it is.

    numpy prints ['a' 'b'], which Python would read as one text: what is not printed alike is not taken.
    """
    if not field or field.lstrip()[:1] not in ("[", "{"):
        return field
    try:
        return parse_json(field)
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(field.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return field
    return value if repr(value) == field.strip() else field


def read_arrow(path: Path, kind: Kind | None) -> tuple[list[str], Rows]:
    """The columns and rows of a parquet file, or of an Arrow file as `datasets` or feather write them."""
    import pyarrow.ipc
    import pyarrow.parquet

    if kind is None and path.suffix.lower() == ".parquet":
        raise BadInput(f"{path}: no parquet file, whatever its ending says")
    name = "parquet" if kind is PARQUET else "Arrow"
    with _whole(path, name):
        if kind is PARQUET:
            table = pyarrow.parquet.ParquetFile(path)
            columns, batches = table.schema_arrow.names, table.iter_batches(BATCH)
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
    """Raises Damaged for what pyarrow cannot read."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        what = one_line(str(error).split("\n", 1)[0])
        raise Damaged(f"{path}: not a whole {name} file: cut off or damaged ({what}); fetch it again") from None
