"""Where and in what precision a model computes, and how much memory is free there."""

import platform
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar

from stages.errors import BadConfig
from stages.interfaces import Doc

SHORT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")  # a CPU's allocator, CUDA, cuBLAS
_BFLOAT16_SETS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # instruction sets, the last two those of arm64


@dataclass(frozen=True)
class Device:
    """Where and in what precision a model computes. auto: cuda and bfloat16 on a GPU machine, else float32 on CPU."""

    panel: ClassVar[str] = "Engine and device"
    name: Annotated[str, Doc("auto, cpu, cuda or cuda:N.", "NAME", "--device", values=("auto", "cpu", "cuda"))] = "auto"
    dtype: Annotated[
        str,
        Doc(
            "auto, float32 or bfloat16. auto: bfloat16 on a GPU alone.", "NAME", values=("auto", "float32", "bfloat16")
        ),
    ] = "auto"

    def resolve(self) -> tuple[Any, Any]:
        """Return (torch.device, torch.dtype).

        Raise BadConfig for an unknown name, an absent GPU, or bfloat16 on a CPU that only emulates it.
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
        if name == "cpu" and dtype == "bfloat16" and not has_fast_bfloat16():
            slow = "this CPU has no bfloat16 products and only emulates them, several times slower than float32"
            raise BadConfig(f"--dtype bfloat16: {slow}; take --dtype float32 or auto")
        return found


@cache
def has_fast_bfloat16() -> bool:
    """Tell whether the CPU has bfloat16 products and torch's kernels (oneDNN) use them here.

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


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether the device's memory ran out. Not every allocator raises torch's own class for it."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in SHORT_OF_MEMORY)


def get_free_bytes(device: Any) -> int:
    """Return the bytes that can still be allocated on a torch.device, torch's own unused reserve included."""
    if device.type == "cuda":
        import torch

        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    import psutil

    return int(psutil.virtual_memory().available)
