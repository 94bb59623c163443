"""Gzip files as sources: data.jsonl.gz is read as data.jsonl is."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from stages.errors import BadInput

_MAGIC = b"\x1f\x8b"


class DamagedFile(BadInput):
    """A file that cannot be read on."""


def strip_gz(path: Path) -> Path:
    """Return a file's name without .gz, if it is a gzip file."""
    if path.suffix.lower() != ".gz":
        return path
    try:
        with path.open("rb") as file:
            return path.with_suffix("") if file.read(len(_MAGIC)) == _MAGIC else path
    except OSError:
        return path


def open_decompressed(path: Path) -> BinaryIO:
    """Open a file, decompressed if it is a .gz. Reading raises DamagedFile if it is cut off."""
    return path.open("rb") if strip_gz(path) == path else cast("BinaryIO", _GzipFile(path))


class _GzipFile(gzip.GzipFile):
    """The content of a gzip file, with errors that name it."""

    def read(self, size: int | None = -1) -> bytes:
        with self._name_damage():
            return super().read(size)

    def read1(self, size: int = -1) -> bytes:
        with self._name_damage():
            return super().read1(size)

    def readline(self, size: int | None = -1) -> bytes:
        with self._name_damage():
            return super().readline(size)

    @contextmanager
    def _name_damage(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            told = f"{self.name}: a gzip file that is cut off or damaged ({error}); fetch it again"
            raise DamagedFile(told) from None
