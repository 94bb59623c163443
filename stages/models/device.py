"""Where and in what precision a model computes, and how much memory is free there."""

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

from stages.errors import BadConfig
from stages.settings import Doc

_SHORT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")  # a CPU's allocator, CUDA, cuBLAS
_GPU_FILES = {"cuda": "/dev/nvidiactl", "hip": "/dev/kfd"}  # by what torch/version.py says of its build
_BFLOAT16_SETS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # instruction sets, the last two those of arm64


QUANTIZE = "--quantize"
_KINDS = ("none", "int8", "nf4")


@dataclass(frozen=True)
class Device:
    """Where and in what precision a model computes. auto: cuda and bfloat16 on a GPU machine, else float32 on CPU.

    `quantize`: how the weights of a frozen model lie in memory meanwhile.
    """

    panel: ClassVar[str] = "Engine and device"
    name: Annotated[str, Doc("auto, cpu, cuda or cuda:N.", "NAME", "--device", values=("auto", "cpu", "cuda"))] = "auto"
    dtype: Annotated[
        str,
        Doc(
            "auto, float32 or bfloat16. auto: bfloat16 on a GPU alone.", "NAME", values=("auto", "float32", "bfloat16")
        ),
    ] = "auto"
    quantize: Annotated[
        str,
        Doc(
            "Keep the frozen model's weights in 8 or 4 bits (needs bitsandbytes): int8, nf4 or none.",
            "KIND",
            QUANTIZE,
            values=_KINDS,
        ),
    ] = "none"

    @property
    def quantizes(self) -> bool:
        """True if the weights are quantized when they are loaded."""
        return self.quantize != "none"

    def check_quantize(self, why_not: str = "") -> None:
        """Raise BadConfig for a format that is unknown, and for any where `why_not` says why there can be none."""
        if self.quantize == "int4":
            told = "no library has it both on CPUs and on GPUs"
            raise BadConfig(f"{QUANTIZE} int4: {told}; take nf4, which is as small and loses less")
        if self.quantize not in _KINDS:
            raise BadConfig(f"{QUANTIZE} {self.quantize}: take one of {', '.join(_KINDS)}")
        if self.quantizes and why_not:
            raise BadConfig(f"{QUANTIZE} {self.quantize}: {why_not}")
        if self.quantizes and not find_spec("bitsandbytes"):
            raise BadConfig(f"{QUANTIZE} {self.quantize} needs bitsandbytes: pip install 'seal-toolkit[quantize]'")

    def resolve(self) -> tuple[Any, Any]:
        """Return (torch.device, torch.dtype).

        Raise BadConfig for an unknown name, an absent GPU, or bfloat16 on a CPU that only emulates it.
        """
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        name = ("cuda" if gpus else "cpu") if self.name == "auto" else self.name
        known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
        dtype = ("bfloat16" if name.startswith("cuda") else "float32") if self.dtype == "auto" else self.dtype
        if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
            raise BadConfig(f"--device {self.name}: take auto, cpu, cuda or cuda:N")
        if name.startswith("cuda") and not gpus:
            raise BadConfig(f"--device {self.name}: no GPU that this torch can use; take --device cpu")
        if int(name.partition(":")[2] or 0) >= max(gpus, 1):
            raise BadConfig(f"--device {self.name}: the GPUs here are cuda:0 to cuda:{gpus - 1}")
        if dtype not in known:
            raise BadConfig(f"--dtype {self.dtype}: take one of auto, {', '.join(known)}")
        if name == "cpu" and dtype == "bfloat16" and not has_fast_bfloat16():
            slow = "this CPU has no bfloat16 products and only emulates them, several times slower than float32"
            raise BadConfig(f"--dtype bfloat16: {slow}; take --dtype float32 or auto")
        return torch.device(name), known[dtype]

    def check_foreseen(self) -> None:
        """Raise BadConfig where the device or the precision is another than a run's settings have it by `foresee`."""
        place, dtype = self.resolve()
        found, told = {"device": place.type, "dtype": str(dtype).removeprefix("torch.")}, self.foresee()
        if found != {name: told[name] for name in found}:
            words = [f"{each['device']} in {each['dtype']}" for each in (told, found)]
            raise BadConfig(
                f"--device {self.name}: by the drivers here torch should take {words[0]}, and it takes {words[1]}; "
                f"give --device {found['device']}, or see `seal doctor`"
            )

    def foresee(self) -> dict[str, str]:
        """Return the kind of device, the precision and any quantization for a run's settings, without torch."""
        kind = self.name.partition(":")[0] if self.name != "auto" else "cuda" if expect_gpu() else "cpu"
        precision = self.dtype if self.dtype != "auto" else "bfloat16" if kind == "cuda" else "float32"
        more = {"quantize": self.quantize} if self.quantizes else {}
        return {"device": kind, "dtype": precision, **more}


def expect_gpu() -> bool:
    """Return True if torch will most likely find a GPU. It is not imported here, in the process that forks."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")  # "" and -1 hide all
    here = any(Path(file).exists() for file in _find_gpu_files())
    return here and shown != "" and not (shown or "").startswith("-")


@cache
def _find_gpu_files() -> list[str]:
    """Find the files that a driver makes for the GPUs that the installed torch was built for."""
    found = find_spec("torch")
    version = Path(found.origin).with_name("version.py") if found and found.origin else Path()
    text = version.read_text(encoding="utf-8") if version.is_file() else ""
    return [file for build, file in _GPU_FILES.items() if re.search(rf"^{build}\b[^=]*= *'", text, re.MULTILINE)]


@cache
def has_fast_bfloat16() -> bool:
    """True if the CPU has bfloat16 products and torch's kernels (oneDNN) use them here.

    Instruction sets decide, not a trial: the times of short products vary by more than the two differ.
    """
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)  # torch 2.12 and newer
    if ask is not None:
        has = any(ask().get(name) for name in _BFLOAT16_SETS)
    else:
        has = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    try:  # it also knows of ONEDNN_MAX_CPU_ISA, and on arm64 of bf16
        used = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return False
    arm = ask is None and platform.machine() in ("aarch64", "arm64")
    return used and (has or arm)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if the device's memory ran out. Not every allocator raises torch's own class for it."""
    by_words = any(words in str(error) for words in _SHORT_OF_MEMORY)
    return by_words or type(error).__name__ == "OutOfMemoryError"  # torch's, which need not be imported


@contextmanager
def suppress_out_of_memory() -> Iterator[None]:
    """End the block where the device's memory runs out. Behind it the error is gone, and what its frames held."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise


def get_peak_bytes() -> int:
    """Return the most bytes that torch has held at once on a GPU, of all GPUs together; -1 where it used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return -1
    return sum(int(torch.cuda.max_memory_allocated(number)) for number in range(torch.cuda.device_count()))


def reset_peak_bytes() -> None:
    """Let `get_peak_bytes` count anew from here."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for number in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(number)


def get_free_bytes(device: Any) -> int:
    """Return the bytes that can still be allocated on a torch.device, torch's own unused reserve included."""
    if device.type == "cuda":
        import torch

        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    import psutil

    return int(psutil.virtual_memory().available)
