"""Start vLLM in this process: what adapters it can take, its environment and settings, its failures in our words.

Imports nothing heavy: vLLM itself takes many seconds.
"""

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.errors import BadConfig, BadInput, OutOfMemory, SealError
from stages.models.adapter_checks import (
    AdapterInfo,
    get_peft_name,
    list_unusual_settings,
    read_adapter,
    read_lora_ranks,
    shape_mismatches,
)
from stages.models.device import Device, is_out_of_memory
from stages.models.directories import TensorInfo
from stages.models.local_copies import find_local_copy

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM takes for max_lora_rank (its config/lora.py)
_PER_LAYER = ("rank_pattern", "alpha_pattern", "layers_to_transform", "exclude_modules")  # what vLLM knows beyond plain
_FEATURES = {  # what some of the others are; most of them vLLM would not even notice
    "use_dora": "DoRA",
    "lora_bias": "a bias in lora_B",
    "modules_to_save": "whole layers beside the LoRA (modules_to_save)",
    "trainable_token_indices": "single tokens of the embedding",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "replicated layers",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "bias": "biases of the model (bias)",
}
USE_HF = "--engine hf can use it"
_OURS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # no second process: ours is the worker already, and SIGTERM must end it
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # stdout is data
    "VLLM_NO_USAGE_STATS": "1",
}
_UNLESS_SET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_HOST_IP": "127.0.0.1",  # else it looks for the machine's own
    **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),  # torch.distributed listens, even to itself
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
_CPU_CACHE_BYTES = 1 << 30  # for keys and values, where no --memory-fraction is given; VLLM_CPU_KVCACHE_SPACE is obeyed
_DTYPES = ("float32", "bfloat16")
_INSTEAD = "use --engine hf"


@dataclass(frozen=True)
class Sizes:
    """Sizes that vLLM is started with. max_rank None: it takes no adapters."""

    batch_size: int
    max_rank: int | None
    slots: int
    memory_fraction: float | None
    structured: bool = False


# ---- adapters


def read_lora_needs(adapters: Iterable[Path]) -> tuple[int | None, int]:
    """Return (the adapters' largest rank, None without any; their number), from their settings and headers.

    Raises MissingInput or BadInput for one that vLLM could not use.
    """
    ranks = [_rank_of(path, read_servable_adapter(path)) for path in dict.fromkeys(adapters)]
    return max(ranks, default=None), len(ranks)


def read_servable_adapter(path: Path) -> AdapterInfo:
    """Read an adapter. Raises BadInput for one that is no LoRA of a kind that vLLM knows, here or on a server."""
    adapter = read_adapter(path)
    kind = adapter.config.get("peft_type")
    if kind != "LORA":
        raise BadInput(f"adapter {path}: is {kind}, and vLLM takes LoRA alone; {USE_HF}")
    unknown = [key for key in list_unusual_settings(adapter.config) if key not in _PER_LAYER]
    if unknown:
        what = _FEATURES.get(unknown[0], f"a setting {unknown[0]}")
        raise BadInput(f"adapter {path}: has {what}, which vLLM cannot use; {USE_HF}")
    return adapter


def _rank_of(path: Path, adapter: AdapterInfo) -> int:
    """The largest rank that its settings name: what vLLM goes by."""
    rank = max(read_lora_ranks(path, adapter.config))
    if rank > RANKS[-1]:
        raise BadInput(f"adapter {path}: rank {rank}, and vLLM takes {RANKS[-1]} at most; {USE_HF}")
    return rank


def check_fit(path: Path, weights: Mapping[str, TensorInfo], model: str, most: int | None) -> AdapterInfo:
    """Return the adapter. Raises BadInput if it does not fit these weights: vLLM would skip layers that it lacks.

    `most`: the largest rank that vLLM was started for, None for none.
    """
    adapter = read_servable_adapter(path)
    rank = _rank_of(path, adapter)
    if most is None or rank > most:
        room = "no adapter" if most is None else f"rank {most}"
        raise BadInput(f"adapter {path}: rank {rank}, but vLLM was started for {room}; give max_rank={rank}")
    bad, _ = shape_mismatches(adapter, weights)
    if bad:
        raise BadInput(f"adapter {path}: does not fit {model}: {bad[0]}")
    return adapter


# ---- start


def check_vllm() -> None:
    """Raise BadConfig where vLLM is not installed."""
    found = find_spec("vllm")
    if found is None or found.origin is None:
        raise BadConfig("--engine vllm needs vLLM: pip install 'seal-toolkit[vllm]' (or --engine hf)")


def set_environment() -> None:
    """Set the environment variables of vLLM and torch that have no other way in, before they are imported."""
    os.environ.update(_OURS)
    for name, value in _UNLESS_SET.items():
        os.environ.setdefault(name, value)


def get_weight_shapes(network: Any) -> Mapping[str, TensorInfo]:
    """Return names and shapes of a model's weights, as in a file's header."""
    return {name: TensorInfo("F32", tuple(weight.shape)) for name, weight in network.state_dict().items()}


