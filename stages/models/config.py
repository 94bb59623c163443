"""A model's config.json: the sizes of its text part, and what transformers cannot load here, with the next move."""

import math
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput
from stages.models.devices.hardware import expect_gpu
from stages.models.directories import DOWNLOAD_AGAIN, check_folder, quote_name, read_object
from stages.models.libraries import (
    NEWER_MODEL,
    describe_transformers,
    explain_library_errors,
    find_model_folder,
    is_installed,
)

_UNREADABLE = "its settings cannot be read"
_TEXT_PARTS = ("text_config", "llm_config", "language_config")
_CONTEXT_KEYS = (  # of one family each but for the first
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
    "max_target_positions",
)
_UNLIMITED = ("bloom", "mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm")  # ALiBi, or a state instead of positions
_STATED_AFTER_SCALING = ("default", "llama3", "longrope", "su", "mrope", "proportional")
_QUANTIZERS = {  # the packages that transformers needs for weights that are quantized in these ways
    "bitsandbytes": ("bitsandbytes",),
    "gptq": ("optimum", "gptqmodel"),
    "awq": ("gptqmodel",),
    "aqlm": ("aqlm",),
    "quanto": ("optimum-quanto",),
    "hqq": ("hqq",),
    "torchao": ("torchao",),
    "compressed-tensors": ("compressed-tensors",),
    "auto-round": ("auto-round",),
    "fbgemm_fp8": ("fbgemm-gpu",),
    "mxfp4": ("kernels",),
}
_GPU_QUANTIZERS = ("fp8", "mxfp8", "mxfp4", "nvfp4", "fbgemm_fp8")
_DTYPES = re.compile(r"(torch\.)?(auto|half|float|double|b?float16|float32|float64|float8_\w+)")
_FLASH = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash-attn-3", "flash_attention_4": "flash-attn-4"}


# ---- sizes


def get_text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a model, or those of the text part of one that also sees or hears."""
    parts = (config.get(key) for key in _TEXT_PARTS)
    return next((part for part in parts if isinstance(part, dict)), config)


def get_context_length(config: Any) -> int | None:
    """Return how many tokens a model takes, by a JSON object or transformers' own settings; None for any number.

    Where rotary positions are scaled, the context is the one after scaling.
    """
    config = get_text_config(config) if isinstance(config, Mapping) else config.get_text_config()
    if _get(config, "model_type") in _UNLIMITED or _get(config, "alibi"):  # Falcon's
        return None
    stated = (_get(config, key) for key in _CONTEXT_KEYS)
    context = next((each for each in stated if type(each) is int and each > 0), None)
    return context and max(context, _scale_context(config, context))


def get_sliding_window(config: Any) -> int | None:
    """Return how many neighbours a token sees in layers with a sliding window or chunks; None if all layers see all."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    sizes = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    found = [getattr(config, size, None) for kind, size in sizes.items() if kind in kinds]
    if "local" in (getattr(config, "attention_layers", None) or ()):  # GPT-Neo's word
        found.append(getattr(config, "window_size", None))
    return min((size for size in found if size is not None), default=None)


def count_embedding_rows(name: str) -> int | None:
    """Return how many tokens a model has rows for in its embedding; None if its settings do not say."""
    written = read_object(Path(name) / "config.json") if Path(name).is_dir() else {"model_type": name}
    rows = get_text_config(written).get("vocab_size")
    if rows is None and "model_type" in written:
        rows = getattr(read_config(name).get_text_config(), "vocab_size", None)
    return rows if type(rows) is int else None


def _get(config: Any, key: str) -> Any:
    return config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)


def _scale_context(config: Any, context: int) -> int:
    """Return the context after rotary scaling, where the settings state the one before it."""
    scaling = _get(config, "rope_parameters") or _get(config, "rope_scaling")
    if not isinstance(scaling, Mapping) or "gemma3" in str(_get(config, "model_type")):  # states the one after it
        return context
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
    if not isinstance(factor, int | float) or not math.isfinite(factor) or kind in (None, *_STATED_AFTER_SCALING):
        return context
    original = scaling.get("original_max_position_embeddings")
    return int((original if type(original) is int else context) * factor)


# ---- what can be loaded


def read_config(name: str) -> Any:
    """Return transformers' settings of a model of any kind. Raise BadInput or Unavailable if they cannot be read."""
    from transformers import AutoConfig

    if Path(name).is_dir() and "model_type" not in read_object(Path(name) / "config.json"):
        raise BadInput(f"--model {name}: {_UNREADABLE}: config.json has no model_type; {DOWNLOAD_AGAIN}")
    with explain_library_errors(name, _UNREADABLE, BadInput):
        return AutoConfig.from_pretrained(name, trust_remote_code=False)


