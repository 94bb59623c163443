"""Check a model's folder before anything heavy is loaded: its settings and its safetensors headers, no weights."""

import json
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.file_kinds import HEAD_BYTES, STAND_INS, WrongFileKind, detect_by_bytes
from stages.models.safetensors_header import DOWNLOAD_AGAIN, TensorInfo, quote_name, read_header
from stages.sources.datasets.folders import find_placeholder

MERGE_ADVICE = "merge it into the model with peft's merge_and_unload"
_MAX_SETTINGS_BYTES = 100_000_000  # the longest index of shards has some 10 MB
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"
_CONVERT = "take a revision with safetensors, or convert it (huggingface.co/docs/safetensors/convert-weights)"


def check_model(name: str) -> None:
    """Raise BadInput, BadConfig or MissingInput if `name` is a path without a model in it, or with an adapter."""
    path = Path(name)
    if path.is_dir():
        check_folder(path, name)
    elif path.exists():
        raise BadInput(f"--model {name}: a file, but a model is a directory with config.json and safetensors")
    elif path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise MissingInput(f"--model {name}: no such directory (hub names look like owner/name)")


def check_folder(folder: Path, name: str) -> None:
    """Raise BadConfig or BadInput for a folder that holds no model, or one with an adapter in it."""
    settings, adapter = folder / "config.json", folder / "adapter_config.json"
    if found := find_placeholder(folder):
        raise BadInput(f"--model {name}: {found}")
    if not settings.is_file() or (any(folder.glob("*.gguf")) and not any(folder.glob("*.safetensors"))):
        raise _describe_no_model(folder, name)
    if adapter.is_file():  # transformers would load both, and every baseline would be the adapter's
        raise BadConfig(
            f"--model {name}: an adapter lies in it beside the model (adapter_config.json), and would be loaded with "
            f"it; {MERGE_ADVICE}, or move adapter_config.json and adapter_model.safetensors to a folder of their own"
        )


def _describe_no_model(folder: Path, name: str) -> Exception:
    """Say what lies in a folder without config.json, and the way to a model."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = read_object(adapter).get("base_model_name_or_path")
        known = isinstance(base, str) and base
        way = f"give --model {base}, which it was trained on" if known else "give the model that it was trained on"
        of = f"an adapter of {base}" if known else "an adapter"
        on = f"the adapter on a line of `seal eval`, or {MERGE_ADVICE}"
        return BadConfig(f"--model {name}: only {of}, not a model; {way}, and {on}")
    packed = next(iter(sorted(folder.glob("*.gguf"))), None)
    if packed is not None:
        return BadConfig(
            f"--model {name}: only GGUF ({quote_name(packed.name)}), which llama.cpp and Ollama read; take the "
            "safetensors that it was made from, or serve it and give --engine openai --base-url URL"
        )
    return BadInput(f"--model {name}: not a model directory (it has no config.json)")


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
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not JSON ({str(error)[:100]}); {DOWNLOAD_AGAIN}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: a JSON {type(found).__name__}, not an object; {DOWNLOAD_AGAIN}")
    return found


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
    """Tell whether this is a file's bare name: an index must not lead out of its folder."""
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name and "\0" not in name
