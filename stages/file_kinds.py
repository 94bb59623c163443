"""Recognise files that are neither a source nor lines, and name the next command to type.

Told by its first bytes, by the keys of its JSON, by its name; a folder by what lies in it. `seal tasks` and the reader
of JSON lines ask the same tables, so that a file is called the same wherever it is given.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from stages.errors import BadInput

TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".rst")
_CODE = "py pyi js mjs ts jsx tsx java kt scala c h cc cpp hpp cs go rs rb php swift sh ps1 pl lua r jl sql hs ml ex"
CODE_SUFFIXES = tuple(f".{name}" for name in _CODE.split())
DOCUMENT_SUFFIXES = (".pdf", ".html", ".htm", ".xhtml", ".docx", ".epub")  # which a converter reads
HEAD_BYTES = 64 * 2**10  # bytes from which a file is told
_HEAD_LINES = 1000
_KEY = re.compile(rb'^\s{0,4}"([^"\\]{1,40})"\s*:', re.MULTILINE)  # of a JSON document over several lines
_ANY_KEY = re.compile(rb'[{,]\s*"([^"\\]{1,40})"\s*:')  # of JSON objects, however deep
_SMALL = 4_000  # bytes: a longer text with {title} and {context} in it speaks about templates


@dataclass(frozen=True)
class FileKind:
    """A kind of file, and what to do with it: {file} and {folder} stand for its path and its folder."""

    name: str
    way: str

    @property
    def short(self) -> str:
        """The name to count it under, without article and explanation."""
        return re.sub(r"^(an?|the) |,.*", "", self.name)

    def tell(self, path: str) -> str:
        """Describe the kind and the next command in one line. A stream has no path: FILE stands for it."""
        known = path if path != "stdin" else "FILE"
        made = re.sub(r"\.manifest\.json$|\.part\.json$", "", known)
        ways = {"file": known, "folder": str(Path(known).parent), "lines": made}
        way = re.sub(r"\{(file|folder|lines)\}", lambda place: shlex.quote(ways[place[1]]), self.way)
        return f"{self.name}; {way}"


class WrongFileKind(BadInput):
    """A file of another kind than its reader takes."""

    def __init__(self, kind: FileKind, path: str) -> None:
        super().__init__(f"{path}: {kind.tell(path)}")
        self.kind = kind


_SPREAD = FileKind(
    "a JSON document over several lines, not an object on each line",
    "make tasks of it with `seal tasks {file}`, or lines with `jq -c . {file}`",
)
_LIST = FileKind(
    "a JSON list, not an object on each line",
    "make tasks of it with `seal tasks {file}`, or lines with `jq -c '.[]' {file}`",
)
_LINES_SPREAD = FileKind(_SPREAD.name, "make lines of it with `jq -c . {file}`")
_LINES_LISTED = FileKind(_LIST.name, "make lines of it with `jq -c '.[]' {file}`")
TEMPLATE = FileKind(
    "a prompt template, with {title} and {context} in it", "`seal generate --template {file}` writes with it"
)
_TEXT = FileKind("a text, not JSON lines", "make a task of it: `seal tasks {file} | seal generate --model DIR`")
_TABLE_FILE = FileKind("a table", "make tasks of it: seal tasks {file}")
SOLUTIONS = FileKind(
    "ARC's solutions",
    "give the challenges: `seal tasks CHALLENGES.json --solutions {file}` (those beside it are found)",
)
_SUBMISSION = FileKind(
    "ARC answers (attempts), not tasks", "give the challenges that they answer: seal tasks CHALLENGES.json"
)
GRID_PAIRS = FileKind(
    "pairs of grids without a test, as re-arc has them",
    "say which are shown and which asked: jq '{train: .[:3], test: .[3:4]}' {file} > NEW.json",
)
NUMBERS = FileKind("rows of numbers, no text", 'an ARC task is JSON: {"train": [{"input", "output"}], "test": […]}')
UTF16 = FileKind(
    "not UTF-8 (byte 0) but UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 {file} > NEW, and give NEW under its ending"
)
UTF32 = FileKind(UTF16.name.replace("16", "32"), UTF16.way.replace("16", "32"))
UTF16BE = FileKind(f"{UTF16.name}, big-endian", UTF16.way.replace("UTF-16", "UTF-16BE"))
_LFS = FileKind("a Git LFS pointer, not the file", "fetch it in its folder: git lfs pull")
ANNEXED = FileKind("a link of git-annex, not the file", "fetch it: git annex get {file}")
_PAGE = FileKind(
    "a web page or an XML answer of a server, not the file", "fetch it again, or take the text of the page"
)
_REPLY = FileKind("what a server said, not the file", "see what it says: cat {file}, and fetch it again")
_UNFINISHED = FileKind("a download that did not finish", "fetch it again")
STAND_INS = (_LFS, ANNEXED, _PAGE, _REPLY, _UNFINISHED)  # what lies where a file ought to
SFT_PAIRS = FileKind("training pairs", "train on them: seal sft {file} --model DIR --out NEW")
PARQUET = FileKind("a parquet file", _TABLE_FILE.way)
ARROW = FileKind("an Arrow file", _TABLE_FILE.way)
_PICTURE = FileKind("a picture", "give the text that it shows")
_PEFT_FOLDER = FileKind(
    "a PEFT adapter", "`seal eval LINES` takes adapters from the lines that `seal adapt` wrote; give those"
)
_MODEL_FOLDER = FileKind("a model", "a model is given with --model {file}")

GZIP = FileKind("a gzip file", "unpack it first: gunzip -k {file}")

_ZIP = FileKind("a zip archive, as .xlsx and .pt are", "unpack it (unzip {file}); .docx and .epub: seal tasks {file}")
_SQLITE = FileKind(
    "a sqlite file, as the judge's cache is", "a cache is given with --cache {file}; here give JSON lines"
)
BYTES: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x1f\x8b", GZIP),
    (b"BZh", FileKind("a bzip2 file", "unpack it first: bunzip2 -k {file}")),
    (b"\xfd7zXZ\x00", FileKind("an xz file", "unpack it first: unxz -k {file}")),
    (b"\x28\xb5\x2f\xfd", FileKind("a zstd file", "unpack it first: unzstd {file}")),
    (b"PK\x03\x04", _ZIP),
    (b"PAR1", PARQUET),
    (b"ARROW1", ARROW),
    (b"SQLite format 3\x00", _SQLITE),
    (b"%PDF", FileKind("a PDF", _TABLE_FILE.way)),
    (b"\x89PNG", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"GIF8", _PICTURE),
    (b"\xff\xfe\0\0", UTF32),
    (b"\0\0\xfe\xff", UTF32),
    (b"\xff\xfe", UTF16),
    (b"\xfe\xff", UTF16),
    (b"\x7fELF", FileKind("a program", "give JSON lines, or `seal tasks` a text")),
)
_STARTS: tuple[tuple[bytes, FileKind], ...] = (  # of small letters, behind blanks
    (b"version https://git-lfs.github.com/spec/", _LFS),
    (b"/annex/objects/", ANNEXED),
    (b"<!doctype html", _PAGE),
    (b"<html", _PAGE),
    (b"<?xml", _PAGE),
)
_REPLIES = (  # of GitHub, Hugging Face and plain web servers: the whole of a small file
    b"404: not found|404 page not found|not found|entry not found|repository not found|access denied"
    b"|invalid username or password.|invalid credentials in authorization header"
).split(b"|")
_REPLY_KEYS = frozenset({"error", "errors", "message", "status", "detail", "documentation_url", "code", "statusCode"})
_MODEL_WAY = "a model is given by its folder: --model {folder}"
_EDITS_WAY = "give the edit lines that it was made from"
_RUN_WAY = "give the output that it lies beside: {lines}"
_BATCH_WAY = "answers are given with --from-batch {file}, beside the lines"
_CHECKPOINT_WAY = "the model that it names is given with --model: jq -r .model {file}"
KEYS: tuple[tuple[frozenset[str], FileKind], ...] = tuple(  # of JSON objects, the first that fits
    (frozenset(keys.split()), FileKind(name, way))
    for keys, name, way in (
        ("stage command settings digest", "a manifest, which says how an output was made", _RUN_WAY),
        ("stage resumes", "the settings of a run", "give the lines that it wrote, which lie beside it: {lines}"),
        ("source line offset reason text", "rejected lines", "mend them: jq -r .text {file}, and give those"),
        ("peft_type", "the configuration of a PEFT adapter", _PEFT_FOLDER.way),
        ("model_type", "the configuration of a model", _MODEL_WAY),
        ("architectures", "the configuration of a model", _MODEL_WAY),
        ("transformers_version", "the configuration of a model", _MODEL_WAY),
        ("tokenizer_class", "the configuration of a tokenizer", _MODEL_WAY),
        ("eos_token", "the configuration of a tokenizer", _MODEL_WAY),
        ("added_tokens normalizer", "a tokenizer", _MODEL_WAY),
        ("weight_map", "the index of a model's weights", _MODEL_WAY),
        ("custom_id", "calls or answers of a batch service", _BATCH_WAY),
        ("task_id edit_id sequences", "training data as `seal adapt --show-data` prints it", _EDITS_WAY),
        ("task_id edit_id tasks", "training data as `seal adapt --show-data` prints it", _EDITS_WAY),
        ("model base examples steps", "the line of a checkpoint", _CHECKPOINT_WAY),
        ("_data_files", "the description of a dataset", "give its folder: seal tasks {folder}"),
        ("citation features", "the description of a dataset", "give its folder: seal tasks {folder}"),
        ("$defs", "a JSON Schema", "give lines that fit it"),
    )
)


def detect_by_name(path: Path) -> FileKind | None:
    """Return the kind that a file's name tells; None if it may be read. Our own FILE.part has FILE.part.json."""
    suffix = path.suffix.lower()
    torn = suffix == ".part" and not path.with_name(f"{path.name}.json").exists()
    return _UNFINISHED if torn or suffix in (".incomplete", ".crdownload", ".download") else None


