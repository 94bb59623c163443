"""An adapter as what it adds to a model: two matrices a layer and a factor. Anything else is refused by name."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import BadConfig
from stages.models.adapter_checks import LORA_WEIGHT, LoraTarget, list_unusual_settings, read_adapter
from stages.models.directories import MERGE_ADVICE, quote_name, read_header

EMBEDDING, HEAD = "embed_tokens", "lm_head"  # the last part of their layers' names
_COPY = re.compile(r"base_model\.model\.(.+)\.base_layer\.weight")
_SCALING = {"rank_pattern", "alpha_pattern", "fan_in_fan_out"}  # which the factors and shapes below take in
_CHOOSING = {"layers_to_transform", "exclude_modules"}  # by which peft chose the layers that have weights


@dataclass(frozen=True)
class LoraPart:
    """What a layer gets: scale · up · down, with down (rank, in) and up (out, rank). Of an embedding its transpose."""

    down: Tensor
    up: Tensor
    scale: float
    embedding: bool = False
    transposed: bool = False  # the layer's own weight is (in, out), as GPT-2's

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def compute_change(self, dtype: torch.dtype) -> Tensor:
        """Return what is added to the layer's weight, computed in this precision."""
        change = self.scale * (self.up.to(dtype) @ self.down.to(dtype))
        return change.T if self.embedding or self.transposed else change


@dataclass(frozen=True)
class PlainLora:
    """A LoRA as it lies in a PEFT directory: its settings, and its parts by layer.

    `copies`: weights of the base, which peft saves beside a LoRA on the head or the embedding.
    """

    path: Path
    config: Mapping[str, Any]
    parts: Mapping[str, LoraPart]
    copies: Mapping[str, Tensor]

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max(part.rank for part in self.parts.values())

    @property
    def alpha(self) -> float:
        """What a loader is told beside `rank`: scale · rank of the layer with the largest rank."""
        return next(part.scale * part.rank for part in self.parts.values() if part.rank == self.rank)

    @cached_property
    def is_even(self) -> bool:
        """True if all layers have one rank and one factor, so that every program that reads LoRAs reads it."""
        return len({(part.rank, part.scale) for part in self.parts.values()}) == 1

    def even_out(self) -> "PlainLora":
        """Return the same LoRA with one rank and one factor: ranks are filled up with zeros, factors go into `up`."""
        if self.is_even:
            return self
        rank, scale = self.rank, self.alpha / self.rank
        return replace(self, parts={layer: _fill_up(part, rank, scale) for layer, part in self.parts.items()})


def _fill_up(part: LoraPart, rank: int, scale: float) -> LoraPart:
    missing = rank - part.rank
    down = torch.nn.functional.pad(part.down, (0, 0, 0, missing))
    up = torch.nn.functional.pad(part.up, (0, missing))
    if part.scale != scale:  # in float32, so that a bfloat16 weight is not rounded once more
        up = (up.to(torch.promote_types(up.dtype, torch.float32)) * (part.scale / scale)).contiguous()
        down = down.to(up.dtype)
    return replace(part, down=down, up=up, scale=scale)


def read_lora(path: Path) -> PlainLora:
    """Read a PEFT directory whose adapter is two matrices a layer and nothing more.

    Raise MissingInput or BadInput as `read_adapter` does, and BadConfig for what no product of two matrices is: DoRA,
    trained biases, whole modules beside the LoRA, and methods that are no LoRA.
    """
    from safetensors.torch import load_file

    adapter = read_adapter(path)
    _refuse_more_than_lora(path, adapter.config)
    weights = path / "adapter_model.safetensors"
    sides: dict[str, dict[str, str]] = {}
    for name in read_header(weights):
        match = LORA_WEIGHT.fullmatch(name)
        if _COPY.fullmatch(name):
            continue
        if match is None:
            raise BadConfig(f"adapter {path}: holds {quote_name(name)} beside its LoRA; {MERGE_ADVICE}")
        sides.setdefault(match[1], {})[match[3]] = name
    loaded = load_file(weights)
    parts = {}
    for target in adapter.targets:
        if len(target.down) != 2 or len(target.up) != 2:
            raise BadConfig(f"adapter {path}: {quote_name(target.layer)} is no matrix; {MERGE_ADVICE}")
        down, up = (loaded[sides[target.layer][side]] for side in "AB")
        scale, turned = _compute_scale(adapter.config, target), bool(adapter.config.get("fan_in_fan_out"))
        parts[target.layer] = LoraPart(down, up, scale, target.embedding, turned and not target.embedding)
    copies = {match[1]: weight for name, weight in loaded.items() if (match := _COPY.fullmatch(name))}
    return PlainLora(path, adapter.config, parts, copies)


def _refuse_more_than_lora(path: Path, config: Mapping[str, Any]) -> None:
    if config["peft_type"] != "LORA":
        raise BadConfig(f"adapter {path}: peft_type {quote_name(config['peft_type'])} is no LoRA; {MERGE_ADVICE}")
    unusual = [key for key in list_unusual_settings(config) if key not in _SCALING | _CHOOSING]
    if unusual:
        raise BadConfig(f"adapter {path}: has {quote_name(unusual[0])}, which is more than a LoRA; {MERGE_ADVICE}")


def _compute_scale(config: Mapping[str, Any], target: LoraTarget) -> float:
    """Return peft's factor of a layer: alpha / rank, or alpha / √rank (rsLoRA). Its alpha may be its own."""
    rank, patterns = target.down[0], config.get("alpha_pattern") or {}
    own = (patterns[key] for key in patterns if re.match(rf"(.*\.)?({key})$", target.layer))
    alpha = float(next(own, config.get("lora_alpha", 8)))  # peft's own default
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
