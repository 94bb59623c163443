"""Where and in what precision a model computes, and how much memory is free there."""

import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar

from stages.errors import BadConfig
from stages.models.devices.hardware import (
    choose_dtype,
    describe_by_driver,
    describe_by_torch,
    expect_gpu,
    explain_unusable_dtype,
)
from stages.settings import Doc

# Of a CPU's allocator; of CUDA, HIP, MPS, XPU; of cuBLAS, hipBLAS; of HIP; of Metal, for one buffer; of Level Zero.
_SHORT_OF_MEMORY = (
    *("can't allocate memory", "out of memory", "ALLOC_FAILED", "hipErrorOutOfMemory", "Invalid buffer size"),
    *("OUT_OF_DEVICE_MEMORY", "OUT_OF_HOST_MEMORY"),
)
_BFLOAT16_SETS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # instruction sets, the last two those of arm64
_NAMES = "auto, cpu, cuda, cuda:N, mps or xpu"


QUANTIZE = "--quantize"
_KINDS = ("none", "int8", "nf4")


@dataclass(frozen=True)
class Device:
    """Where and in what precision a model computes. auto: an NVIDIA or AMD GPU where there is one, else the CPU.

    What precision auto is, `stages/models/devices/hardware.py` says. Apple's and Intel's GPUs are taken by name alone.
    `quantize`: how the weights of a frozen model lie in memory meanwhile.
    """

    panel: ClassVar[str] = "Engine and device"
    name: Annotated[
        str, Doc("auto, cpu, cuda, cuda:N or mps.", "NAME", "--device", values=("auto", "cpu", "cuda", "mps"))
    ] = "auto"
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

        Raise BadConfig for an unknown name, an absent GPU, a precision that the device has not, or bfloat16 on a CPU
        that only emulates it. A GPU that emulates it takes it by name: slower, in half the memory.
        """
        import torch

        name = ("cuda" if _count_devices("cuda") else "cpu") if self.name == "auto" else self.name
        known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
        if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d{1,3})?", name):
            raise BadConfig(f"--device {self.name}: take {_NAMES}")
        kind, _, number = name.partition(":")
        count = _count_devices(kind)
        if not count:
            raise BadConfig(f"--device {self.name}: no GPU that this torch can use; take --device cpu")
        if int(number or 0) >= count:
            raise BadConfig(f"--device {self.name}: the GPUs here are {kind}:0 to {kind}:{count - 1}")
        if self.dtype not in ("auto", *known):
            raise BadConfig(f"--dtype {self.dtype}: take one of auto, {', '.join(known)}")
        place = torch.device(name)
        hardware = describe_by_torch(place)
        dtype = choose_dtype(hardware)[0] if self.dtype == "auto" else self.dtype
        if kind == "cpu" and dtype == "bfloat16":
            hardware = replace(hardware, has_bfloat16=has_fast_bfloat16())
        if why := explain_unusable_dtype(hardware, dtype):
            raise BadConfig(f"--dtype {dtype}: {why}; take --dtype float32 or auto")
        return place, known[dtype]

    def check_foreseen(self) -> None:
        """Raise BadConfig where the device or the precision is another than a run's settings have it by `foresee`."""
        place, dtype = self.resolve()
        found, told = {"device": place.type, "dtype": str(dtype).removeprefix("torch.")}, self.foresee()
        if found != {name: told[name] for name in found}:
            words = [f"{each['device']} in {each['dtype']}" for each in (told, found)]
            flag = "device" if found["device"] != told["device"] else "dtype"
            raise BadConfig(
                f"--device {self.name}: by the drivers here torch should take {words[0]}, and it takes {words[1]}; "
                f"give --{flag} {found[flag]}, or see `seal doctor`"
            )

    def foresee(self) -> dict[str, str]:
        """Return the kind of device, the precision and any quantization for a run's settings, without torch."""
        kind = self.name.partition(":")[0] if self.name != "auto" else "cuda" if expect_gpu() else "cpu"
        precision = self.dtype if self.dtype != "auto" else choose_dtype(describe_by_driver(kind))[0]
        more = {"quantize": self.quantize} if self.quantizes else {}
        return {"device": kind, "dtype": precision, **more}


def _count_devices(kind: str) -> int:
    """How many devices of a kind this torch can use."""
    import torch

    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    module = getattr(torch, kind)
    return int(module.device_count()) if module.is_available() else 0


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
    """Return the most bytes that torch has held at once on a GPU, of all GPUs together; -1 where it used none.

    Of an Apple GPU torch does not tell it: -1, too.
    """
    found = [module.max_memory_allocated(number) for module, number in _list_used()]
    return sum(int(each) for each in found) if found else -1


def reset_peak_bytes() -> None:
    """Let `get_peak_bytes` count anew from here."""
    for module, number in _list_used():
        module.reset_peak_memory_stats(number)


def _list_used() -> Iterator[tuple[Any, int]]:
    """torch's module and the number of every GPU that it has begun to use. torch is not imported for that."""
    torch = sys.modules.get("torch")
    for module in (getattr(torch, name, None) for name in ("cuda", "xpu")) if torch else ():
        if module is not None and module.is_initialized():
            yield from ((module, number) for number in range(module.device_count()))


def get_free_bytes(device: Any) -> int:
    """Return the bytes that can still be allocated on a torch.device, torch's own unused reserve included.

    An Apple GPU shares the machine's memory: it gets what Metal recommends at most, and what is free.
    """
    import psutil
    import torch

    if device.type in ("cuda", "xpu"):
        module = getattr(torch, device.type)
        unused = module.memory_reserved(device) - module.memory_allocated(device)
        return int(module.mem_get_info(device)[0]) + int(unused)
    free = int(psutil.virtual_memory().available)
    if device.type == "mps":
        used, held = torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory()
        free = min(int(torch.mps.recommended_max_memory()) - used, free + held - used)
    return max(0, free)


def release_unused_memory() -> None:
    """Give back what torch keeps for later on GPUs, after the memory of one ran out."""
    import torch

    torch.cuda.empty_cache()  # as XPU's, nothing where none is in use
    if hasattr(torch, "xpu"):
        torch.xpu.empty_cache()
    if _count_devices("mps"):
        torch.mps.empty_cache()


def get_widest_dtype(device: Any) -> Any:
    """Return the precision of sums on a torch.device: float64, or float32 where the GPU has none (Apple's, Intel's)."""
    import torch

    return torch.float32 if device.type in ("mps", "xpu") else torch.float64
