"""The formats of documents that are converted: told by a file's ending, or by its first bytes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from stages.file_kinds import DOCUMENT_SUFFIXES

_FORMATS: Mapping[str, str] = {"htm": "html", "xhtml": "html"}  # by the ending, where it is called otherwise
INSTALL = "pip install 'seal-toolkit[docs]'"
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]{0,200}>\s*)?<(!doctype\s+html|html)\b", re.IGNORECASE)
_ZIP = b"PK\x03\x04"


class BadDocument(ValueError):
    """A document that cannot be converted, and what to do about it."""


@dataclass(frozen=True)
class Outline:
    """A heading of a document whose text shows none: `start` is where it stands, in characters."""

    start: int
    level: int  # from 1
    title: str


@dataclass(frozen=True)
class ConvertedText:
    """What a document says. `pages`: where each page begins, in characters; none where it has no pages."""

    text: str
    is_markdown: bool
    pages: tuple[int, ...] = ()
    outline: tuple[Outline, ...] = ()
    unread: tuple[int, ...] = ()  # pages (from 1) that are pictures without text


def get_format(path: Path) -> str | None:
    """Return the format that a file's ending tells; None for what is not converted."""
    suffix = path.suffix.lower()
    return _FORMATS.get(suffix[1:], suffix[1:]) if suffix in DOCUMENT_SUFFIXES else None


def detect_format(head: bytes) -> str | None:
    """Return the format that a file's first bytes tell, `zip` for any archive; None for what is no document."""
    if head.startswith(b"%PDF-"):
        return "pdf"
    return "zip" if head.startswith(_ZIP) else "html" if _PAGE.match(head) else None


def tell_format(path: Path) -> str:
    """Return the format of a document: what its first bytes tell, else its ending, else a web page. Raises OSError."""
    with path.open("rb") as file:
        return detect_format(file.read(4096)) or get_format(path) or "html"


def has_converter(name: str) -> bool:
    """True if the converter of a format is there."""
    return find_spec("pypdfium2" if name == "pdf" else "pypandoc") is not None
