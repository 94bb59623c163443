"""What a safetensors file holds, from its header alone: names, dtypes, shapes and metadata. No tensor is read.

The format (github.com/huggingface/safetensors): 8 bytes little-endian length, that many bytes of JSON, then the bytes
of the tensors one after another without holes. A file that says anything else about itself is refused.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from stages.errors import BadInput, MissingInput
from stages.file_kinds import HEAD_BYTES, STAND_INS, WrongFileKind, detect_by_bytes

_LENGTH_BYTES = 8
_MOST_BYTES = 100_000_000  # of a header, as in safetensors itself
_MOST_DIMENSIONS = 64  # of a tensor, as in torch; the product of a million large numbers takes for ever
_MOST_DIGITS = 20  # of a 64-bit number
_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character: JSON can say it, UTF-8 cannot
_AGAIN = "copy or download it again"
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor without its numbers. dtype is safetensors' own name, for example F32 or BF16."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        return BITS[self.dtype] * self.elements

    @property
    def bytes(self) -> int:
        return self.bits // 8


@dataclass(frozen=True)
class Header(Mapping[str, TensorInfo]):
    """The tensors of a file by name, and the metadata that its writer put beside them."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    def __getitem__(self, name: str) -> TensorInfo:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def read_header(path: Path) -> Header:
    """The header of a whole safetensors file. Raises MissingInput, or BadInput naming the file and what is wrong."""
    try:
        if not path.is_file():
            kind = "not a file" if path.exists() else "no such file"
            raise (BadInput if path.exists() else MissingInput)(f"{path}: {kind}; a safetensors file is needed")
        text, data_bytes = _split(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadInput(f"{path}: cannot be read: {error}") from None
    try:
        entries = _parse(text)
        metadata = _metadata(entries.pop("__metadata__", {}))
        placed = {name: _entry(name, entry) for name, entry in entries.items()}
        _check_places(placed, data_bytes)
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None
    return Header({name: info for name, (info, _, _) in placed.items()}, metadata)


def _split(path: Path) -> tuple[bytes, int]:
    """(the header's JSON, how many bytes of tensors follow). No more is read than the file has."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if (length > _MOST_BYTES or size < HEAD_BYTES) and (
            kind := detect_by_bytes(start + file.read(HEAD_BYTES))
        ) in STAND_INS:
            raise WrongFileKind(kind, str(path))
        file.seek(_LENGTH_BYTES)
        if len(start) < _LENGTH_BYTES:
            raise BadInput(f"{path}: {size} bytes, too short for a safetensors file; {_AGAIN}")
        if length > _MOST_BYTES:
            raise BadInput(f"{path}: not safetensors (its header would be {length} bytes long)")
        if length > size - _LENGTH_BYTES:
            raise BadInput(f"{path}: cut off within its header of {length} bytes ({size} are there); {_AGAIN}")
        return file.read(length), size - _LENGTH_BYTES - length


def _parse(text: bytes) -> dict[str, Any]:
    """The header's entries. Raises ValueError for anything that is no JSON object, or that names a tensor twice."""
    try:
        found = json.loads(
            text.decode("utf-8"), object_pairs_hook=_once, parse_int=_integer, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is not JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"its header is a JSON {type(found).__name__}, not an object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"its header names {shown(name)} twice")
        if _SURROGATE.search(name):
            raise ValueError(f"its header names {shown(name)}, which is no text")
        found[name] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"its header has a number of {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"its header is not JSON ({name})")


def shown(name: str) -> str:
    """A name from a file as it may stand in a message: quoted, control characters escaped, never endless."""
    return ascii(name if len(name) <= 100 else name[:99] + "…")


def _metadata(found: object) -> dict[str, str]:
    texts = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    if not isinstance(found, dict) or not texts or any(map(_SURROGATE.search, found.values())):
        raise ValueError("its __metadata__ is not an object of texts")
    return found


def _entry(name: str, entry: object) -> tuple[TensorInfo, int, int]:
    """(the tensor, where its bytes begin, where they end). Raises ValueError naming what does not fit."""
    if not isinstance(entry, dict):
        raise ValueError(f"tensor {shown(name)} is a JSON {type(entry).__name__}, not an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"tensor {shown(name)} has the unknown dtype {shown(str(dtype))}")
    if not _counts(shape) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"tensor {shown(name)} has no shape of at most {_MOST_DIMENSIONS} whole numbers")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"tensor {shown(name)} has no data_offsets [begin, end]")
    info, (begin, end) = TensorInfo(dtype, tuple(shape)), offsets
    if info.bits != 8 * (end - begin):
        raise ValueError(f"tensor {shown(name)} has a shape and dtype that do not fit its {end - begin} bytes")
    return info, begin, end


def _counts(found: object) -> TypeGuard[list[int]]:
    """Whether this is a list of whole numbers ≥ 0. True is none."""
    return isinstance(found, list) and all(type(each) is int and each >= 0 for each in found)


def _check_places(placed: Mapping[str, tuple[TensorInfo, int, int]], data_bytes: int) -> None:
    """Raises ValueError unless the tensors fill the rest of the file, each byte once."""
    reached = 0
    for name, (_, begin, end) in sorted(placed.items(), key=lambda item: item[1][1:]):
        if begin != reached:
            what = "overlaps the tensor before it" if begin < reached else "leaves a hole before it"
            raise ValueError(f"tensor {shown(name)} {what}")
        if end > data_bytes:
            have = f"its header needs at least {end} bytes of tensors, the file has {data_bytes}"
            raise ValueError(f"cut off: {have}; {_AGAIN}")
        reached = end
    if reached != data_bytes:
        raise ValueError(f"{data_bytes - reached} bytes more than its header tells of; {_AGAIN}")
