"""Read a model's or an adapter's directory: its settings and safetensors headers. No weight is read, no torch."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from stages.errors import BadConfig, BadInput, MissingInput
from stages.file_kinds import HEAD_BYTES, STAND_INS, WrongFileKind, detect_by_bytes
from stages.sources.datasets.folders import find_placeholder

DOWNLOAD_AGAIN = "copy or download it again"
MERGE_ADVICE = "merge it into the model with peft's merge_and_unload"
_MAX_SETTINGS_BYTES = 100_000_000  # the longest index of shards has some 10 MB
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"
_CONVERT = "take a revision with safetensors, or convert it (huggingface.co/docs/safetensors/convert-weights)"


# ---- one file


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


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file. Raise MissingInput or BadInput naming the file and what is wrong."""
    if not path.is_file():
        raise MissingInput(f"{path}: no such file; copy or download the directory again")
    try:
        if path.stat().st_size > _MAX_SETTINGS_BYTES:
            raise ValueError(f"more than {_MAX_SETTINGS_BYTES} bytes")
        data = path.read_bytes()
        if (kind := detect_by_bytes(data[:HEAD_BYTES])) in STAND_INS:
            raise WrongFileKind(kind, str(path))
        found = json.loads(data)
    except RecursionError:
        raise BadInput(f"{path}: nested too deeply; {DOWNLOAD_AGAIN}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({str(error)[:100]}); {DOWNLOAD_AGAIN}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: a JSON {type(found).__name__}, not an object; {DOWNLOAD_AGAIN}")
    return found


# ---- a model's directory


def check_model(name: str) -> None:
    """Raise BadInput, BadConfig or MissingInput if `name` is a path without a model in it, or with an adapter."""
    path = Path(name)
    if path.is_dir():
        check_folder(path, name)
    elif path.is_file() and _is_gguf(path):
        raise BadConfig(f"--model {name}: a GGUF file; make a model directory of it: seal import {name} --out DIR")
    elif path.exists():
        raise BadInput(f"--model {name}: a file, but a model is a directory with config.json and safetensors")
    elif path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise MissingInput(f"--model {name}: no such directory (hub names look like owner/name)")


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def check_folder(folder: Path, name: str) -> None:
    """Raise BadConfig or BadInput for a folder that holds no model, or one with an adapter in it."""
    if found := find_placeholder(folder):
        raise BadInput(f"--model {name}: {found}")
    packed = min(folder.glob("*.gguf"), default=None)
    if not (folder / "config.json").is_file() or (packed and not any(folder.glob("*.safetensors"))):
        raise _describe_no_model(folder, name, packed)
    if (folder / "adapter_config.json").is_file():  # transformers would load both: no baseline would be the model's
        raise BadConfig(
            f"--model {name}: an adapter lies in it beside the model (adapter_config.json), and would be loaded with "
            f"it; {MERGE_ADVICE}, or move adapter_config.json and adapter_model.safetensors to a folder of their own"
        )


def _describe_no_model(folder: Path, name: str, packed: Path | None) -> Exception:
    """Say what lies in a folder without a model, and the way to one."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = read_object(adapter).get("base_model_name_or_path")
        known = isinstance(base, str) and base
        way = f"give --model {base}, which it was trained on" if known else "give the model that it was trained on"
        of = f"an adapter of {base}" if known else "an adapter"
        on = f"the adapter on a line of `seal eval`, or {MERGE_ADVICE}"
        return BadConfig(f"--model {name}: only {of}, not a model; {way}, and {on}")
    if packed is not None:
        ways = f"make a model directory of it: seal import {packed} --out DIR"
        return BadConfig(
            f"--model {name}: only GGUF ({quote_name(packed.name)}), which llama.cpp and Ollama read; {ways}"
        )
    return BadInput(f"--model {name}: not a model directory (it has no config.json)")


def read_model_tensors(folder: Path) -> dict[str, TensorInfo]:
    """Return all tensors of a model's folder, every file whole. Raise BadInput or MissingInput naming what is not."""
    if (folder / _WHOLE).exists():
        return read_header(folder / _WHOLE)
    if (folder / _INDEX).exists():
        return _read_shards(folder)
    if any((*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth"))):
        raise BadInput(f"{folder}: only a .bin, which is not read; {_CONVERT}")
    there = any(folder.glob("*.safetensors"))
    found = f"neither {_WHOLE} nor {_INDEX} beside its safetensors" if there else "no weights"
    raise MissingInput(f"{folder}: {found}; {DOWNLOAD_AGAIN}")


def map_tensors(folder: Path) -> dict[str, Path]:
    """Return the file that each tensor of a model's folder is in. Raise as `read_model_tensors` does."""
    names = read_model_tensors(folder)
    if (folder / _WHOLE).exists():
        return dict.fromkeys(names, folder / _WHOLE)
    places = read_object(folder / _INDEX)["weight_map"]
    return {name: folder / places[name] for name in names}


def _read_shards(folder: Path) -> dict[str, TensorInfo]:
    """Return the tensors of all shards, each from the shard that the index names."""
    places = read_object(folder / _INDEX).get("weight_map")
    if not isinstance(places, dict) or not places or not all(map(_is_bare_name, places.values())):
        raise BadInput(f"{folder / _INDEX}: its weight_map does not name files; {DOWNLOAD_AGAIN}")
    shards = {name: read_header(folder / name) for name in sorted(set(places.values()))}
    for tensor, name in places.items():
        if tensor not in shards[name]:
            told = f"has no {quote_name(tensor)}, which the index places there"
            raise BadInput(f"{folder / name}: {told}; download it again")
    return {tensor: shards[name][tensor] for tensor, name in places.items()}


def _is_bare_name(name: object) -> bool:
    """True for a file's bare name: an index must not lead out of its folder."""
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name and "\0" not in name
