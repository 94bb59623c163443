"""Model and adapter directories, inspected by their settings and safetensors headers. No weight is read."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import BadInput, MissingInput
from stages.file_kinds import HEAD_BYTES, STAND_INS, WrongFileKind, detect_by_bytes
from stages.models.safetensors_header import TensorInfo, read_header, shown
from stages.sources.datasets.folders import find_placeholder

_MOST_BYTES = 100_000_000  # of a file of settings; the longest index of shards has some 10 MB
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
_LORA = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(embedding_)?([AB])(?:\.weight)?")
_CONVERT = "take a revision with safetensors, or convert it (huggingface.co/docs/safetensors/convert-weights)"
_AGAIN = "make it again with `seal adapt`, or copy it again"
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # PiSSA, OLoRA, CorDA and LoftQ change base weights
_PROMPTS = (
    "PROMPT_TUNING",
    "MULTITASK_PROMPT_TUNING",
    "P_TUNING",
    "PREFIX_TUNING",
    "CPT",
    "ADAPTION_PROMPT",
    "CARTRIDGE",
)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a file. Raises MissingInput or BadInput naming the file and what is wrong."""
    if not path.is_file():
        raise MissingInput(f"{path}: no such file; copy or download the directory again")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        data = path.read_bytes()
        if (kind := detect_by_bytes(data[:HEAD_BYTES])) in STAND_INS:
            raise WrongFileKind(kind, str(path))
        found = json.loads(data)
    except RecursionError:
        raise BadInput(f"{path}: nested too deeply; copy or download it again") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not JSON ({str(error)[:100]}); copy or download it again") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: a JSON {type(found).__name__}, not an object; copy or download it again")
    return found


