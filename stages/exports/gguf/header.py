"""Read what a GGUF file says of itself: settings and the places of tensors. Nothing in it is trusted.

Every length is held against the file before anything is made of it: a header ends within the file, is of at most 512 MB
and has a bounded number of parts; every tensor lies within the file, and no two of them on the same bytes.
"""

import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.exports.gguf.architectures import require_gguf
from stages.models.directories import DOWNLOAD_AGAIN, quote_name

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_HEADER_BYTES = 2**29
_PARTS = 2**16  # settings, or tensors
_ENTRIES = 2**23  # of a list: the largest vocabularies have some 300,000 tokens
_NAME_BYTES = 2**16
_DIMENSIONS = 4  # ggml's own
_STRING, _ARRAY = 8, 9
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the file: its shape as torch has it, ggml's kind of its numbers, and its bytes' place."""

    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


@dataclass(frozen=True)
class GgufFile:
    """A file's settings by key, its tensors by name, and its bytes."""

    path: Path
    settings: dict[str, Any]
    tensors: dict[str, StoredTensor]
    data: mmap.mmap

    @property
    def architecture(self) -> str:
        return str(self.settings.get("general.architecture"))

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """Return a setting of the architecture or of the tokenizer. Raise BadInput for one of another type."""
        named = key if key.startswith("tokenizer.") else f"{self.architecture}.{key}"
        found = self.settings.get(named, default)
        if kind is int and isinstance(found, list) and len(set(found)) == 1:  # one for each layer
            found = found[0]
        if kind is float and type(found) is int:
            found = float(found)
        if found is not None and type(found) is not kind:
            told = f"{quote_name(named)} is {quote_name(str(found))}, no {kind.__name__}"
            raise BadInput(f"{self.path}: {told}; {DOWNLOAD_AGAIN}")
        return found


@contextmanager
def open_gguf(path: Path) -> Iterator[GgufFile]:
    """Open a GGUF file. Raise MissingInput, or BadInput for what is none, is cut off or says what cannot be."""
    if not path.is_file():
        raise (BadInput if path.exists() else MissingInput)(f"{path}: no such file; give a .gguf file")
    with path.open("rb") as file:
        start = file.read(24)
        if start[:4] != MAGIC:
            raise BadInput(f"{path}: no GGUF file (it does not begin with GGUF)")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                yield _read(path, data)
            except (struct.error, UnicodeDecodeError):
                raise BadInput(f"{path}: its header is cut off or damaged; {DOWNLOAD_AGAIN}") from None


class _Cursor:
    """A place in the header that never leaves it."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.place = path, data, 4
        self.most = min(len(data), _HEADER_BYTES)

    def take(self, count: int) -> bytes:
        if count > self.most - self.place:
            raise struct.error
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, code: str = "I") -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def text(self, most: int = _HEADER_BYTES) -> str:
        length = self.number("Q")
        if length > most:
            raise struct.error
        return self.take(length).decode()

    def value(self, kind: int) -> Any:
        """Read a setting of ggml's type `kind`."""
        if kind in _FORMATS:
            return self.number(_FORMATS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise struct.error
        entry, count = self.number(), self.number("Q")
        if count > _ENTRIES:
            raise struct.error
        if entry == _STRING:
            return [self.text() for _ in range(count)]
        if entry not in _FORMATS:
            raise struct.error
        code = f"<{count}{_FORMATS[entry]}"
        return list(struct.unpack(code, self.take(struct.calcsize(code))))


def _read(path: Path, data: mmap.mmap) -> GgufFile:
    cursor = _Cursor(path, data)
    version = cursor.number()
    if version not in _VERSIONS:
        told = "of a machine with another order of bytes" if version & 0xFFFF == 0 else f"version {version}"
        raise BadConfig(f"{path}: GGUF {told}, and versions 2 and 3 are read; convert it with llama.cpp")
    tensors, settings = cursor.number("Q"), cursor.number("Q")
    if max(tensors, settings) > _PARTS:
        raise struct.error
    found: dict[str, Any] = {}
    for _ in range(settings):
        key = cursor.text(_NAME_BYTES)
        found[key] = cursor.value(cursor.number())
    if found.get("split.count", 1) not in (0, 1):
        raise BadConfig(f"{path}: one of {found['split.count']} parts; put them together with llama-gguf-split --merge")
    places = dict[str, tuple[tuple[int, ...], int, int]]()
    for _ in range(tensors):
        name, place = _read_place(cursor)
        if name in places:
            raise struct.error
        places[name] = place
    alignment = found.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 2**16:
        raise struct.error
    begin = -(-cursor.place // alignment) * alignment
    return GgufFile(path, found, _measure(path, places, begin, len(data)), data)


def _read_place(cursor: _Cursor) -> tuple[str, tuple[tuple[int, ...], int, int]]:
    """Read a tensor's name, and its shape, kind and offset."""
    name, dimensions = cursor.text(_NAME_BYTES), cursor.number()
    if not 0 < dimensions <= _DIMENSIONS:
        raise struct.error
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    return name, (shape[::-1], cursor.number(), cursor.number("Q"))


def _measure(
    path: Path, places: dict[str, tuple[tuple[int, ...], int, int]], begin: int, end: int
) -> dict[str, StoredTensor]:
    """Return where each tensor lies. Raise for one that leaves the file, or lies on another."""
    gguf = require_gguf()
    sizes: dict[int, tuple[int, int]] = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    found, last = {}, begin
    for name, (shape, kind, offset) in sorted(places.items(), key=lambda item: item[1][2]):
        if kind not in sizes:
            raise BadConfig(f"{path}: {quote_name(name)} is of ggml type {kind}, which this gguf package does not know")
        block, width = sizes[kind]
        if shape[-1] % block or not math.prod(shape):
            raise BadInput(f"{path}: {quote_name(name)} has rows of {shape[-1]}, no multiple of {block}")
        size = math.prod(shape) // block * width
        if begin + offset < last or begin + offset + size > end:
            raise BadInput(f"{path}: {quote_name(name)} lies beyond the file's end or on another; {DOWNLOAD_AGAIN}")
        last = begin + offset + size
        found[name] = StoredTensor(shape, kind, begin + offset, size)
    return found
