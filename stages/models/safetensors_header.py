"""Read what a safetensors file holds from its header: names, dtypes, shapes and metadata. No tensor is read."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from stages.errors import BadInput, MissingInput
from stages.file_kinds import HEAD_BYTES, STAND_INS, WrongFileKind, detect_by_bytes

DOWNLOAD_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor without its numbers. dtype is safetensors' own name, for example F32 or BF16."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        bits = re.search(r"\d+", self.dtype)  # F8_E4M3: 8
        return self.elements * int(bits[0] if bits else 8) // 8  # BOOL


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Return the tensors of a whole file by name. Raise MissingInput, or BadInput naming the file and its fault."""
    with _open(path) as file:
        parts = {name: file.get_slice(name) for name in file.offset_keys()}
        return {name: TensorInfo(part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts that the file's writer put beside the tensors. Raise as `read_header` does."""
    with _open(path) as file:
        return file.metadata() or {}


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a file with the library, which checks its header and its size; as numpy, so that torch is not imported."""
    if not path.is_file():
        kind, found = (BadInput, "not a file") if path.exists() else (MissingInput, "no such file")
        raise kind(f"{path}: {found}; a safetensors file is needed")
    try:
        file = safe_open(path, "numpy")
    except SafetensorError as error:
        with path.open("rb") as start:
            stand_in = detect_by_bytes(start.read(HEAD_BYTES))
        if stand_in in STAND_INS:
            raise WrongFileKind(stand_in, str(path)) from None
        words = quote_name(str(error).removeprefix("Error while deserializing header: "))
        raise BadInput(f"{path}: cut off or damaged, no whole safetensors file ({words}); {DOWNLOAD_AGAIN}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    with file:
        yield file


def quote_name(name: str) -> str:
    """Quote a name from a file for a message: control characters escaped, at most 100 characters."""
    return ascii(name if len(name) <= 100 else name[:99] + "…")