def detect_by_bytes(head: bytes) -> FileKind | None:
    """Return the kind that a file's first bytes tell; None for text."""
    if head[257:262] == b"ustar":
        return FileKind("a tar archive", "unpack it first: tar -xf {file}")
    if head[1:4:2] == b"\0\0" and head[0] and head[2]:  # without a byte-order mark
        return UTF16
    if head[:4:2] == b"\0\0" and head[1:2].isascii() and head[1:4:2].strip(b"\0"):
        return UTF16BE
    if head[8:10] == b'{"' and 2 <= int.from_bytes(head[:8], "little") < 2**27:
        return FileKind("weights (safetensors)", _MODEL_WAY)
    if kind := next((kind for start, kind in BYTES if head.startswith(start)), None):
        return kind
    text = head[:99].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if len(head) < len(text) + 9 and text.rstrip() in _REPLIES:
        return _REPLY
    return next((kind for start, kind in _STARTS if text.startswith(start)), None)


def detect_by_keys(value: Any) -> FileKind | None:
    """Return the kind that a JSON value's keys tell; None if they tell nothing known."""
    if not isinstance(value, Mapping):
        return None
    some = list(value.values())[:9]
    if some and all(map(_is_grids, some)):
        return SOLUTIONS
    if some and isinstance(some[0], list) and some[0] and isinstance(some[0][0], dict) and "attempt_1" in some[0][0]:
        return _SUBMISSION
    if isinstance(value.get("input"), list) and isinstance(value.get("output"), list):
        return GRID_PAIRS
    if value and value.keys() <= _REPLY_KEYS:
        return _REPLY
    return next((kind for keys, kind in KEYS if keys <= value.keys()), None)


