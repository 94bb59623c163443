"""Open a source of records: a file, a stream, or a folder of files."""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

from stages.conversion.formats import INSTALL, detect_format
from stages.errors import BadConfig, BadInput, BadLine
from stages.file_kinds import (
    ARROW,
    CODE_SUFFIXES,
    DOCUMENT_SUFFIXES,
    GZIP,
    HEAD_BYTES,
    NUMBERS,
    PARQUET,
    SOLUTIONS,
    STAND_INS,
    TEMPLATE,
    TEXT_SUFFIXES,
    UTF16,
    UTF16BE,
    UTF32,
    WrongFileKind,
    detect_by_bytes,
    detect_by_name,
    detect_folder,
    is_object,
    is_template,
)
from stages.records.jsonl import LONGEST, LONGEST_ENTRY
from stages.records.record import Record
from stages.sources.chunks.reading import MissingConverter, get_markup, is_generated, open_document, read_passages
from stages.sources.datasets.columns import MissingColumns
from stages.sources.datasets.compressed import DamagedFile, open_decompressed, strip_gz
from stages.sources.datasets.folders import (
    JSON_SUFFIXES,
    TABLE_SUFFIXES,
    Omission,
    ignore,
    reject_file,
    report_unreadable,
    walk,
)
from stages.sources.datasets.splits import Selection, select_files
from stages.sources.datasets.tables import is_csv, open_table, read_csv, read_rows
from stages.sources.documents import EmptySource, ReadContext, open_json, read_opened
from stages.sources.heads import Rewound, is_document, is_line, read_head
from stages.sources.repeats import DuplicateFilter
from stages.sources.texts import decode_text, find_title, make_title

_ROWS = re.compile(rb"\s*(\d[ \t,]*)+\r?\n[\d\s,]*\d\s*")  # of numbers, two at least
_LARGEST_STREAM = 2**29  # bytes of a document on a stream
_BEGINNING = re.compile(rb"\s*(\{|\[\s*(\{|\]|\"|$))")  # of JSON, rather than of a text


def open_file(path: Path, title: str, reading: ReadContext) -> Iterator[Record]:
    """Open a file and yield its records. Raises BadInput, at once, if it is of no kind that is read."""
    suffix = strip_gz(path).suffix.lower()
    if kind := detect_by_name(path):
        raise WrongFileKind(kind, str(path))
    if suffix in DOCUMENT_SUFFIXES and strip_gz(path) != path:
        raise WrongFileKind(GZIP, str(path))
    if suffix in DOCUMENT_SUFFIXES:
        return open_document(path, title, str(path), reading)
    if suffix in (*TEXT_SUFFIXES, *CODE_SUFFIXES):
        return _open_text(path, title, reading)
    if suffix in TABLE_SUFFIXES:
        return open_table(path, reading)
    try:
        return open_json(path, reading)
    except WrongFileKind as error:
        if error.kind in (PARQUET, ARROW):
            return open_table(path, reading)
        raise


def _open_text(path: Path, title: str, reading: ReadContext) -> Iterator[Record]:
    """An own text as a task. Raises WrongFileKind for a prompt template, and for what is no text whatever its name."""
    with open_decompressed(path) as file:
        raw = file.read(LONGEST + 1)  # no more than shows that it is too long
    if path.suffix.lower() in TEXT_SUFFIXES and raw.startswith(b"%PDF-"):
        return open_document(path, title, str(path), reading)
    kind = detect_by_bytes(raw) or (TEMPLATE if is_template(raw) else NUMBERS if _ROWS.fullmatch(raw) else None)
    if kind:
        raise WrongFileKind(kind, str(path))
    if _is_json(raw):
        return open_json(path, reading)
    return _text(raw, title, str(path), strip_gz(path).suffix.lower(), reading)


def _is_json(raw: bytes) -> bool:
    """True for JSON, by whatever name: a line that is an object, or a document of objects."""
    if not _BEGINNING.match(raw.removeprefix(b"\xef\xbb\xbf")):
        return False
    try:
        found = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return is_object(raw.lstrip().partition(b"\n")[0])
    return isinstance(found, dict) or any(isinstance(each, dict) for each in found)


def _text(raw: bytes, title: str, name: str, suffix: str, reading: ReadContext) -> Iterator[Record]:
    try:
        text = decode_text(raw)
        if is_generated(text, suffix):
            reading.leave_out(Omission(name, f"{suffix} that is generated", "a line of more than 10,000 characters"))
        else:
            yield from read_passages(text, title, name, get_markup(suffix), reading)
    except BadLine as error:
        reading.refuse(reject_file(name, str(error), raw[:LONGEST_ENTRY]))


def open_stream(file: BinaryIO, name: str, reading: ReadContext) -> Iterator[Record]:
    """Open a stream of JSON or text and yield its records. Raises BadInput, or BadConfig for a missing title."""
    head = read_head(file)
    start, stream = b"".join(head), Rewound(head, file)
    if detect_format(start):
        return _open_streamed_document(stream, name, reading)
    if kind := detect_by_bytes(start):
        raise WrongFileKind(kind, name)
    if any(map(is_object, head)) or is_document(start) or _BEGINNING.match(start.removeprefix(b"\xef\xbb\xbf")):
        if reading.title and any(map(is_line, head)):
            raise BadConfig(f"--title {reading.title}: what comes on {name} is JSON, which says its titles itself")
        return read_opened(stream, head, Path(name), reading, close=lambda: None)
    raw = stream.read(LONGEST + 1)
    if not raw.strip(b"\xef\xbb\xbf \t\r\n\0"):
        raise EmptySource(name)
    if is_csv(raw[:HEAD_BYTES], reading.columns):
        return read_rows(*read_csv(BytesIO(raw), Path(name)), name, reading)
    title = reading.title or find_title(raw.decode("utf-8-sig", "replace"))
    if not title:
        raise BadConfig(f"{name}: a text without a heading (# …): give --title TITLE; JSON would begin with {{ or [")
    return _text(raw, title, name, ".md", reading)


