"""Answers of many adapters in one batch: plain LoRA adapters of one shape, stacked on the model.

An adapter with more than that (DoRA, biases, ranks of its own per layer) is left to peft, one at a time.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stages.engines.base import Request
from stages.engines.models import adapter_config

WEIGHT = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
EXTRAS = (
    "use_dora",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "fan_in_fan_out",
    "exclude_modules",
    "layers_to_transform",
    "alora_invocation_tokens",
)


@dataclass(frozen=True)
class Lora:
    """A plain LoRA adapter in memory: `state` under peft's names, `layers` in the order of the model."""

    rank: int
    layers: tuple[str, ...]
    scale: float
    state: Mapping[str, Tensor]


def read_lora(path: Path, network: nn.Module) -> Lora | None:
    """The adapter, or None if it is more than plain LoRA or does not fit the model: then peft has the say."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = adapter_config(path)
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or any(map(config.get, EXTRAS)):
        return None
    try:
        state = load_file(path / "adapter_model.safetensors")
    except SafetensorError:
        return None
    names = {match[1] for match in map(WEIGHT.fullmatch, state) if match}
    linear = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    layers = tuple(name for name in linear if name in names)
    rank = config["r"]
    whole = len(state) == 2 * len(layers) and layers == _targeted(linear, config.get("target_modules"))
    if not whole or not all(_fits(state, name, network.get_submodule(name), rank) for name in layers):
        return None
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Lora(rank, layers, scale, state)


def _targeted(linear: Sequence[str], targets: Any) -> tuple[str, ...]:
    """The layers that peft would adapt for a list of last names; none for a pattern, which is left to peft."""
    ends = tuple(f".{target}" for target in targets) if isinstance(targets, list) else ()
    return tuple(name for name in linear if f".{name}".endswith(ends))


def _fits(state: Mapping[str, Tensor], name: str, layer: Any, rank: int) -> bool:
    shapes = [tuple(state[f"base_model.model.{name}.lora_{side}.weight"].shape) for side in "AB"]
    return shapes == [(rank, layer.in_features), (layer.out_features, rank)]


@dataclass(frozen=True)
class Batch:
    """Requests of several adapters, equally many rows for each: short ones are filled with their first request."""

    members: Sequence[tuple[Lora, Sequence[Request]]]

    @property
    def rows(self) -> list[tuple[Request, bool]]:
        """(request, whether its completion counts) in the order of the batch."""
        longest = max(len(requests) for _, requests in self.members)
        found = []
        for _, requests in self.members:
            found += [(request, True) for request in requests]
            found += [(requests[0], False)] * (longest - len(requests))
        return found


def make_batches(groups: Iterable[tuple[Lora, Sequence[Request]]], size: int) -> Iterator[Batch]:
    """Batches of at most `size` rows (one adapter's requests may be split), each of adapters of one shape, in order."""
    members: list[tuple[Lora, Sequence[Request]]] = []
    longest = 0
    for lora, requests in groups:
        for start in range(0, len(requests), size):
            piece = requests[start : start + size]
            other = bool(members) and (lora.rank, lora.layers) != (members[0][0].rank, members[0][0].layers)
            if members and (other or max(longest, len(piece)) * (len(members) + 1) > size):
                yield Batch(members)
                members, longest = [], 0
            members.append((lora, piece))
            longest = max(longest, len(piece))
    if members:
        yield Batch(members)
