"""Read what vLLM must know of adapters before it starts, and find those it cannot take. Imports nothing heavy."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stages.errors import BadInput
from stages.models.adapter_checks import AdapterInfo, read_adapter, read_lora_ranks, shape_mismatches
from stages.models.safetensors_header import TensorInfo

DEFAULT_SLOTS = 8  # adapters in one batch: their memory is reserved, and each costs a little in every step
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM takes for max_lora_rank (its config/lora.py)
_FEATURES = {  # settings of PEFT that vLLM has nothing for; some of them it would not even notice
    "use_dora": "DoRA",
    "lora_bias": "a bias in lora_B",
    "modules_to_save": "whole layers beside the LoRA (modules_to_save)",
    "trainable_token_indices": "single tokens of the embedding",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "replicated layers",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
}
USE_HF = "--engine hf can use it"


class LoraNeeds(NamedTuple):
    """What a run's adapters require of vLLM: the largest rank (None without adapters), and their number."""

    rank: int | None
    adapters: int


def read_lora_needs(adapters: Iterable[Path]) -> LoraNeeds:
    """Read the adapters' settings and headers. Raises MissingInput or BadInput for one that vLLM could not use."""
    ranks = [_rank_of(path, _readable(path)) for path in dict.fromkeys(adapters)]
    return LoraNeeds(max(ranks, default=None), len(ranks))


def _readable(path: Path) -> AdapterInfo:
    """The adapter, if it is a LoRA of a kind that vLLM knows."""
    adapter = read_adapter(path)
    kind = adapter.config.get("peft_type")
    if kind != "LORA":
        raise BadInput(f"adapter {path}: is {kind}, and vLLM takes LoRA alone; {USE_HF}")
    unknown = [words for key, words in _FEATURES.items() if adapter.config.get(key)]
    if adapter.config.get("bias", "none") != "none":
        unknown.append("biases of the model (bias)")
    if unknown:
        raise BadInput(f"adapter {path}: has {unknown[0]}, which vLLM cannot use; {USE_HF}")
    return adapter


def _rank_of(path: Path, adapter: AdapterInfo) -> int:
    """The largest rank that its settings name: what vLLM goes by."""
    rank = max(read_lora_ranks(path, adapter.config))
    if rank > RANKS[-1]:
        raise BadInput(f"adapter {path}: rank {rank}, and vLLM takes {RANKS[-1]} at most; {USE_HF}")
    return rank


def round_up_rank(rank: int) -> int:
    """Return the smallest rank supported by vLLM that holds this one."""
    return next(size for size in RANKS if size >= rank)


def check_fit(path: Path, weights: Mapping[str, TensorInfo], model: str, most: int | None) -> AdapterInfo:
    """Return the adapter. Raises BadInput if it does not fit these weights: vLLM would skip layers that it lacks.

    `most`: the largest rank that vLLM was started for, None for none.
    """
    adapter = _readable(path)
    rank = _rank_of(path, adapter)
    if most is None or rank > most:
        room = "no adapter" if most is None else f"rank {most}"
        raise BadInput(f"adapter {path}: rank {rank}, but vLLM was started for {room}; give max_rank={rank}")
    bad, _ = shape_mismatches(adapter, weights)
    if bad:
        raise BadInput(f"adapter {path}: does not fit {model}: {bad[0]}")
    return adapter


def has_patterns(config: Mapping[str, Any]) -> bool:
    """Return whether some layers have a rank or an alpha of their own."""
    return bool(config.get("rank_pattern") or config.get("alpha_pattern"))
