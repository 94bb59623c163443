"""The config.json of a GGUF file: what llama.cpp knows of a model by its settings, in transformers' words."""

from collections.abc import Mapping
from typing import Any

import torch

from stages.errors import BadConfig, BadInput
from stages.exports.gguf.architectures import ARCHITECTURES, TITLES, Architecture
from stages.exports.gguf.header import GgufFile
from stages.exports.gguf.model import GEMMA_PATTERN
from stages.models.directories import DOWNLOAD_AGAIN, quote_name

_LARGE_GEMMA = 62  # layers of 27B, whose queries llama.cpp scales by hidden / heads
_FACTORS = "rope_freqs.weight"
_LENGTHS = (8192, *(2**power for power in range(5, 18)))  # before which Llama 3's scaling may begin; its own first
_UNREAD = ("attention.clamp_kqv", "attention.scale", "attn_logit_softcapping", "expert_count", "logit_scale")


def find_stored_architecture(file: GgufFile) -> Architecture:
    """Return the architecture of the model in a file. Raise BadConfig, with its name, for any other, and a LoRA."""
    if file.settings.get("general.type", "model") != "model":
        kind = quote_name(str(file.settings["general.type"]))
        raise BadConfig(f"{file.path}: holds {kind}, no model; give the PEFT directory that it was made from")
    for each in ARCHITECTURES:
        if each.name == file.architecture:
            return each
    raise BadConfig(f"{file.path}: architecture {quote_name(file.architecture)} is not read ({TITLES} are)")


def make_config(file: GgufFile, architecture: Architecture, factors: list[float] | None) -> dict[str, Any]:
    """Return the config.json of the file's model. `factors` are the numbers of rope_freqs.weight.

    Raise BadInput for a setting that is missing, BadConfig for one that transformers' class computes otherwise.
    """
    for key in _UNREAD:
        if file.settings.get(f"{file.architecture}.{key}"):
            raise BadConfig(f"{file.path}: has {key}, which {architecture.title} of transformers has not")
    heads = _get_size(file, "attention.head_count")
    hidden = _get_size(file, "embedding_length")
    head = file.get("attention.key_length", int) or file.get("rope.dimension_count", int) or hidden // max(heads, 1)
    if file.get("rope.dimension_count", int, head) != head or file.get("attention.value_length", int, head) != head:
        raise BadConfig(
            f"{file.path}: rotates a part of each head, which {architecture.title} of transformers does not"
        )
    if "token_embd.weight" not in file.tensors:
        raise BadInput(f"{file.path}: has no token_embd.weight; {DOWNLOAD_AGAIN}")
    ends = {key: file.get(f"tokenizer.ggml.{name}_token_id", int) for key, name in _TOKENS.items()}
    return {
        "model_type": architecture.kinds[0],
        "architectures": [architecture.model_class],
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "hidden_size": hidden,
        "intermediate_size": _get_size(file, "feed_forward_length"),
        "num_hidden_layers": _get_size(file, "block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": file.get("attention.head_count_kv", int, heads),
        "head_dim": head,
        "max_position_embeddings": _get_size(file, "context_length"),
        "rms_norm_eps": _round(file.get("attention.layer_norm_rms_epsilon", float, 1e-6)),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        **ends,
        **_describe_kind(file, architecture, head, hidden, heads, factors),
    }


_TOKENS = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}


def _get_size(file: GgufFile, key: str) -> int:
    found = file.get(key, int)
    if found is None or not 0 < found < 2**31:
        raise BadInput(f"{file.path}: {file.architecture}.{key} is {found}, no size; {DOWNLOAD_AGAIN}")
    return int(found)


def _round(number: float) -> float:
    """Return the short number that a float32 was written of: 1e-06 for 9.999999974752427e-07."""
    return float(f"{number:.7g}")


def _describe_kind(
    file: GgufFile, architecture: Architecture, head: int, hidden: int, heads: int, factors: list[float] | None
) -> dict[str, Any]:
    """Return what one of the architectures has and the others have not."""
    if architecture.name == "gemma3":
        return _describe_gemma(file, head, hidden, heads)
    found: dict[str, Any] = {"hidden_act": architecture.activation}
    if architecture.name == "llama":
        found["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
        found["mlp_bias"] = "blk.0.ffn_up.bias" in file.tensors
    rope = _describe_rope(file, file.get("rope.freq_base", float, 10000.0))
    if factors is not None:
        rope = _find_llama3_scaling(file, factors, rope, head)
    return {**found, "rope_parameters": rope}


def _describe_gemma(file: GgufFile, head: int, hidden: int, heads: int) -> dict[str, Any]:
    layers, every = _get_size(file, "block_count"), file.settings.get("gemma3.attention.sliding_window_pattern")
    every = GEMMA_PATTERN if every is None else every
    if type(every) is not int or every < 1:
        raise BadConfig(f"{file.path}: gemma3.attention.sliding_window_pattern is no whole number")
    kinds = ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)]
    local = {"rope_type": "default", "rope_theta": _round(file.get("rope.freq_base_swa", float, 10000.0))}
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": hidden // heads if layers == _LARGE_GEMMA else head,
        "final_logit_softcapping": file.get("final_logit_softcapping", float),
        "sliding_window": _get_size(file, "attention.sliding_window"),
        "layer_types": kinds,
        "rope_parameters": {
            "full_attention": _describe_rope(file, file.get("rope.freq_base", float, 1e6)),
            "sliding_attention": local,
        },
    }


def _describe_rope(file: GgufFile, base: float) -> dict[str, Any]:
    kind = file.get("rope.scaling.type", str, "none")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": _round(base)}
    if kind in ("none", ""):
        return rope
    factor = file.get("rope.scaling.factor", float)
    if kind not in ("linear", "yarn") or not factor:
        raise BadConfig(f"{file.path}: scales rotary positions by {quote_name(kind)}, which is not read")
    rope |= {"rope_type": kind, "factor": _round(factor)}
    if kind == "yarn":
        rope["original_max_position_embeddings"] = _get_size(file, "rope.scaling.original_context_length")
        rope |= {
            key: _round(found)
            for key, name in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow"))
            if (found := file.get(f"rope.scaling.{name}", float))
        }
    return rope


def _find_llama3_scaling(file: GgufFile, factors: list[float], rope: Mapping[str, Any], head: int) -> dict[str, Any]:
    """Return the settings of Llama 3's scaling by which its frequencies were divided. Raise BadConfig for others."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    theta = float(rope["rope_theta"])
    plain = 1.0 / theta ** (torch.arange(0, head, 2, dtype=torch.float64) / head)
    wanted = torch.tensor(factors, dtype=torch.float64)
    ends = {"rope_type": "llama3", "rope_theta": theta, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    for length in _LENGTHS if len(wanted) == len(plain) else []:
        told = {**ends, "factor": float(f"{max(factors):.6g}"), "original_max_position_embeddings": length}
        config = LlamaConfig(head_dim=head, rope_parameters=told, max_position_embeddings=2**17)
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        if torch.allclose(plain / scaled.double(), wanted, rtol=1e-4):
            return told
    raise BadConfig(f"{file.path}: its {_FACTORS} is of no scaling of Llama 3's; take the model's own safetensors")
