"""A GGUF file as a model directory of transformers: its weights with all their bits, or rounded to a precision."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers

from stages.errors import BadConfig, BadInput
from stages.exports.gguf.architectures import Architecture, make_gguf_names, require_gguf
from stages.exports.gguf.config import find_stored_architecture, make_config
from stages.exports.gguf.header import GgufFile, StoredTensor, open_gguf
from stages.exports.gguf.tokenizer import make_tokenizer_of
from stages.exports.gguf.vocabulary import CONTROL
from stages.exports.merged import check_written_model, encode_tensor
from stages.exports.weights import WHOLE
from stages.files import atomic_directory, check_space, replace_file, write_file
from stages.models.checkpoints import CHECKPOINT_FILE, measure_files
from stages.models.directories import DOWNLOAD_AGAIN, quote_name
from stages.trainers.checkpoints import encode_header

Precision = Literal["float32", "bfloat16", "float16"]
_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}  # safetensors'
_FACTORS = "rope_freqs.weight"
_TURN_END = "tokenizer.ggml.eot_token_id"
_ENDS = frozenset(  # of a text or a turn: Llama 2, 3 and 3.1's calls of tools, Qwen, Gemma, Phi, Mistral
    (
        *("</s>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|im_end|>"),
        *("<eos>", "<end_of_turn>", "<|end|>", "[EOS]"),
    )
)


def write_model_of(path: Path, out: Path, dtype: Precision = "float32") -> str:
    """Write the directory: complete or absent. Return what was taken over, for people.

    One weight is in memory at a time. Raise as `open_gguf` does; BadConfig for an architecture, a tokenizer or a
    setting that is not read, by name; NoSpace or OSError where the directory cannot be written.
    """
    with open_gguf(path) as file:
        architecture = find_stored_architecture(file)
        factors = _dequantize(file, file.tensors[_FACTORS]).tolist() if _FACTORS in file.tensors else None
        config: dict[str, Any] = {**make_config(file, architecture, factors), "dtype": dtype}
        network, settings = _make_network(file, config)
        names = _match_names(file, architecture, network, settings.num_hidden_layers)
        tokenizer = make_tokenizer_of(file)
        count = sum(weight.numel() for weight in names.values())
        check_space(out.parent, count * torch.empty(0, dtype=getattr(torch, dtype)).element_size(), "the model")
        with atomic_directory(out) as partial:
            replace_file(partial / WHOLE, _encode(file, architecture, settings, names, dtype))
            # Without a version transformers warns that the tokenizer may be an old one of Mistral's.
            _write_json(partial / "config.json", {**config, "transformers_version": transformers.__version__})
            _write_json(partial / "generation_config.json", _describe_generation(file, config))
            tokenizer.save_pretrained(str(partial))
            check_written_model(partial)
            told = {"import": path.name, "bytes": path.stat().st_size}
            files = sorted(each.name for each in partial.iterdir())
            _write_json(partial / CHECKPOINT_FILE, {**told, "files": measure_files(partial, files)})
        return _describe(file, architecture, tokenizer, count)


def _describe(file: GgufFile, architecture: Architecture, tokenizer: Any, count: int) -> str:
    gguf = require_gguf()
    kinds = sorted({gguf.GGMLQuantizationType(each.kind).name for each in file.tensors.values()})
    starts = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    start = f"each text begins with {tokenizer.bos_token}" if starts else "no start token"
    template = "its chat template (jinja, rendered in a sandbox)" if tokenizer.chat_template else "no chat template"
    return f"{architecture.title}, {count:,} weights of {', '.join(kinds)}; {start}; {template}"


def _make_network(file: GgufFile, config: dict[str, Any]) -> tuple[Any, Any]:
    """Return the model that the settings tell of, without numbers, and transformers' settings."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        settings = AutoConfig.for_model(**config)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(settings), settings
    except Exception as error:
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(f"{file.path}: its settings are none of a model: {told}; {DOWNLOAD_AGAIN}") from error