def detect_folder(path: Path) -> FileKind | None:
    """Return the kind of a folder that is a PEFT adapter or a model; None for any other."""
    if (path / "adapter_config.json").is_file():
        return _PEFT_FOLDER
    tokens = (path / "tokenizer.json", path / "tokenizer_config.json", path / "model.safetensors")
    return _MODEL_FOLDER if (path / "config.json").is_file() and any(file.is_file() for file in tokens) else None


def _detect_by_lines(head: bytes, name: str) -> FileKind | None:
    """Return the kind that the start of a JSON-lines file tells; None where it may be lines, good or bad."""
    if kind := detect_by_bytes(head):
        return kind
    if any(map(is_object, head.split(b"\n", 3)[:3])):
        return None
    listed = re.match(r"\s*\[\s*\{[^\n]*", head.decode("utf-8-sig", "replace"))  # objects, on one line or over several
    if listed and (is_spread(head) or len(head) > HEAD_BYTES or listed[0].rstrip().endswith("]")):
        return _LINES_LISTED if _holds_lines(head) else _LIST
    if is_spread(head):
        keys = {key.decode("utf-8", "replace"): None for key in _KEY.findall(head)}
        return detect_by_keys(keys) or (_LINES_SPREAD if _holds_lines(head) else _SPREAD)
    if is_template(head):
        return TEMPLATE
    suffix = Path(name).suffix.lower()
    return _TEXT if suffix in TEXT_SUFFIXES else _TABLE_FILE if suffix in (".csv", ".tsv") else None


def check_lines(lines: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Return the lines unchanged. Raises BadInput if their start shows a file of another kind.

    No more is read ahead than the first line, if that is a JSON object.
    """
    rest, head, size = iter(lines), list[bytes](), 0
    for line in rest:
        head.append(line)
        size += len(line)
        if is_object(line) or size > HEAD_BYTES or len(head) >= _HEAD_LINES:
            break
    if kind := _detect_by_lines(b"".join(line.removesuffix(b"\n") + b"\n" for line in head)[: 2 * HEAD_BYTES], name):
        raise WrongFileKind(kind, name)
    yield from chain(head, rest)


def is_object(line: bytes) -> bool:
    """True if a line is a JSON object, as far as its size lets it be parsed; a byte-order mark may lead."""
    if len(line) > HEAD_BYTES:
        return line.lstrip().startswith(b"{")
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def is_spread(head: bytes) -> bool:
    """True if a file starts like JSON values over several lines: no line ends inside a token."""
    text = head.decode("utf-8-sig", "replace").strip()
    first, _, more = text.partition("\n")
    if first[:1] not in ("{", "[") or not more.strip():
        return False
    text = text if len(head) <= HEAD_BYTES else text.rpartition("\n")[0].strip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        return False
    return end > len(first)


def _holds_lines(head: bytes) -> bool:
    """True if the objects at a file's start are records or training pairs, which no source of tasks has."""
    keys = set(_ANY_KEY.findall(head))
    return b"task" in keys or (b"context" not in keys and bool(keys & {b"prompt", b"messages"}))


def is_template(head: bytes) -> bool:
    """True if a text is one that `seal generate --template` fills in."""
    return len(head) <= _SMALL and b"{title}" in head and b"{context}" in head


def _is_grids(value: Any) -> bool:
    """True if a value looks like lists of grids of whole numbers, judged by the first entries."""
    for _ in range(3):
        if not isinstance(value, list) or not value:
            return False
        value = value[0]
    return type(value) is int
