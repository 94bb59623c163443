"""What a model's folder says before anything heavy is loaded: its text part, its context, and why it is none for us."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput
from stages.models.inspection import read_object
from stages.models.safetensors_header import shown
from stages.sources.datasets.folders import find_placeholder

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
MERGE = "merge it into the model with peft's merge_and_unload"


def check_folder(folder: Path, name: str) -> None:
    """Raises BadConfig or BadInput for a folder that holds no model, or one with an adapter in it."""
    settings, adapter = folder / "config.json", folder / "adapter_config.json"
    if found := find_placeholder(folder):
        raise BadInput(f"--model {name}: {found}")
    if not settings.is_file() or (any(folder.glob("*.gguf")) and not any(folder.glob("*.safetensors"))):
        raise _no_model(folder, name)
    if adapter.is_file():  # transformers would load both, and every baseline would be the adapter's
        raise BadConfig(
            f"--model {name}: an adapter lies in it beside the model (adapter_config.json), and would be loaded with "
            f"it; {MERGE}, or move adapter_config.json and adapter_model.safetensors to a folder of their own"
        )


def _no_model(folder: Path, name: str) -> Exception:
    """What lies in a folder without config.json, and the way to a model."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = read_object(adapter).get("base_model_name_or_path")
        known = isinstance(base, str) and base
        way = f"give --model {base}, which it was trained on" if known else "give the model that it was trained on"
        of = f"an adapter of {base}" if known else "an adapter"
        return BadConfig(
            f"--model {name}: only {of}, not a model; {way}, and the adapter on a line of `seal eval`, or {MERGE}"
        )
    packed = next(iter(sorted(folder.glob("*.gguf"))), None)
    if packed is not None:
        return BadConfig(
            f"--model {name}: only GGUF ({shown(packed.name)}), which llama.cpp and Ollama read; take the safetensors "
            "that it was made from, or serve it and give --engine openai --base-url URL"
        )
    return BadInput(f"--model {name}: not a model directory (it has no config.json)")


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a model, or those of the text part of one that also sees or hears."""
    parts = (config.get(key) for key in _TEXT_PARTS)
    return next((part for part in parts if isinstance(part, dict)), config)


def context_of(config: Any) -> int | None:
    """Tokens that a model takes, by its settings: a JSON object, or transformers' own; None: any number.

    Rotary positions that are stretched count as long as they then are.
    """
    config = text_part(config) if isinstance(config, Mapping) else config.get_text_config()
    if _setting(config, "model_type") in _UNLIMITED or _setting(config, "alibi"):  # Falcon's
        return None
    stated = (_setting(config, key) for key in _CONTEXT_KEYS)
    context = next((each for each in stated if type(each) is int and each > 0), None)
    return context and max(context, _stretched(config, context))


def window_of(config: Any) -> int | None:
    """Neighbours that a token sees in the layers that do not see all: a sliding window's, or a chunk's. None: all."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    sizes = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    found = [getattr(config, size, None) for kind, size in sizes.items() if kind in kinds]
    if "local" in (getattr(config, "attention_layers", None) or ()):  # GPT-Neo's word
        found.append(getattr(config, "window_size", None))
    return min((size for size in found if size is not None), default=None)


def _setting(config: Any, key: str) -> Any:
    return config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)


def _stretched(config: Any, context: int) -> int:
    """The context where rotary positions are scaled and the settings state the one before it."""
    scaling = _setting(config, "rope_parameters") or _setting(config, "rope_scaling")
    if not isinstance(scaling, Mapping) or "gemma3" in str(_setting(config, "model_type")):  # states the one after it
        return context
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
    if kind is None or kind in _STATED_AFTER_SCALING or not isinstance(factor, int | float):
        return context
    original = scaling.get("original_max_position_embeddings")
    return int((original if type(original) is int else context) * factor)
