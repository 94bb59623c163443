"""A LoRA as GGUF, for llama.cpp's --lora and Ollama's ADAPTER (llama.cpp, convert_lora_to_gguf.py)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.errors import BadConfig, BadInput
from stages.exports.gguf.architectures import (
    Architecture,
    find_architecture,
    get_text_name,
    make_gguf_names,
    require_gguf,
)
from stages.exports.gguf.writing import GgufTensor, Numbers, write_gguf
from stages.exports.plain_lora import HEAD, LoraPart, PlainLora
from stages.models.adapter_checks import read_adapter, shape_mismatches
from stages.models.config import read_config
from stages.models.directories import TensorInfo, quote_name, read_model_tensors, read_object

_INSTEAD = "give --merge"


def write_gguf_lora(lora: PlainLora, model: Path, out: Path, name: str, numbers: Numbers = "f32") -> None:
    """Write the adapter of the model in this folder: complete or absent. `name` is what the file calls it.

    llama.cpp scales by alpha / rank, with one alpha for all layers: where they have different factors, B has the rest.
    Raise BadConfig for an architecture or a layer that llama.cpp has no LoRA for.
    """
    keys = require_gguf().Keys
    architecture = find_architecture(read_object(model / "config.json"), str(model))
    _check_fit(lora, read_model_tensors(model), model)
    config = read_config(str(model)).get_text_config()
    if lora.alpha == 0:
        raise BadConfig(f"adapter {lora.path}: alpha 0 adds nothing, and llama.cpp takes it for rank; take another")
    tensors = list(_list_tensors(lora, architecture, config, numbers))

    def describe(writer: Any) -> None:
        writer.add_type("adapter")
        writer.add_name(name)
        writer.add_string(keys.Adapter.TYPE, "lora")
        writer.add_float32(keys.Adapter.LORA_ALPHA, lora.alpha)

    write_gguf(out, architecture.name, describe, tensors)


def _check_fit(lora: PlainLora, tensors: dict[str, TensorInfo], model: Path) -> None:
    bad, _ = shape_mismatches(read_adapter(lora.path), tensors)
    if bad:
        raise BadInput(f"adapter {lora.path}: does not fit {model}: {bad[0]}")


def _list_tensors(lora: PlainLora, architecture: Architecture, config: Any, numbers: Numbers) -> Iterator[GgufTensor]:
    """Yield both parts of every layer, under llama.cpp's names."""
    find = make_gguf_names(architecture, config.num_hidden_layers)
    for layer, part in sorted(lora.parts.items()):
        named = get_text_name(layer)
        found = find(f"{named}.weight") if named is not None else None
        if found is None:
            raise BadConfig(f"adapter {lora.path}: llama.cpp has no {quote_name(layer)}; take other --target")
        if part.embedding:
            raise BadConfig(f"adapter {lora.path}: is on {quote_name(layer)}, an embedding; {_INSTEAD}")
        if layer.rpartition(".")[2] == HEAD and config.tie_word_embeddings:
            raise BadConfig(f"adapter {lora.path}: is on {HEAD}, which is the embedding too; {_INSTEAD}")
        up = architecture.turn(f"{named}.weight", _rescale(part, lora.alpha), config)
        yield _make(f"{found}.lora_a", part.down, numbers)
        yield _make(f"{found}.lora_b", up, numbers)


def _rescale(part: LoraPart, alpha: float) -> Tensor:
    """Return `up` for a program that scales by alpha / rank."""
    wanted = alpha / part.rank
    return part.up if part.scale == wanted else part.up.float() * (part.scale / wanted)


def _make(name: str, weight: Tensor, numbers: Numbers) -> GgufTensor:
    return GgufTensor(name, tuple(weight.shape), lambda: weight, numbers)
