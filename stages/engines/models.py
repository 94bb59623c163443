"""Loading checkpoints: tokenizer and model of a directory or a hub name, on a device, with errors that name the fix."""

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stages.failures import BadConfig, BadInput, MissingInput, Unavailable
from stages.records import Checkpoint

ABOUT = "seal.json"  # in a directory that `seal sft` wrote: which run made it, its line, and the sizes of its files
MODEL_FILES = (  # whatever changes what a model says
    "config.json",
    "adapter_config.json",  # transformers takes an adapter that lies in the model's folder
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template*",
    "*.jinja",
    "*.model",
    "*.safetensors",
)
SAMPLE, SAMPLES = 4096, 512  # bytes of a sample, samples of a file
PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # PiSSA, OLoRA, CorDA and LoftQ change base weights


@dataclass(frozen=True)
class Device:
    """Where and in what precision a model computes. auto: cuda and bfloat16 on a GPU machine, else float32 on CPU."""

    name: str = "auto"
    dtype: str = "auto"

    def resolve(self) -> tuple[Any, Any]:
        """(torch.device, torch.dtype).

        Raises BadConfig for an unknown name, an absent GPU, or bfloat16 on a CPU that only emulates it.
        """
        import torch

        gpu = torch.cuda.is_available()
        name = ("cuda" if gpu else "cpu") if self.name == "auto" else self.name
        if name.startswith("cuda") and not gpu:
            raise BadConfig(f"--device {self.name}: no GPU that this torch can use; take --device cpu")
        known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
        dtype = ("bfloat16" if name.startswith("cuda") else "float32") if self.dtype == "auto" else self.dtype
        try:
            found = torch.device(name), known[dtype]
        except KeyError:
            raise BadConfig(f"--dtype {self.dtype}: take one of auto, {', '.join(known)}") from None
        except RuntimeError:
            raise BadConfig(f"--device {self.name}: take auto, cpu, cuda or cuda:N") from None
        if name == "cpu" and dtype == "bfloat16" and not multiplies_bfloat16():
            slow = "this CPU has no bfloat16 products and only emulates them, several times slower than float32"
            raise BadConfig(f"--dtype bfloat16: {slow}; take --dtype float32 or auto")
        return found


BFLOAT16_SETS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # instruction sets, the last two those of arm64


@cache
def multiplies_bfloat16() -> bool:
    """Whether the CPU has products in bfloat16, and torch's kernels (oneDNN) take them here.

    Instruction sets say so, not a trial: the times of short products on a busy machine differ by more than the two do.
    """
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)  # torch 2.12 and newer
    if ask is not None:
        has = any(ask().get(name) for name in BFLOAT16_SETS)
    else:
        has = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    try:  # it also knows of ONEDNN_MAX_CPU_ISA, and on arm64 of bf16
        taken = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return False
    arm = ask is None and platform.machine() in ("aarch64", "arm64")
    return taken and (has or arm)


def check_model(name: str) -> None:
    """Raises before anything heavy is imported if `name` is a path without a model in it."""
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BadInput(f"--model {name}: not a model directory (it has no config.json)")
        return
    if path.exists():
        raise BadInput(f"--model {name}: a file, but a model is a directory with config.json and safetensors")
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise MissingInput(f"--model {name}: no such directory (hub names look like owner/name)")


def fingerprint(name: str) -> str:
    """What tells a model's weights from others under the same name: a digest of its files, or a hub name's revision.

    Of each weights file the header and samples from all over it are read, so that a large model takes no longer.
    """
    folder = Path(name)
    if not folder.is_dir():
        return _revision(name)
    found = hashlib.sha256()
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()}):
        size = path.stat().st_size
        found.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(SAMPLE, size // SAMPLES)):
                file.seek(start)
                found.update(file.read(SAMPLE))
    return found.hexdigest()[:16]


def _revision(name: str) -> str:
    """The commit of a hub model, whose settings are downloaded for it. Raises Unavailable where they cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(name, "config.json")).parent.name
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise _unloadable(name, error) from None


def read_checkpoint(out: Path, run: str) -> Checkpoint | None:
    """The line of the model in `out`, if that very run made it and it is whole."""
    from stages.engines.headers import read_header

    try:
        about = json.loads((out / ABOUT).read_bytes())
        files = list(out.glob("*.safetensors"))
        if about["run"] != run or about["files"] != sizes_in(out, about["files"]):
            return None
        if not all(read_header(path) for path in files) or not files:
            return None
        return Checkpoint.model_validate(about["checkpoint"])
    except (OSError, ValueError, KeyError, TypeError, BadInput):
        return None


def sizes_in(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """{name: bytes} of these files in a model directory. Raises OSError for one that is not there."""
    return {name: (folder / name).stat().st_size for name in names}


def load_tokenizer(name: str) -> Any:
    """The model's tokenizer, with a pad token (its end token where it has none)."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoTokenizer

    check_model(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise _unloadable(name, error) from None
    if tokenizer.eos_token_id is None:
        raise BadInput(f"--model {name}: its tokenizer has no end token (eos_token)")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(name: str, device: Device) -> Any:
    """The causal language model in eval mode, weights frozen, its progress bars off."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    check_model(name)
    logging.disable_progress_bar()
    place, dtype = device.resolve()
    settings = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True, "trust_remote_code": False}
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(name, **settings)
    except (OSError, ValueError, SafetensorError, StrictDataclassError) as error:
        raise _unloadable(name, error) from None
    if loaded["missing_keys"]:  # transformers would draw them at random
        raise BadInput(f"--model {name}: no weights for {min(loaded['missing_keys'])}; the checkpoint is not whole")
    model.requires_grad_(False)
    return model.to(place).eval()


def _unloadable(name: str, error: Exception) -> Exception:
    """A broken directory is bad input; a hub that cannot be reached is an unavailable service."""
    first = str(error).strip().split("\n", 1)[0]
    if Path(name).is_dir():
        return BadInput(f"--model {name}: cannot be loaded: {first}")
    return Unavailable(f"--model {name}: not a directory here and not to be had from the hub: {first}")


def adapter_config(path: Path) -> dict[str, Any]:
    """The PEFT settings of an adapter directory. Raises MissingInput or BadInput if it is none, or not safetensors."""
    settings, weights = path / "adapter_config.json", path / "adapter_model.safetensors"
    if not path.is_dir():
        raise MissingInput(f"adapter {path}: no such directory (run `seal adapt` again, or copy it there)")
    if not weights.is_file():
        kind = "only a .bin, which is not read" if (path / "adapter_model.bin").is_file() else "no weights"
        raise BadInput(f"adapter {path}: {kind}; it needs adapter_model.safetensors")
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"adapter {path}: adapter_config.json cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"adapter {path}: adapter_config.json is not an object")
    start = found.get("init_lora_weights", True)
    if start not in PLAIN_STARTS:
        raise BadInput(
            f"adapter {path}: begun with {start}, which changes the base model; convert it to plain LoRA first"
        )
    return found
