"""Texts and documents as passages: whole, or in chunks that say where they stand."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stages.conversion.formats import INSTALL, BadDocument, ConvertedText, has_converter, tell_format
from stages.errors import BadConfig, BadLine
from stages.file_kinds import CODE_SUFFIXES
from stages.records.frozen import Meta
from stages.records.record import Record
from stages.sources.chunks.blocks import Heading, Layout, Markup, find_layout
from stages.sources.chunks.changes import SEPARATOR
from stages.sources.chunks.splitter import Chunk, Splitter
from stages.sources.datasets.folders import Omission, reject_file
from stages.sources.documents import ReadContext
from stages.sources.repeats import TWICE
from stages.sources.texts import make_passage

BARE = "without a text below its headings"  # the kind of such an omission
_MOST_IN_LINE = 10_000  # characters of a line that a person wrote
_MOST_IN_HEADING = 200  # characters of a heading that stand in titles
_MARKUPS: dict[str, Markup] = {".md": "markdown", ".markdown": "markdown", ".rst": "rst"}


class MissingConverter(BadConfig):
    """A document whose converter is not installed."""


def get_markup(suffix: str) -> Markup:
    """Return how a text with this ending marks its headings."""
    return _MARKUPS.get(suffix, "plain")


def read_passages(text: str, title: str, name: str, markup: Markup, reading: ReadContext) -> Iterator[Record]:
    """Yield a text as one task, or with a splitter as one of each chunk. Raises BadLine where no line has room."""
    if reading.splitter:
        yield from _read_chunks(
            ConvertedText(text, markup == "markdown"), title, name, markup, reading, reading.splitter
        )
    else:
        yield make_passage(title, text)


def is_generated(text: str, suffix: str) -> bool:
    """True for code that no person wrote as it stands: minified, for example."""
    return suffix in CODE_SUFFIXES and max(map(len, text.split("\n"))) > _MOST_IN_LINE


def open_document(path: Path, title: str | None, name: str, reading: ReadContext) -> Iterator[Record]:
    """Convert a document and yield it as one task or more; what is wrong with it is told to `reading`.

    `title` None: it has none but its first heading. Raises MissingConverter, and BadConfig for a missing title.
    """
    kind = tell_format(path)
    if not has_converter(kind):
        raise MissingConverter(f"{name}: its converter is not installed: {INSTALL}")
    try:
        found = reading.converter.convert(path, kind)
        if not any(map(str.isprintable, found.text)):
            raise BadDocument("there is no text in it")
    except BadDocument as error:
        reading.refuse(reject_file(name, str(error)))
        return iter(())
    if found.unread:
        pages = ", ".join(map(str, found.unread[:9])) + (" and more" if len(found.unread) > 9 else "")
        reading.note(f"{name}: pictures without text on {len(found.unread)} of its {len(found.pages)} pages ({pages})")
    title = title or _find_title(found)
    if not title:
        raise BadConfig(f"{name}: a document without a heading: give --title TITLE")
    return _read_converted(found, title, name, reading)


def _read_converted(found: ConvertedText, title: str, name: str, reading: ReadContext) -> Iterator[Record]:
    try:
        if splitter := reading.splitter:
            yield from _read_chunks(found, title, name, _markup_of(found), reading, splitter)
        else:
            yield make_passage(title, found.text, _make_meta(Chunk(0, len(found.text), ()), found, name))
    except BadLine as error:
        reading.refuse(reject_file(name, str(error)))


def _markup_of(found: ConvertedText) -> Markup:
    return "markdown" if found.is_markdown else "plain"


def _find_title(found: ConvertedText) -> str | None:
    headings = _find_headings(found, _markup_of(found)).headings
    return headings[0].title if headings else None


def _find_headings(found: ConvertedText, markup: Markup) -> Layout:
    layout = find_layout(found.text, markup)
    outline = [Heading(each.start, each.start, each.level, each.title) for each in found.outline]
    return Layout([_shorten(each) for each in outline or layout.headings], layout.blocks)


def _shorten(heading: Heading) -> Heading:
    """A heading whose words have room in the title of each chunk below it, though it be a whole text in one line."""
    fits = len(heading.title) <= _MOST_IN_HEADING
    return heading if fits else replace(heading, title=f"{heading.title[: _MOST_IN_HEADING - 1].rstrip()}…")


def _read_chunks(
    found: ConvertedText, title: str, name: str, markup: Markup, reading: ReadContext, splitter: Splitter
) -> Iterator[Record]:
    """One task of each chunk: under its headings, the second of the same headings with a (2). None is there twice."""
    layout, named, seen = _find_headings(found, markup), Counter[str](), set[str]()
    for chunk in splitter.split(found.text, layout, is_markdown=markup == "markdown"):
        text, whole = found.text[chunk.start : chunk.end], SEPARATOR.join([title, *chunk.path])
        if text in seen:
            reading.leave_out(Omission(name, TWICE, f"{whole} is in it already"))
            continue
        seen.add(text)
        named[whole] += 1
        numbered = whole if named[whole] == 1 else f"{whole} ({named[whole]})"
        yield make_passage(numbered, text, _make_meta(chunk, found, name))
    if not seen:
        reading.leave_out(Omission(name, BARE, "headings alone, without a text below them"))


def _make_meta(chunk: Chunk, found: ConvertedText, name: str) -> Meta:
    pages = _find_pages(chunk, found.pages)
    return {"source": {"file": name, **pages, "start": chunk.start, "end": chunk.end}}


def _find_pages(chunk: Chunk, pages: Sequence[int]) -> dict[str, int]:
    """The page on which a chunk begins, and the one on which it ends where that is another."""
    first, last = bisect_right(pages, chunk.start), bisect_right(pages, chunk.end - 1)
    return {**({"page": first} if first else {}), **({"last_page": last} if last > first else {})}