def _match_names(file: GgufFile, architecture: Architecture, network: Any, layers: int) -> dict[str, torch.Tensor]:
    """Return the model's weights by name, each of which the file has in its shape. Raise BadInput or BadConfig."""
    find, tied = make_gguf_names(architecture, layers), network.config.tie_word_embeddings
    weights = {name: each for name, each in network.state_dict().items() if not (tied and name == "lm_head.weight")}
    stored = {name: find(name) or "" for name in weights}
    for name, weight in weights.items():
        there = file.tensors.get(stored[name])
        if there is None:
            raise BadInput(f"{file.path}: has no {stored[name] or name}; {DOWNLOAD_AGAIN}")
        if there.shape != tuple(weight.shape):
            sizes = ["×".join(map(str, shape)) for shape in (there.shape, tuple(weight.shape))]
            raise BadInput(f"{file.path}: {stored[name]} is {sizes[0]}, by its settings {sizes[1]}; {DOWNLOAD_AGAIN}")
    more = sorted(file.tensors.keys() - set(stored.values()) - {_FACTORS})
    if more:
        title = architecture.title
        raise BadConfig(f"{file.path}: holds {quote_name(more[0])}, which {title} of transformers has no place for")
    return weights


def _encode(
    file: GgufFile, architecture: Architecture, settings: Any, names: dict[str, torch.Tensor], dtype: Precision
) -> Iterator[bytes | memoryview]:
    """A safetensors file in parts: its header, then the numbers of each weight."""
    find, kind = make_gguf_names(architecture, settings.num_hidden_layers), getattr(torch, dtype)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, weight in names.items():
        start, end = end, end + weight.numel() * torch.empty(0, dtype=kind).element_size()
        header[name] = {"dtype": _NAMES[dtype], "shape": list(weight.shape), "data_offsets": [start, end]}
    yield encode_header(header)
    for name in names:
        weight = _dequantize(file, file.tensors[find(name) or ""])
        rounded = architecture.turn_back(name, weight, settings).to(kind)
        if weight.isfinite().all() and not rounded.isfinite().all():
            raise BadConfig(f"{file.path}: {name} has numbers that {dtype} cannot hold; give --dtype bfloat16")
        yield encode_tensor(rounded)


def _dequantize(file: GgufFile, tensor: StoredTensor) -> torch.Tensor:
    """Return a tensor's numbers in float32."""
    gguf = require_gguf()
    kind = gguf.GGMLQuantizationType(tensor.kind)
    raw = np.frombuffer(file.data[tensor.start : tensor.start + tensor.size], np.uint8)
    plain = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
    if kind.name in plain:
        numbers = torch.frombuffer(bytearray(raw), dtype=plain[kind.name])
        return numbers.reshape(tensor.shape).to(torch.float32)
    try:
        rows = raw.reshape(gguf.quants.quant_shape_to_byte_shape(tensor.shape, kind))
        return torch.from_numpy(np.ascontiguousarray(gguf.quants.dequantize(rows, kind)))
    except NotImplementedError:
        raise BadConfig(f"{file.path}: weights of {kind.name} are not read; take another file of the model") from None


def _describe_generation(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of generation: every token that ends a text or a turn ends an answer, as in llama.cpp.

    Files name one or two of them; what is called as the others are, and is a control token, is one, too.
    """
    tokens, types = file.get("tokenizer.ggml.tokens", list, []), file.get("tokenizer.ggml.token_type", list)
    called = [number for number, text in enumerate(tokens) if text in _ENDS and (not types or types[number] == CONTROL)]
    ends = [number for number in (config["eos_token_id"], file.get(_TURN_END, int), *called) if number is not None]
    ends = list(dict.fromkeys(ends))
    found = {key: config[key] for key in ("bos_token_id", "pad_token_id") if config[key] is not None}
    return {**found, **({"eos_token_id": ends[0] if len(ends) == 1 else ends} if ends else {})}


def _write_json(path: Path, told: dict[str, Any]) -> None:
    kept = {key: value for key, value in told.items() if value is not None or key in ("bos_token_id", "pad_token_id")}
    write_file(path, (json.dumps(kept, indent=2) + "\n").encode())
