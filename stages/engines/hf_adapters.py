"""Adapters for answering: plain LoRA adapters of one shape are stacked on the model, many to a batch.

An adapter with more than that (DoRA, biases, ranks of its own per layer) is left to peft, one at a time.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.errors import BadInput, OutOfMemory, SealError
from stages.interfaces import Request
from stages.models.adapter_checks import PLAIN_WEIGHT, get_peft_name, list_unusual_settings, read_adapter_config
from stages.models.device import is_out_of_memory
from stages.models.lora_targets import find_linear_layers, is_row_wise


@dataclass(frozen=True)
class LoraWeights:
    """A plain LoRA adapter in memory: `state` under peft's names, `layers` in the order of the model."""

    rank: int
    layers: tuple[str, ...]
    scale: float
    state: Mapping[str, Tensor]


def get_stackable_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers that can hold many rows' adapters at once, by name, in the model's order."""
    layers = find_linear_layers(network)
    return {name: part for name, part in layers.items() if isinstance(part, nn.Linear) and is_row_wise(network, name)}


def read_plain_lora(path: Path, linear: Mapping[str, nn.Linear]) -> LoraWeights | None:
    """Read the adapter; None if it is more than plain LoRA or does not fit the model: peft then loads it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_adapter_config(path)
    if config.get("peft_type") != "LORA" or list_unusual_settings(config):
        return None
    try:
        state = load_file(path / "adapter_model.safetensors")
    except SafetensorError:
        return None
    names = {match[1] for match in map(PLAIN_WEIGHT.fullmatch, state) if match}
    layers = tuple(name for name in linear if name in names)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not isinstance(alpha, int | float):
        return None
    whole = len(state) == 2 * len(layers) and layers == _get_targeted(linear, config.get("target_modules"))
    if not whole or not all(_fits(state, name, linear[name], rank) for name in layers):
        return None
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return LoraWeights(rank, layers, scale, state)


def _get_targeted(linear: Iterable[str], targets: Any) -> tuple[str, ...]:
    """Layers that peft would adapt for a list of last names; none for a pattern, which is left to peft."""
    ends = tuple(f".{target}" for target in targets) if isinstance(targets, list) else ()
    return tuple(name for name in linear if f".{name}".endswith(ends))


def _fits(state: Mapping[str, Tensor], name: str, layer: nn.Linear, rank: int) -> bool:
    shapes = [tuple(state[get_peft_name(name, side)].shape) for side in "AB"]
    return shapes == [(rank, layer.in_features), (layer.out_features, rank)]


AdapterBatch = Sequence[tuple[LoraWeights, Sequence[Request]]]  # adapters of one shape, each with its requests


def make_batches(
    groups: Iterable[tuple[LoraWeights, Sequence[Request]]], get_size: Callable[[], int]
) -> Iterator[AdapterBatch]:
    """Yield batches of at most `get_size()` rows, each of adapters of one shape, in order; an adapter's may be split.

    The size is asked for anew for each piece, since it shrinks where memory runs out.
    """
    batch: list[tuple[LoraWeights, Sequence[Request]]] = []
    for lora, requests in groups:
        waiting = iter(requests)
        while piece := list(islice(waiting, get_size())):
            other = bool(batch) and (lora.rank, lora.layers) != (batch[0][0].rank, batch[0][0].layers)
            if other or sum(len(rows) for _, rows in batch) + len(piece) > get_size():
                yield batch
                batch = []
            batch.append((lora, piece))
    if batch:
        yield batch


class AdapterSlot:
    """One PEFT slot on a model. Adapters of one shape take turns by weight copy; another shape rebuilds the slot."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.shape: dict[str, Any] | None = None
        self.wrapped: Any = None
        self.biases: dict[str, torch.Tensor] = {}  # the model's own, where an adapter brings others

    def use(self, path: Path | None) -> Any:
        """Return the model with this adapter, or with none. Raises MissingInput or BadInput for a bad one."""
        if path is None:
            self._clear()
            return self.network
        shape = read_adapter_config(path)
        try:
            if shape != self.shape:
                self._rebuild(path, shape)
            self._load(path)
        except Exception as error:  # peft has many classes for what it cannot read
            self._clear()
            if isinstance(error, SealError | MemoryError):
                raise
            if is_out_of_memory(error):
                raise OutOfMemory(
                    f"adapter {path}: does not fit into the device's memory; take --dtype bfloat16"
                ) from error
            kind = "" if isinstance(error, RuntimeError | ValueError | OSError) else f"{type(error).__name__}: "
            first = " ".join(str(error).split())[:200]
            raise BadInput(f"adapter {path}: does not fit this model: {kind}{first}") from None
        return self.wrapped

    def _rebuild(self, path: Path, shape: dict[str, Any]) -> None:
        from peft import PeftConfig, get_peft_model

        self._clear()
        settings = PeftConfig.from_pretrained(str(path))
        unknown = sorted(key for key, value in shape.items() if value and not hasattr(settings, key))
        if unknown:  # peft would leave them out, and answer with another adapter
            raise BadInput(f"adapter {path}: this peft does not know its {unknown[0]}; pip install -U peft")
        if shape.get("bias", "none") != "none":
            own = self.network.named_parameters()
            self.biases = {name: weight.detach().clone() for name, weight in own if name.endswith("bias")}
        settings.base_model_name_or_path = None  # peft warns where the model has moved since
        self.wrapped = get_peft_model(self.network, settings).eval()
        self.shape = shape

    def _load(self, path: Path) -> None:
        """Copy the adapter's weights into the slot. Raises ValueError where the two do not cover each other."""
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        loaded = set_peft_model_state_dict(self.wrapped, load_file(path / "adapter_model.safetensors"))
        missing = [key for key in loaded.missing_keys if self.wrapped.base_model.prefix in key]
        if missing or loaded.unexpected_keys:
            raise ValueError(f"no weight for {missing[0]}" if missing else f"no layer for {loaded.unexpected_keys[0]}")

    def _clear(self) -> None:
        if self.wrapped is not None:
            own = {  # peft leaves the adapter's copies of whole layers (modules_to_save) in the model
                name: layer.original_module
                for name, layer in self.network.named_modules()
                if hasattr(layer, "original_module")
            }
            self.wrapped.unload()
            for name, layer in own.items():
                self.network.set_submodule(name, layer)
        for name, weight in self.biases.items():  # peft writes biases into the model and leaves them there
            self.network.get_parameter(name).requires_grad_(False).copy_(weight)
        self.wrapped, self.shape, self.biases = None, None, {}