def start_vllm(model: str, device: Device, sizes: Sizes) -> Any:
    """Start vLLM with the model in it; nothing of it keeps running when the process ends."""
    place, dtype = resolve_device(device)
    with silence(), translate_errors(model, sizes):
        from vllm.engine.arg_utils import EngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.llm_engine import LLMEngine

        if current_platform.device_type != place:
            other = current_platform.device_type or "nothing here"
            raise BadConfig(f"--device {device.name}: the vLLM here computes on {other}, not on {place}; {_INSTEAD}")
        files = find_local_copy(model)
        return LLMEngine.from_engine_args(EngineArgs(model=files, dtype=dtype, **_arguments(sizes, place == "cpu")))


def resolve_device(device: Device) -> tuple[str, str]:
    """(cpu or cuda, the precision's name). Raises BadConfig for what vLLM does not have."""
    place, dtype = device.resolve()
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise BadConfig(f"--dtype {name}: vLLM takes {' or '.join(_DTYPES)}; {_INSTEAD}")
    if place.index:
        raise BadConfig(f"--device {device.name}: vLLM takes the first GPU it sees; set CUDA_VISIBLE_DEVICES instead")
    return place.type, name


def _arguments(sizes: Sizes, on_cpu: bool) -> dict[str, Any]:
    """EngineArgs: what is asked is in the requests, so the checkpoint's own sampling settings play no part."""
    found: dict[str, Any] = {
        "load_format": "safetensors",
        "trust_remote_code": False,
        "skip_tokenizer_init": not sizes.structured,  # prompts and answers are token ids; a schema is about text
        "generation_config": "vllm",
        "enable_prefix_caching": True,
        "seed": 0,
        "max_num_seqs": sizes.batch_size,
        "enforce_eager": on_cpu,
        "use_tqdm_on_load": False,
        "disable_log_stats": True,
    }
    if sizes.memory_fraction is not None:
        found["gpu_memory_utilization"] = sizes.memory_fraction
    elif on_cpu:
        found["kv_cache_memory_bytes"] = _CPU_CACHE_BYTES
    if sizes.max_rank is not None:
        rank = next(size for size in RANKS if size >= sizes.max_rank)
        found |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": sizes.slots + on_cpu}  # one is for the blank
    return found


def load_null_adapter(llm: Any, number: int, network: Any) -> Any:
    """An adapter that changes nothing, for good in a slot of its own: the LoRARequest of requests without an adapter.

    On a CPU vLLM 0.32 gives these the adapter in its last slot where others in the batch have one
    (github.com/vllm-project/vllm/pull/48421).
    """
    import torch
    from safetensors.torch import save_file
    from vllm.lora.request import LoRARequest

    name, layer = next(found for found in network.named_modules() if isinstance(found[1], torch.nn.Linear))
    shapes = {"A": (1, layer.in_features), "B": (layer.out_features, 1)}
    zeros = {get_peft_name(name, side): torch.zeros(shape) for side, shape in shapes.items()}
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [name]}
    with TemporaryDirectory() as folder:
        Path(folder, "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
        save_file(zeros, Path(folder, "adapter_model.safetensors"))
        blank = LoRARequest("blank", number, folder)
        llm.add_lora(blank)
        llm.pin_lora(number)
    return blank


# ---- what it says


@contextmanager
def silence() -> Iterator[None]:
    """Without what vLLM and torch say of themselves while they are imported and set up."""
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def translate_errors(model: str, sizes: Sizes) -> Iterator[None]:
    """vLLM's errors as ours: which class it takes for which cause changes from version to version."""
    try:
        yield
    except SealError:
        raise
    except ImportError as error:
        raise BadConfig(f"--engine vllm: the vLLM that is installed cannot be imported: {get_reason(error)}") from error
    except Exception as error:
        raise translate(model, sizes, error) from error


def translate(model: str, sizes: Sizes, error: Exception) -> SealError:
    """One of ours that says what to change."""
    text = str(error)
    share = "--memory-fraction" if sizes.memory_fraction is None else f"--memory-fraction {sizes.memory_fraction}"
    if re.search(r"on startup is less than desired", text):
        return OutOfMemory(f"{share}: so much memory is not free ({get_reason(error)}); take a smaller one")
    if re.search(r"cache blocks|KV cache|on kv cache allocation", text):
        return OutOfMemory(
            f"{share}: no room for {model}'s context ({get_reason(error)}); take a larger one, or {_INSTEAD}"
        )
    if is_out_of_memory(error):
        return OutOfMemory(
            f"{model} does not fit into the device's memory with {share} ({get_reason(error)}); {_INSTEAD}"
        )
    return BadInput(f"--model {model}: vLLM cannot run it: {get_reason(error)}; {_INSTEAD}")


def get_reason(error: BaseException) -> str:
    """The first line of an error that says something, in at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line.removeprefix("Value error, ") for line in lines if line and "validation error" not in line]
    return (said[0] if said else type(error).__name__)[:200].rstrip(".")
