"""Checkpoints of a training by step: one that died goes on behind the last of them, to the same bits.

A checkpoint lies beside the adapter to come, in a directory of its own, and goes when that is there.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.files import TRAINING, TRAINING_FILE, make_folder, remove_folder, replace_file
from stages.interfaces import FitJob

_DTYPES = {torch.float32: "F32", torch.float64: "F64"}  # safetensors' names


def write_tensors(job: FitJob, tensors: Mapping[str, Tensor], way: str) -> None:
    """Replace the job's checkpoint: the old one or the new one is there, whole. `way`: how the model computes.

    It is written tensor by tensor: those of a whole model would not fit into memory twice.
    """
    folder = _get_folder(job.out)
    make_folder(folder)
    replace_file(folder / TRAINING_FILE, _encode(tensors, {"job": job.id, "way": way}))


def _encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """A safetensors file in parts: the length of its header, the header, and the numbers of each tensor."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    yield encode_header(header)
    for tensor in tensors.values():
        numbers: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        yield memoryview(numbers)


def encode_header(header: Mapping[str, Any]) -> bytes:
    """Return the bytes of a safetensors file before its tensors, which begin at a multiple of 8."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


@contextmanager
def open_tensors(job: FitJob, way: str) -> Iterator[Any | None]:
    """Open the job's checkpoint, to read it tensor by tensor; None where there is none that can be taken up.

    The job's id says what it is trained on and with which settings, `way` how the model computes.
    """
    from safetensors import SafetensorError, safe_open

    path = _get_folder(job.out) / TRAINING_FILE
    try:
        file: Any = safe_open(path, "pt") if path.is_file() else None
    except SafetensorError:  # torn by a disk, or not ours
        file = None
    if file is None or file.metadata() != {"job": job.id, "way": way}:
        yield None
    else:
        with file:
            yield file


def remove_state(out: Path) -> None:
    """Remove the checkpoint of a training that is finished, or cannot be."""
    remove_folder(_get_folder(out))


def _get_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}{TRAINING}")