def model_tensors(folder: Path) -> dict[str, TensorInfo]:
    """All tensors of a model directory, every file whole. Raises BadInput or MissingInput naming what is not."""
    if (folder / WHOLE).exists():
        return dict(read_header(folder / WHOLE))
    if (folder / INDEX).exists():
        return _sharded(folder)
    if any((*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth"))):
        raise BadInput(f"{folder}: only a .bin, which is not read; {_CONVERT}")
    there = any(folder.glob("*.safetensors"))
    found = f"neither {WHOLE} nor {INDEX} beside its safetensors" if there else "no weights"
    raise MissingInput(f"{folder}: {found}; copy or download it again")


def _sharded(folder: Path) -> dict[str, TensorInfo]:
    """The tensors of all shards, each in the shard that the index names."""
    places = read_object(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not places or not all(map(_plain, places.values())):
        raise BadInput(f"{folder / INDEX}: its weight_map does not name files; copy or download it again")
    shards = {name: read_header(folder / name) for name in sorted(set(places.values()))}
    for tensor, name in places.items():
        if tensor not in shards[name]:
            raise BadInput(f"{folder / name}: has no {shown(tensor)}, which the index places there; download it again")
    return {tensor: shards[name][tensor] for tensor, name in places.items()}


def _plain(name: object) -> bool:
    """Whether this is a file's bare name: an index must not lead out of its folder."""
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name and "\0" not in name


def adapter_config(path: Path) -> dict[str, Any]:
    """The PEFT settings of an adapter directory. Raises MissingInput or BadInput if it is none, or not safetensors."""
    settings, weights = path / "adapter_config.json", path / "adapter_model.safetensors"
    if not path.is_dir():
        raise MissingInput(f"adapter {path}: no such directory (run `seal adapt` again, or copy it there)")
    if pointer := find_placeholder(path):
        raise BadInput(f"adapter {path}: {pointer}")
    if not weights.is_file():
        kind = "only a .bin, which is not read" if (path / "adapter_model.bin").is_file() else "no weights"
        raise BadInput(f"adapter {path}: {kind}; it needs adapter_model.safetensors")
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"adapter {path}: adapter_config.json cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"adapter {path}: adapter_config.json is not an object")
    method = found.get("peft_type")
    if not isinstance(method, str) or method in _PROMPTS:
        told = f"peft_type {method} puts tokens before the prompt" if method else "its settings have no peft_type"
        raise BadInput(f"adapter {path}: {told}; take an adapter of layers, as LoRA is")
    if found.get("layer_replication"):
        way = "make that model, and train an adapter of it"
        raise BadInput(f"adapter {path}: its layer_replication makes another model with more layers; {way}")
    start = found.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise BadInput(
            f"adapter {path}: begun with {start}, which changes the base model; convert it to plain LoRA first"
        )
    return found


@dataclass(frozen=True)
class Target:
    """A layer that a LoRA sits on, and the shapes of the two parts: down (rank, in), up (out, rank)."""

    layer: str
    down: tuple[int, ...]
    up: tuple[int, ...]
    embedding: bool = False


@dataclass(frozen=True)
class Adapter:
    """An adapter directory: its settings, and its targets where it is a LoRA."""

    config: Mapping[str, Any]
    tensors: int
    targets: tuple[Target, ...]

    @property
    def base(self) -> str | None:
        name = self.config.get("base_model_name_or_path")
        return name if isinstance(name, str) and name else None


def read_adapter(path: Path) -> Adapter:
    """The adapter, its weights whole and of the rank that its settings say. Raises MissingInput or BadInput."""
    if path.is_dir():
        read_object(path / "adapter_config.json")
    config = adapter_config(path)
    header = read_header(path / "adapter_model.safetensors")
    targets = tuple(_lora_targets(path, header)) if config.get("peft_type") == "LORA" else ()
    ranks = lora_ranks(path, config) if targets else set()
    stacked = bool(config.get("target_parameters"))  # of experts that are one tensor: their ranks are put together
    for target in targets:
        for side, rank in (("lora_A", target.down[0]), ("lora_B", target.up[1])):
            if rank not in ranks and not (stacked and any(rank % own == 0 for own in ranks)):
                named = " or ".join(map(str, sorted(ranks)))
                raise BadInput(
                    f"adapter {path}: {side} of {shown(target.layer)} has rank {rank}, not {named}; {_AGAIN}"
                )
    return Adapter(config, len(header), targets)


def lora_ranks(path: Path, config: Mapping[str, Any]) -> set[int]:
    """The ranks that the settings name, for all layers or for some."""
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    if not all(type(rank) is int and rank > 0 for rank in ranks):
        raise BadInput(f"adapter {path}: r and rank_pattern are not all whole numbers ≥ 1; {_AGAIN}")
    return {int(rank) for rank in ranks if rank}


def _lora_targets(path: Path, tensors: Mapping[str, TensorInfo]) -> list[Target]:
    """Both parts of every layer. Raises BadInput where one is missing, or where there is none at all."""
    parts: dict[tuple[str, bool], dict[str, tuple[int, ...]]] = {}
    for name, info in tensors.items():
        if match := _LORA.fullmatch(name):
            parts.setdefault((match[1], bool(match[2])), {})[match[3]] = info.shape
    if not parts:
        raise BadInput(f"adapter {path}: a LoRA without lora_A and lora_B; {_AGAIN}")
    for (layer, _), sides in parts.items():
        if set(sides) != {"A", "B"} or min(map(len, sides.values())) < 2:
            raise BadInput(f"adapter {path}: {shown(layer)} has no lora_A and lora_B of two dimensions; {_AGAIN}")
    return [Target(layer, sides["A"], sides["B"], embedding) for (layer, embedding), sides in parts.items()]


def misfits(adapter: Adapter, tensors: Mapping[str, TensorInfo]) -> tuple[list[str], list[str]]:
    """(what does not fit this model, the layers for which headers cannot tell).

    They cannot where a checkpoint has other names than the model in memory, which transformers gives on loading, or
    has a weight once that several layers share.
    """
    bad: list[str] = []
    unclear: list[str] = []
    parts = {part for name in tensors for part in name.split(".")}
    for target in adapter.targets:
        layer = target.layer.replace(".base_layer", "")  # peft's word for a layer with two adapters on it
        weight = _find_weight(layer, tensors)
        if weight is None:
            named = any(name == layer or name.startswith(f"{layer}.") for name in tensors)
            own = layer.split(".")
            renamed = any(map(str.isdecimal, own)) and {own[-1], *filter(str.isdecimal, own)} <= parts
            known = named or own[-1] == "lm_head" or renamed
            (unclear if known else bad).append(f"no layer {shown(target.layer)}")
        elif len(target.down) > 2 or len(weight) != 2:
            unclear.append(f"{shown(target.layer)} is no matrix")
        elif (wanted := _matrix(target)) != (weight[::-1] if _turned(adapter, target) else weight):
            bad.append(f"{shown(target.layer)} is {weight[0]}×{weight[1]}, the adapter for {wanted[0]}×{wanted[1]}")
    return bad, unclear


def _matrix(target: Target) -> tuple[int, int]:
    """(out, in) of the layer that these parts are made for."""
    return target.up[0], target.down[1]


def _turned(adapter: Adapter, target: Target) -> bool:
    """Whether the layer keeps its weight as (in, out): embeddings, and GPT-2's Conv1D."""
    return target.embedding or bool(adapter.config.get("fan_in_fan_out"))


def _find_weight(layer: str, tensors: Mapping[str, TensorInfo]) -> tuple[int, ...] | None:
    """The shape of a layer's weight. A checkpoint of the bare model lacks the first part of the names."""
    parts = layer.split(".")
    names = (".".join((*parts[start:], "weight")) for start in range(min(2, len(parts))))
    return next((tensors[name].shape for name in names if name in tensors), None)
