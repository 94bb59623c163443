"""Documents made by hand, without any library of documents: PDFs, Word documents, books, web pages, and bad ones."""

import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from xml.sax.saxutils import escape as quote

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
    'wordprocessingml.document.main+xml"/></Types>'
)
_RELS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r" Target="word/document.xml" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/officeDocument"/></Relationships>'
)
_CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<rootfiles><rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)


def make_zip(members: Mapping[str, str | bytes]) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def make_docx(*blocks: str | tuple[int, str] | Sequence[Sequence[str]], extra: Mapping[str, bytes] = {}) -> bytes:
    """Paragraphs, headings (level, words) and tables (rows of cells)."""
    parts = []
    for block in blocks:
        if isinstance(block, str):
            parts.append(_paragraph(block))
        elif isinstance(block, tuple) and isinstance(block[0], int):
            parts.append(_paragraph(str(block[1]), f"Heading{block[0]}"))
        else:
            rows = (f"<w:tc>{'</w:tc><w:tc>'.join(map(_paragraph, row))}</w:tc>" for row in block)
            parts.append(f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>")
    names = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{n}"><w:name w:val="heading {n}"/></w:style>' for n in (1, 2, 3)
    )
    return make_zip(
        {
            "[Content_Types].xml": _TYPES,
            "_rels/.rels": _RELS,
            "word/styles.xml": f'<?xml version="1.0"?><w:styles {_W}>{names}</w:styles>',
            "word/document.xml": f'<?xml version="1.0"?><w:document {_W}><w:body>{"".join(parts)}</w:body>'
            "</w:document>",
            **extra,
        }
    )


def _paragraph(text: str, style: str = "") -> str:
    kind = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{kind}<w:r><w:t xml:space="preserve">{quote(text)}</w:t></w:r></w:p>'


def make_epub(**chapters: str) -> bytes:
    """A book with these chapters, each the inside of a body."""
    items = "".join(f'<item id="{n}" href="{n}.xhtml" media-type="application/xhtml+xml"/>' for n in chapters)
    order = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Book</dc:title>'
        f'<dc:identifier id="i">x</dc:identifier></metadata><manifest>{items}</manifest><spine>{order}</spine>'
        "</package>"
    )
    pages = {
        f"{name}.xhtml": '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title></head>'
        f"<body>{body}</body></html>"
        for name, body in chapters.items()
    }
    return make_zip(
        {"mimetype": "application/epub+zip", "META-INF/container.xml": _CONTAINER, "book.opf": package, **pages}
    )


def make_page(*blocks: str | tuple[int, str], head: str = '<meta charset="utf-8">') -> str:
    """A web page of paragraphs and headings."""
    tags = (f"<p>{escape(b)}</p>" if isinstance(b, str) else f"<h{b[0]}>{escape(b[1])}</h{b[0]}>" for b in blocks)
    return f"<!DOCTYPE html><html><head>{head}</head><body>{''.join(tags)}</body></html>"


def make_pdf(
    *pages: Sequence[str], marks: Sequence[tuple[str, int]] = (), scanned: Sequence[int] = (), locked: bool = False
) -> bytes:
    """Pages of lines, in any script: a font without glyphs, whose codes are UTF-16. `marks`: (title, page from 0)."""
    letters = sorted({letter for page in pages for line in page for letter in line if ord(letter) < 2**16})
    codes = "".join(f"<{ord(letter):04x}> <{ord(letter):04x}>\n" for letter in letters)
    mapped = f"1 begincodespacerange <0000> <ffff> endcodespacerange\n{len(letters)} beginbfchar\n{codes}endbfchar\n"
    cmap = f"/CIDInit /ProcSet findresource begin begincmap\n{mapped}endcmap end"
    objects = {
        1: "<< /Type /Catalog /Pages 2 0 R" + (" /Outlines 8 0 R" if marks else "") + " >>",
        3: "<< /Type /Font /Subtype /Type0 /BaseFont /None /Encoding /Identity-H /DescendantFonts [4 0 R] "
        "/ToUnicode 5 0 R >>",
        4: "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /None /DW 600 /FontDescriptor 6 0 R "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
        5: _stream(cmap.encode()),
        6: "<< /Type /FontDescriptor /FontName /None /Flags 4 /FontBBox [0 0 600 600] /ItalicAngle 0 /Ascent 600 "
        "/Descent 0 /CapHeight 600 /StemV 80 >>",
        7: _stream(
            b"\x7f", "/Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 /ColorSpace /DeviceGray"
        ),
    }
    first, kids = 10 + len(marks), []
    for number, lines in enumerate(pages):
        place = first + 2 * number
        kids.append(f"{place} 0 R")
        shown = " ".join(f"<{''.join(f'{ord(c):04x}' for c in line)}> Tj T*" for line in lines)
        picture = "q 500 0 0 700 0 0 cm /P Do Q" if number in scanned else ""
        resources = "<< /Font << /F 3 0 R >> /XObject << /P 7 0 R >> >>"
        objects[place] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources {resources} /Contents {place + 1} 0 R >>"
        )
        objects[place + 1] = _stream(f"BT /F 10 Tf 12 TL 30 770 Td {shown} ET {picture}".encode())
    objects[2] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    if marks:
        objects[8] = f"<< /First 10 0 R /Last {9 + len(marks)} 0 R /Count {len(marks)} >>"
        for number, (title, page) in enumerate(marks):
            following = f" /Next {11 + number} 0 R" if number + 1 < len(marks) else ""
            objects[10 + number] = (
                f"<< /Title ({title}) /Parent 8 0 R /Dest [{first + 2 * page} 0 R /Fit]{following} >>"
            )
    if locked:
        key = "00" * 32
        objects[9] = f"<< /Filter /Standard /V 1 /R 2 /O <{key}> /U <{key}> /P -4 >>"
    return _write(objects, "/Encrypt 9 0 R /ID [<00> <00>]" if locked else "")


def _stream(content: bytes, about: str = "") -> bytes:
    packed = zlib.compress(content)
    return f"<< {about} /Filter /FlateDecode /Length {len(packed)} >>\nstream\n".encode() + packed + b"\nendstream"


def _write(objects: Mapping[int, str | bytes], trailer: str) -> bytes:
    made, places = bytearray(b"%PDF-1.7\n"), dict[int, int]()
    for number, content in sorted(objects.items()):
        places[number] = len(made)
        made += (
            f"{number} 0 obj\n".encode() + (content if isinstance(content, bytes) else content.encode()) + b"\nendobj\n"
        )
    start, count = len(made), max(objects) + 1
    table = "".join(f"{places[n]:010} 00000 n \n" if n in places else "0000000000 65535 f \n" for n in range(count))
    made += (
        f"xref\n0 {count}\n{table}trailer << /Size {count} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF".encode()
    )
    return bytes(made)


def make_bomb(size: int, declared: int | None = None) -> bytes:
    """A .docx whose text unpacks to so many bytes, whatever it declares."""
    bomb = make_docx("x", extra={"word/big.xml": b"\0" * size})
    if declared is None:
        return bomb
    told, real = struct.pack("<L", declared), struct.pack("<L", size)
    return bomb.replace(real, told)