def load_config(name: str) -> Any:
    """Return transformers' settings of a causal language model. No weight is read.

    Raise BadInput for unreadable files, BadConfig for another kind of model or one that needs what is not here.
    """
    folder = find_model_folder(name)
    if folder is not None:
        check_folder(folder, name)
        written, generation = read_object(folder / "config.json"), folder / "generation_config.json"
        if generation.is_file():  # transformers passes over one that it cannot read, and over its end tokens
            _check_end_tokens(name, read_object(generation).get("eos_token_id"))
        if fault := _find_unknown_type(written):
            raise BadInput(f"--model {name}: cannot be loaded: {fault}")
        finders = (_find_unknown_dtype, _find_missing_quantizer, _find_missing_attention)
        if fault := next(filter(None, (find(written) for find in finders)), None):
            raise BadConfig(f"--model {name}: {fault}")
    config = read_config(name)
    if fault := _find_other_kind(config):
        raise BadConfig(f"--model {name}: {fault}; take a causal language model, which writes on from a text")
    return config


def _check_end_tokens(name: str, found: object) -> None:
    """Raise BadInput for end tokens that are no ids: the model would never stop, or transformers fail later."""
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(each) is int for each in ids):
        told = f"generation_config.json says eos_token_id {quote_name(str(found))}, which is no id of a token"
        raise BadInput(f"--model {name}: {told}, nor a list of such; take it out, or mend it")


def _find_unknown_type(config: Mapping[str, Any]) -> str | None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type")
    if "model_type" not in config or (isinstance(kind, str) and kind in CONFIG_MAPPING_NAMES):
        return None
    note = ", and its own code (auto_map) is not run" if config.get("auto_map") else ""
    told = f"model_type {quote_name(str(kind))} is none that this transformers knows"
    return f"{told} ({metadata.version('transformers')}){note}; {NEWER_MODEL}"


def _find_unknown_dtype(config: Mapping[str, Any]) -> str | None:
    key = "dtype" if "dtype" in config else "torch_dtype"
    name = config.get(key)
    if not isinstance(name, str) or _DTYPES.fullmatch(name):
        return None
    return f"config.json says {key} {quote_name(name)}, which torch does not have; {DOWNLOAD_AGAIN}"


def _find_missing_quantizer(config: Mapping[str, Any]) -> str | None:
    """Say why weights of fewer bits cannot be read here; None if they can, or if there are none."""
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    settings = config.get("quantization_config") or config.get("quantization")  # the latter is MLX's word
    if not isinstance(settings, dict) or not settings:
        return None
    bits = settings.get("load_in_4bit") or settings.get("load_in_8bit")
    method = str(settings.get("quant_method") or ("bitsandbytes" if bits else "MLX"))
    kinds = {key.removesuffix("_4bit").removesuffix("_8bit") for key in AUTO_QUANTIZER_MAPPING}
    told, instead = f"its weights are quantized with {quote_name(method)}", "take the model that is not quantized"
    if method not in kinds:
        return f"{told}, which {describe_transformers()} does not know; {instead}"
    missing = [package for package in _QUANTIZERS.get(method, ()) if not is_installed(package)]
    if missing:
        return f"{told}, which needs {' and '.join(missing)}; pip install {' '.join(missing)}, or {instead}"
    if method in _GPU_QUANTIZERS and not expect_gpu():
        return f"{told}, which needs a GPU; {instead}"
    return None


def _find_missing_attention(config: Mapping[str, Any]) -> str | None:
    """Say which package of attention the settings ask for that is not installed."""
    asked = config.get("attn_implementation") or config.get("_attn_implementation")
    package = _FLASH.get(str(asked), "kernels" if "/" in str(asked) else None)
    if package is None or is_installed(package):
        return None
    return f"config.json asks for {asked}, which needs {package}; pip install {package}, or take the key out of it"


def _find_other_kind(config: Any) -> str | None:
    """Say what a model is that is no causal language model."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        return f"{kind} is an encoder-decoder model"
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        both = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        return f"{kind} is an encoder, which sees what comes after" if both and not config.is_decoder else None
    sees = kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    why = "sees pictures and has no class for text alone" if sees else "is no causal language model"
    return f"{kind} {why} in {describe_transformers()}"
