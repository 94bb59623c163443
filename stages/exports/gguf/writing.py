"""Write a GGUF file: complete or absent, one tensor in memory at a time."""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stages.exports.gguf.architectures import require_gguf
from stages.files import add_filename, check_space, partial_directory, rename

Numbers = Literal["f32", "f16", "bf16", "q8_0"]  # how weights that are matrices are written
_FLOATS = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
_BLOCK = 32  # numbers that q8_0 takes together


@dataclass(frozen=True)
class GgufTensor:
    """A tensor to be written: its name and shape there, and what makes its numbers."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]
    numbers: Numbers = "f32"

    @property
    def kind(self) -> Numbers:
        """How it is written: vectors as f32, rows that q8_0 cannot divide as f16, as llama.cpp's own converter does."""
        if len(self.shape) < 2:
            return "f32"
        return "f16" if self.numbers == "q8_0" and self.shape[-1] % _BLOCK else self.numbers


def write_gguf(out: Path, architecture: str, describe: Callable[[Any], object], tensors: Iterable[GgufTensor]) -> None:
    """Write the file. `describe` is given the writer and adds the settings. Raise NoSpace or OSError."""
    gguf, planned = require_gguf(), list(tensors)
    kinds = {name: gguf.GGMLQuantizationType[name.upper()] for name in ("f32", "f16", "bf16", "q8_0")}
    shapes = [gguf.quants.quant_shape_to_byte_shape(each.shape, kinds[each.kind]) for each in planned]
    sizes = [math.prod(shape) for shape in shapes]
    check_space(out.parent, sum(sizes), "the GGUF file's weights")
    with partial_directory(out) as folder:
        part = folder / out.name
        try:
            writer = gguf.GGUFWriter(part, architecture)
            try:
                describe(writer)
                for each, size in zip(planned, sizes, strict=True):
                    writer.add_tensor_info(each.name, each.shape, np.dtype("f4"), size, raw_dtype=kinds[each.kind])
                writer.write_header_to_file()
                writer.write_kv_data_to_file()
                writer.write_ti_data_to_file()
                for each in planned:
                    writer.write_tensor_data(_encode(each.make(), each.kind))
            finally:
                writer.close()
            _sync(part)
            rename(part, out)
        except OSError as error:
            raise add_filename(error, out) from None


def _encode(weight: Tensor, kind: Numbers) -> Any:
    """Return the bytes of a weight (rows, columns), as numpy has them."""
    if kind == "q8_0":
        import gguf

        return gguf.quants.quantize(weight.to(torch.float32).contiguous().numpy(), gguf.GGMLQuantizationType.Q8_0)
    numbers: Any = weight.to(_FLOATS[kind]).contiguous().view(torch.uint8).numpy()
    return numbers


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
