"""A model, with an adapter merged into it or not, as a GGUF file (llama.cpp, convert_hf_to_gguf.py)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stages.errors import BadConfig
from stages.exports.gguf.architectures import Architecture, find_architecture, get_text_name, make_gguf_names
from stages.exports.gguf.vocabulary import read_vocabulary
from stages.exports.gguf.writing import GgufTensor, Numbers, write_gguf
from stages.exports.plain_lora import EMBEDDING, HEAD
from stages.exports.weights import ModelWeights
from stages.models.config import read_config
from stages.models.directories import quote_name, read_object

_OWN: dict[str, Numbers] = {"F32": "f32", "F64": "f32", "F16": "f16", "BF16": "bf16"}  # by safetensors' names
_FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}  # llama.cpp's
GEMMA_PATTERN = 6  # of Gemma 3's layers each sixth sees all tokens
_INSTEAD = "convert it with llama.cpp's convert_hf_to_gguf.py"


def write_gguf_model(weights: ModelWeights, out: Path, name: str, numbers: Numbers | None = None) -> None:
    """Write the model: complete or absent. `numbers` None: as the base has them.

    Raise BadConfig for an architecture, a tokenizer or a setting that llama.cpp computes otherwise.
    """
    folder = weights.folder
    architecture = find_architecture(read_object(folder / "config.json"), str(folder))
    config = read_config(str(folder)).get_text_config()
    if fault := find_unlike_setting(architecture, config):
        raise BadConfig(f"--model {folder}: {fault}, which llama.cpp computes otherwise; give --to merged")
    embedding = next((key for key in weights.tensors if key.endswith(f"{EMBEDDING}.weight")), None)
    if embedding is None:
        raise BadConfig(f"--model {folder}: it has no {EMBEDDING}; {_INSTEAD}")
    rows = weights.tensors[embedding].shape[0]
    chosen = numbers or _OWN[weights.tensors[embedding].dtype]
    vocabulary = read_vocabulary(folder, rows)
    tensors = list(_list_tensors(weights, architecture, config, chosen))

    def describe(writer: Any) -> None:
        writer.add_type("model")
        writer.add_name(name)
        _describe_sizes(writer, architecture, config)
        writer.add_vocab_size(rows)
        writer.add_file_type(_FILE_TYPES[chosen])
        if chosen == "q8_0":
            writer.add_quantization_version(2)
        vocabulary.describe(writer)

    write_gguf(out, architecture.name, describe, tensors)


def _list_tensors(
    weights: ModelWeights, architecture: Architecture, config: Any, numbers: Numbers
) -> Iterator[GgufTensor]:
    """Yield every weight of the text part under llama.cpp's name. A head that is the embedding is not written twice."""
    find = make_gguf_names(architecture, config.num_hidden_layers)
    tied = config.tie_word_embeddings and not weights.is_untied and not weights.has_own_head()
    if factors := _compute_rope_factors(config):
        yield GgufTensor("rope_freqs.weight", (len(factors),), partial(torch.tensor, factors))
    for key, info in weights.tensors.items():
        named = get_text_name(key)
        if named is None or (tied and named == f"{HEAD}.weight"):
            continue
        found = find(named)
        if found is None:
            raise BadConfig(f"--model {weights.folder}: llama.cpp has no {quote_name(key)}; give --to merged")
        read = partial(_read, weights, architecture, config, key, named)
        yield GgufTensor(found, info.shape, read, numbers)


def _read(weights: ModelWeights, architecture: Architecture, config: Any, key: str, named: str) -> torch.Tensor:
    return architecture.turn(named, weights.read(key, torch.float32), config)


def find_unlike_setting(architecture: Architecture, config: Any) -> str | None:
    """Return a setting of the model that llama.cpp has no place for, or computes otherwise; None if there is none."""
    if config.hidden_act != architecture.activation if hasattr(config, "hidden_act") else False:
        return f"hidden_act {config.hidden_act}"
    if architecture.name == "qwen3" and config.attention_bias:
        return "attention_bias"
    if architecture.name == "gemma3":
        return _find_unlike_gemma(config)
    if getattr(config, "layer_types", None) and set(config.layer_types) != {"full_attention"}:
        return "a sliding window"
    kind = get_rope(config).get("rope_type", "default")
    known = ("default", "linear", "yarn", *(["llama3"] if architecture.permutes else []))
    return None if kind in known else f"rope_type {kind}"


def _find_unlike_gemma(config: Any) -> str | None:
    for key in ("attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention", "attention_bias"):
        if getattr(config, key, None):
            return key
    if config.hidden_activation != "gelu_pytorch_tanh":
        return f"hidden_activation {config.hidden_activation}"
    if list(config.layer_types) != list_gemma_layers(config.num_hidden_layers):
        return "layers whose attention is not full in each sixth alone"
    large = config.num_hidden_layers == 62  # 27B, which llama.cpp knows by its layers
    wanted = config.hidden_size / config.num_attention_heads if large else config.head_dim
    if config.query_pre_attn_scalar != wanted:
        return f"query_pre_attn_scalar {config.query_pre_attn_scalar}"
    kind = get_rope(config).get("rope_type", "default")
    return None if kind in ("default", "linear") else f"rope_type {kind}"


def list_gemma_layers(count: int) -> list[str]:
    """List the attention of each of Gemma 3's layers, as transformers names it."""
    return ["sliding_attention" if (layer + 1) % GEMMA_PATTERN else "full_attention" for layer in range(count)]


def get_rope(config: Any, kind: str = "full_attention") -> dict[str, Any]:
    """Return the settings of the rotary positions, of models with two of them those of this kind of attention."""
    found: dict[str, Any] = config.rope_parameters or {}
    own: dict[str, Any] = found.get(kind, found)
    return own


def _describe_sizes(writer: Any, architecture: Architecture, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = get_rope(config)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(rope["rope_theta"])
    if architecture.name == "gemma3":
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base_swa(get_rope(config, "sliding_attention")["rope_theta"])
    if rope.get("rope_type") in ("linear", "yarn"):
        _describe_scaling(writer, config, rope)


def _describe_scaling(writer: Any, config: Any, rope: dict[str, Any]) -> None:
    from gguf import RopeScalingType

    writer.add_rope_scaling_type(RopeScalingType(rope["rope_type"]))
    writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        original = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        writer.add_rope_scaling_orig_ctx_len(original)
        if rope.get("beta_fast"):
            writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        if rope.get("beta_slow"):
            writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])


def _compute_rope_factors(config: Any) -> list[float]:
    """Return by what Llama 3 divides each frequency; nothing for models that scale none in this way."""
    if get_rope(config).get("rope_type") != "llama3":
        return []
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    plain = 1.0 / get_rope(config)["rope_theta"] ** (torch.arange(0, head, 2, dtype=torch.float64) / head)
    factors: list[float] = (plain / scaled.double()).float().tolist()
    return factors
