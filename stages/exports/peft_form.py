"""An adapter as a PEFT directory that every program reads: one rank, one alpha, no patterns; and vLLM's command."""

import json
import shlex
from pathlib import Path

from stages.engines.vllm_start import RANKS
from stages.errors import BadConfig
from stages.exports.plain_lora import PlainLora
from stages.models.adapter_checks import get_peft_name, read_base_weights
from stages.models.directories import quote_name
from stages.trainers.adapter_files import AdapterBase, write_peft_directory


def write_even_adapter(lora: PlainLora, model: str, out: Path) -> None:
    """Write the adapter with one rank and one alpha: complete or absent. `model` is the base that it names.

    Layers that peft would have to be told apart by more than a name's end are told by their whole names.
    """
    from peft import LoraConfig

    embeddings = [layer for layer, part in lora.parts.items() if part.embedding]
    if embeddings:
        told = f"has a LoRA on {quote_name(embeddings[0])}, an embedding, which not every program reads"
        raise BadConfig(f"adapter {lora.path}: {told}; give --to merged")
    even = lora.even_out()
    config = lora.config
    given = config.get("target_modules")
    chosen = not isinstance(given, list) or config.get("layers_to_transform") or config.get("exclude_modules")
    settings = LoraConfig(
        r=even.rank,
        lora_alpha=_as_whole(even.alpha),
        lora_dropout=config.get("lora_dropout", 0.0),
        target_modules=sorted(lora.parts if chosen or not isinstance(given, list) else given),
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
        task_type=config.get("task_type") or "CAUSAL_LM",
        base_model_name_or_path=model,
        inference_mode=True,
    )
    state = {get_peft_name(layer, "A"): part.down for layer, part in even.parts.items()}
    state |= {get_peft_name(layer, "B"): part.up for layer, part in even.parts.items()}
    write_peft_directory(out, settings, state, AdapterBase(model, read_base_weights(lora.path) or "unknown"))


def _as_whole(alpha: float) -> float:
    """Write 16.0 as 16, as peft's own settings and some readers of them have it."""
    return int(alpha) if alpha == int(alpha) else alpha


def make_vllm_command(lora: PlainLora, model: str, adapter: Path, name: str) -> str:
    """Return the shell's line that serves the model and the adapter in `adapter` under the name. Raise BadConfig.

    `lora` is the adapter: vLLM reads one that is even, and has a list of the ranks that it takes.
    """
    if not lora.is_even or any(part.embedding for part in lora.parts.values()):
        raise BadConfig(f"adapter {adapter}: its layers have different ranks or factors; give --out DIR, for one rank")
    if lora.rank > RANKS[-1]:
        raise BadConfig(f"adapter {adapter}: rank {lora.rank}, and vLLM takes {RANKS[-1]} at most; --to merged")
    rank = next(each for each in RANKS if each >= lora.rank)
    words = ["vllm", "serve", model, "--enable-lora", "--max-lora-rank", str(rank), "--lora-modules"]
    plain = not set("=,{") & set(f"{name}{adapter}")  # vLLM takes a comma for JSON and cuts at the sign
    return shlex.join([*words, f"{name}={adapter}" if plain else json.dumps({"name": name, "path": str(adapter)})])
