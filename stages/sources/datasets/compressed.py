"""Gzip files as sources: data.jsonl.gz is read as data.jsonl is."""

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from stages.errors import BadInput

_MAGIC = b"\x1f\x8b"


class DamagedFile(BadInput):
    """A file that cannot be read on."""


def strip_gz(path: Path) -> Path:
    """What a file is called, of a gzip file without .gz."""
    if path.suffix.lower() != ".gz":
        return path
    try:
        with path.open("rb") as file:
            return path.with_suffix("") if file.read(len(_MAGIC)) == _MAGIC else path
    except OSError:
        return path


def open_decompressed(path: Path) -> BinaryIO:
    """The file; unpacked if it is called .gz and is a gzip file. Reading that raises Damaged where it is not whole."""
    file = path.open("rb")
    return file if strip_gz(path) == path else cast("BinaryIO", io.BufferedReader(Unpacked(file, path)))


class Unpacked(io.RawIOBase):
    """What a gzip file holds. Its own reader raises EOFError for one that is cut off, which others take for its end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.packed, self.path, self.inner = file, path, gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.inner.seek(offset, whence)

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            found = self.inner.read(len(view))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DamagedFile(
                f"{self.path}: a gzip file that is cut off or damaged ({error}); fetch it again"
            ) from None
        view[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self.inner.close()
        self.packed.close()
        super().close()
