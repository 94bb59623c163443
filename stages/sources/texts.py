"""Plain texts as tasks without questions: their titles, and what is wrong with files that are no text."""

import json
import re
from pathlib import Path

from stages.errors import BadConfig, BadInput, BadLine, MissingInput
from stages.file_kinds import CODE_SUFFIXES, HEAD_BYTES, detect_by_bytes
from stages.records.frozen import Meta, is_void
from stages.records.jsonl import LONGEST
from stages.records.record import Record
from stages.records.strict_json import explain_bytes, sanitize
from stages.records.task import make_task
from stages.sources.datasets.compressed import strip_gz

_MARKED = re.compile(r"#{1,6}[ \t]+(\S.*)")
_RULES = ("=", "-", "~", "*", "^", "+")  # with which reStructuredText underlines a heading


def require_flag_file(path: Path, flag: str, needed: str = "") -> None:
    """Raise MissingInput for a file named by a flag that is not there, BadInput for a folder or a pipe in its place."""
    if path.is_dir():
        raise BadInput(f"{flag}: a folder, not a file{needed}")
    if not path.exists():
        raise MissingInput(f"{flag}: no such file{needed}")
    if not path.is_file():
        raise BadInput(f"{flag}: a pipe or a device, which can be read once only; give a file{needed}")


def read_flag_file(path: Path, flag: str, needed: str = "") -> str:
    """Read a text file named by a flag: no byte-order mark, newlines only. Raises BadConfig if it is no text.

    Raises as `require_flag_file` does, too.
    """
    require_flag_file(path, flag, needed)
    raw = path.read_bytes()
    if kind := detect_by_bytes(raw[:HEAD_BYTES]):
        raise BadConfig(f"{flag}: {kind.tell(str(path))}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadConfig(f"{flag}: {explain_bytes(error)}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_text(raw: bytes) -> str:
    """Decode a text: no byte-order mark, newlines only. Raises BadLine for bytes that are not UTF-8, or for none."""
    if len(raw) > LONGEST:
        raise BadLine(f"more than {LONGEST:,} bytes, too long for one text; split it into several files: split -C 30M")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadLine(explain_bytes(error)) from None
    if is_void(text):
        raise BadLine("empty: there is nothing in it to learn")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def make_passage(title: str, text: str, meta: Meta | None = None) -> Record:
    """Make a task without questions of a text. Raises BadLine for one that no line has room for."""
    check_passage(text)
    return Record(task=make_task(_clean_title(title), text.strip(), []), meta=meta)


def check_passage(context: object) -> None:
    """Raise BadLine for a passage with nothing to learn, or for which a line, as stages read it, has no room."""
    if not isinstance(context, str):
        return
    if is_void(context):
        raise BadLine("context is empty: there is nothing in it to learn")
    if (
        6 * len(context) > LONGEST
        and (size := len(json.dumps(context, ensure_ascii=False).encode("utf-8", "replace"))) > LONGEST
    ):
        raise BadLine(f"context has {size:,} bytes, too long for one passage; {LONGEST:,} are the most: split it")


def _clean_title(name: str) -> str:
    """A name as a title: what is no text in it replaced, control characters and line ends as blanks."""
    return "".join(letter if letter.isprintable() else " " for letter in sanitize(name)).strip() or name


def find_title(text: str) -> str | None:
    """Return the first heading of a text: `# so`, underlined with =, or its first line if underlined at all.

    A line over the first one makes it a heading if it is as long: front matter (---) is none.
    """
    first = before = over = ""
    for line in text.split("\n"):
        if marked := _MARKED.match(line):
            return marked[1].rstrip("# \t\r")
        found = line.strip()
        rule = len(found) > 2 and found == found[0] * len(found) and found[0] in _RULES
        if rule and before and (found[0] == "=" or (before == first and not 0 < len(over) < len(before))):
            return before
        if rule and not first:
            over = found
        before = "" if rule else found
        first = first or before
    return None


def make_title(path: Path, root: Path) -> str:
    """Make a text's title of its file's name without the ending, and the folders between it and the source.

    Code keeps its ending: a.c and a.h are two.
    """
    name = strip_gz(path).relative_to(root)
    return (name if name.suffix.lower() in CODE_SUFFIXES else name.with_suffix("")).as_posix()
