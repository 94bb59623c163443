"""PDFs as text, page by page, with their bookmarks as headings: by pypdfium2."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.conversion.formats import BadDocument, ConvertedText, Outline
from stages.conversion.limits import MOST_TEXT

_HYPHEN = re.compile("\ufffe([^\\W\\d_]?)")  # as pdfium tells a hyphen at a line's end; the rest of the word follows
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
_BETWEEN = "\n\n"  # pages
_FEW = 10  # letters: a page with pictures and fewer is a scan
_MOST_BOOKMARKS = 10_000


def convert_pdf(path: Path) -> ConvertedText:
    """Convert a PDF. Raises BadDocument for one that is locked, damaged, or without text."""
    import pypdfium2
    from pypdfium2.raw import FPDF_ERR_PASSWORD

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == FPDF_ERR_PASSWORD or "password" in str(error).lower():
            raise BadDocument(
                f"protected by a password; take it off: qpdf --decrypt --password=PASSWORD {path.name} NEW.pdf"
            ) from None
        raise BadDocument(f"a damaged PDF ({error}); fetch it again") from None
    try:
        return _convert(document, path)
    except pypdfium2.PdfiumError as error:
        raise BadDocument(f"a damaged PDF ({error}); fetch it again") from None
    finally:
        document.close()


def _convert(document: Any, path: Path) -> ConvertedText:
    texts, starts, scans, size = list[str](), list[int](), list[int](), 0
    for number in range(len(document)):
        page = document[number]
        text = _read_page(page)
        if sum(map(str.isalnum, text)) < _FEW and _has_picture(page):
            scans.append(number + 1)
        page.close()
        starts.append(size)
        texts.append(text)
        size += len(text) + len(_BETWEEN)
        if size > MOST_TEXT:
            raise BadDocument(f"more than {MOST_TEXT:,} characters of text in its first {number + 1} pages")
    if not any(map(str.isalnum, "".join(texts))) or len(scans) == len(texts):
        pages = f"{len(texts)} page{'s' * (len(texts) != 1)}"
        raise BadDocument(f"{pages} without text, a scan; have it recognised: ocrmypdf {path.name} NEW.pdf")
    whole = _BETWEEN.join(texts)
    empty = len(whole) - len(whole.lstrip())  # of pages before the first text
    starts = [max(0, start - empty) for start in starts]
    outline = tuple(_read_outline(document, texts, starts))
    return ConvertedText(whole.strip(), False, tuple(starts), outline, tuple(scans))


def _read_page(page: Any) -> str:
    found = page.get_textpage()
    text = str(found.get_text_range()).replace("\r\n", "\n").replace("\r", "\n")
    found.close()
    return _CONTROL.sub("", _HYPHEN.sub(_join, text)).strip()


def _join(found: re.Match[str]) -> str:
    """What stands for a hyphen at a line's end: nothing within a word, a hyphen before a capital or a number."""
    return found[1] if found[1].islower() else f"-{found[1]}"


def _has_picture(page: Any) -> bool:
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    return next(iter(page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE], max_depth=3)), None) is not None


def _read_outline(document: Any, texts: list[str], starts: list[int]) -> Iterator[Outline]:
    """The bookmarks as headings, each where its words stand on its page, or at the page's beginning."""
    last = 0
    for count, mark in enumerate(document.get_toc(max_depth=6)):
        target = mark.get_dest()
        number = target.get_index() if target else None
        title = " ".join(_CONTROL.sub("", mark.get_title()).split())
        if count >= _MOST_BOOKMARKS:
            return
        if number is None or not 0 <= number < len(texts) or not title:
            continue
        words = r"\s+".join(map(re.escape, title.split()))
        place = re.search(rf"^[\d.\s]{{0,20}}{words}", texts[number], re.MULTILINE)
        start = starts[number] + (place.start() if place else 0)
        if start >= last:  # what leads back is no heading of what follows
            last = start
            yield Outline(start, mark.level + 1, title)
