"""Archives of documents (.docx, .epub): checked before anything reads them, and packed anew without what is no text.

What an archive says of its own sizes is not believed: each member is unpacked here, up to the bound, first.
"""

import zipfile
import zlib
from io import BytesIO
from pathlib import Path

from stages.conversion.formats import BadDocument
from stages.conversion.limits import MOST_MEMBERS, MOST_UNPACKED

_TEXTS = (".xml", ".rels", ".opf", ".ncx", ".xhtml", ".html", ".htm")
_OLE = b"\xd0\xcf\x11\xe0"  # of Word before 2007, and of what Word has encrypted
_PIECE = 2**20  # bytes that are unpacked at a time
_BOMB = f"an archive bomb: its texts unpack to more than {MOST_UNPACKED:,} bytes"


def repack(path: Path) -> tuple[bytes, str]:
    """Return a checked archive with the texts of this one, and which format it is. Raises BadDocument."""
    with path.open("rb") as file:
        if file.read(4) == _OLE:
            raise BadDocument("protected by a password, or an old .doc; save it without one, as .docx")
    try:
        with zipfile.ZipFile(path) as archive:
            return _pack(archive), _tell_format(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OverflowError, UnicodeDecodeError) as error:
        raise BadDocument(f"a damaged archive ({error}); fetch it again") from None


def _tell_format(archive: zipfile.ZipFile) -> str:
    names = set(archive.namelist())
    if "META-INF/container.xml" in names:
        return "epub"
    if any(name.startswith("word/") for name in names):
        return "docx"
    raise BadDocument("an archive, and neither .docx nor .epub; unpack it, or save what it holds as text")


def _pack(archive: zipfile.ZipFile) -> bytes:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise BadDocument(f"an archive of {len(members):,} files; {MOST_MEMBERS:,} are the most")
    texts = [each for each in members if each.filename == "mimetype" or each.filename.lower().endswith(_TEXTS)]
    if sum(each.file_size for each in texts) > MOST_UNPACKED:
        raise BadDocument(_BOMB)
    left, packed = MOST_UNPACKED, BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as made:
        for member in texts:
            if member.flag_bits & 1:
                raise BadDocument("protected by a password; save it without one")
            content = _unpack(archive, member, left)
            left -= len(content)
            if b"<!ENTITY" in content:
                raise BadDocument(f"{member.filename} in it declares entities, as no editor of documents does")
            if member.filename == "META-INF/encryption.xml" and b"html" in content.lower():
                raise BadDocument("a book whose texts are encrypted (DRM)")
            made.writestr(zipfile.ZipInfo(member.filename), content)
    return packed.getvalue()


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    pieces = []
    with archive.open(member) as file:
        while piece := file.read(_PIECE):
            most -= len(piece)
            if most < 0:
                raise BadDocument(_BOMB)
            pieces.append(piece)
    return b"".join(pieces)