def _open_streamed_document(stream: Rewound, name: str, reading: ReadContext) -> Iterator[Record]:
    """The records of a document that comes on a stream: it is laid into a file, for its converter."""
    with NamedTemporaryFile(prefix="seal-", suffix=".document") as file:
        while piece := stream.read(2**20):
            file.write(piece)
            if file.tell() > _LARGEST_STREAM:
                raise BadInput(f"{name}: more than {_LARGEST_STREAM:,} bytes of a document; give it as a file")
        file.flush()
        return open_document(Path(file.name), reading.title, name, reading)


def read_folder(root: Path, reading: ReadContext, repeats: DuplicateFilter) -> Iterator[Record]:
    """Yield the records of all files in a folder and its subfolders; report what is left out, and what is bad.

    Raises WrongFileKind for the folder of a model or an adapter, BadConfig where no file is of the split.
    """
    if kind := detect_folder(root):
        raise WrongFileKind(kind, str(root))
    chosen, fits = select_files(root, reading), False
    reading.converter.expect(_list_documents(root, chosen, reading))
    splits, folders, grids = set[str](), set[str](), False  # splits that files are of; that their folders are of
    for path in walk(root, leave_out=reading.leave_out, refuse=reading.refuse, mine=reading.mine):
        suffix = strip_gz(path).suffix.lower()
        if suffix not in (*TEXT_SUFFIXES, *JSON_SUFFIXES, *TABLE_SUFFIXES, *chosen.other_suffixes):
            reading.leave_out(Omission(str(path), path.suffix.lower() or "without an ending"))
        elif reason := chosen.leave(path):
            reading.leave_out(Omission(str(path), reason))
        else:
            fits = True
            name = path.relative_to(root)
            splits |= chosen.name_splits(name) if suffix in (*JSON_SUFFIXES, *TABLE_SUFFIXES) else set()
            folders |= chosen.name_splits(name.parent / "a") if suffix in JSON_SUFFIXES else set()
            records = _guard(_open_in_folder(path, chosen, reading), path, reading)
            for record in repeats.leave_out(records, str(path), reading.leave_out, reading.refuse):
                grids = grids or record.task.is_named
                yield record
    splits = folders if grids and not reading.rows.files else splits  # a file of ARC may be a task that is called test
    if len(splits) > 1 and not chosen.split and (grids or reading.rows.files):
        reading.note(f"{root} has files of {' and '.join(sorted(splits))}, and all are read; --split NAME takes one")
    if chosen.split and not fits:
        known = f"it has {', '.join(sorted(chosen.found))}" if chosen.found else "leave it out to read all of them"
        part = "; --sample N takes a part of one" if "[" in chosen.split else ""
        raise BadConfig(f"{root} --split {chosen.split}: no file is called so; {known}{part}")


def _list_documents(root: Path, chosen: Selection, reading: ReadContext) -> Iterator[Path]:
    """The documents of a folder that will be converted, in the order in which they are read."""
    for path in walk(root, refuse=ignore, mine=reading.mine):
        suffix = path.suffix.lower()
        if suffix in DOCUMENT_SUFFIXES and suffix in chosen.other_suffixes and not chosen.leave(path):
            yield path


def _open_in_folder(path: Path, chosen: Selection, reading: ReadContext) -> Iterator[Record]:
    """The records of a file of a folder: another kind of file is left out there, and a bad one costs itself alone."""
    try:
        return open_file(path, make_title(path, chosen.root), reading)
    except MissingConverter as error:
        reading.leave_out(Omission(str(path), f"{path.suffix.lower()} ({INSTALL})", str(error)))
    except WrongFileKind as error:
        if error.kind in (UTF16, UTF16BE, UTF32, *STAND_INS):
            reading.refuse(reject_file(path, str(error).removeprefix(f"{path}: ")))
        elif error.kind is not SOLUTIONS or not _has_challenges(path):
            reading.leave_out(Omission(str(path), error.kind.short, str(error)))
    except MissingColumns as error:
        if chosen.is_dataset:
            reading.refuse(reject_file(path, str(error).removeprefix(f"{path}: ")))
        else:
            reading.leave_out(Omission(str(path), f"{path.suffix.lower()} without the columns of a task", str(error)))
    except BadInput as error:
        reading.refuse(reject_file(path, str(error).removeprefix(f"{path}: ")))
    except OSError as error:
        report_unreadable(path, error, reading.leave_out, reading.refuse)
    return iter(())


def _has_challenges(path: Path) -> bool:
    """True if ARC's challenges lie beside their solutions, which are then read with them."""
    other = path.with_name(path.name.replace("solutions", "challenges"))
    return other != path and other.is_file()


def _guard(records: Iterator[Record], path: Path, reading: ReadContext) -> Iterator[Record]:
    """The records of a file of a folder, as far as it can be read."""
    try:
        yield from records
    except OSError as error:
        report_unreadable(path, error, reading.leave_out, reading.refuse)
    except DamagedFile as error:
        reading.refuse(reject_file(path, str(error).removeprefix(f"{path}: ")))
