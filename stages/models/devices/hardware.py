"""What a device can do, by what its driver says of it: which precision it takes, and how full a pass may be.

The rules know a device by its description alone, so that those for a machine that is not here can be tested, too. They
are from documentation: NVIDIA's table of compute capabilities (bfloat16 from 8.0 on), AMD's table of precisions (matrix
products of bfloat16 in full from gfx90a on, and in RDNA 3 and newer), PyTorch's notes on HIP (AMD's GPUs are `cuda`
devices) and MPS (no float64; bfloat16 from macOS 14 on, which the first chips emulate). What is UNTRIED was never run.
"""

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

UNTRIED = {"rocm": "AMD's GPUs (ROCm)", "mps": "Apple's (--device mps)", "xpu": "Intel's (--device xpu)"}
# More tokens in a pass gain nothing: a GPU is saturated, a CPU's cache is full (tests/bench/bench_inner_loop.py). Of
# the others nobody has measured it.
PASS_TOKENS = {"cuda": 16_384, "cpu": 2048, "mps": 2048, "xpu": 2048}  # by torch's type of device
_GPU_FILES = {"cuda": "/dev/nvidiactl", "hip": "/dev/kfd"}  # by what torch/version.py says of its build
_HIDING = {  # variables that choose among a build's GPUs; "" and -1 hide all
    "cuda": ("CUDA_VISIBLE_DEVICES",),
    "hip": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
}
_AMD_WITH_BFLOAT16 = ("gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")  # MI200 and newer, RDNA 3 and 4
_KFD = Path("/sys/class/kfd/kfd/topology/nodes")


@dataclass(frozen=True)
class Hardware:
    """A device as its driver or torch describes it; None: it does not say.

    `capability`: of NVIDIA's, `architecture`: of AMD's, as gfx90a; `system`: the version of macOS; `has_bfloat16`: of a
    CPU or Intel's GPU, and of a Mac whether its chip is Apple's own.
    """

    kind: Literal["cuda", "rocm", "mps", "xpu", "cpu"]
    capability: tuple[int, int] | None = None
    architecture: str | None = None
    system: tuple[int, ...] = ()
    has_bfloat16: bool = False


def choose_dtype(device: Hardware) -> tuple[str, str]:
    """Return (the precision that `auto` takes, why). Never float16: what is above 65,504 overflows in it."""
    if device.kind == "cuda":
        found = ".".join(map(str, device.capability)) if device.capability else "8.0 or more, as far as is known"
        if device.capability is None or device.capability >= (8, 0):
            return "bfloat16", f"compute capability {found}, and bfloat16 products begin with 8.0"
        scaled = "float16 would need scaled losses, which no trainer here has"
        return "float32", f"compute capability {found}: bfloat16 products begin with 8.0, and {scaled}"
    if device.kind == "rocm":
        known = device.architecture or "an AMD GPU that does not say which"
        if device.architecture is None or device.architecture.startswith(_AMD_WITH_BFLOAT16):
            return "bfloat16", f"{known}, and bfloat16 products begin with gfx90a (MI200) and gfx11 (RDNA 3)"
        return "float32", f"{known}: bfloat16 products begin with gfx90a (MI200) and gfx11 (RDNA 3)"
    if device.kind == "mps":
        return "float32", "Apple's first chips emulate bfloat16, and macOS 13 has none; --dtype bfloat16 takes it"
    if device.kind == "xpu":
        return ("bfloat16", "this GPU has it") if device.has_bfloat16 else ("float32", "this GPU has no bfloat16")
    return "float32", "a CPU; --dtype bfloat16 pays only where its products are in hardware"


def explain_unusable_dtype(device: Hardware, dtype: str) -> str | None:
    """Say why the device cannot compute in a precision, or a CPU only emulates it; None where it can.

    bfloat16 on a GPU that emulates it (NVIDIA's before 8.0, AMD's before MI200 and RDNA 3) is slow, and half as large.
    """
    if device.kind == "cpu" and dtype == "bfloat16" and not device.has_bfloat16:
        return "this CPU has no bfloat16 products and only emulates them, several times slower than float32"
    if device.kind == "mps" and dtype == "float64":
        return "an Apple GPU has no float64"
    if device.kind == "mps" and dtype == "bfloat16" and (device.system < (14,) or not device.has_bfloat16):
        found = ".".join(map(str, device.system)) or "of unknown version"
        return f"an Apple GPU has it from macOS 14 on, on Apple's own chips; this is macOS {found}"
    return None


# ---- what is here


def describe_by_torch(place: Any) -> Hardware:
    """Describe a torch.device that is there; of a CPU nothing is asked."""
    import torch

    if place.type == "cuda" and torch.version.hip:
        name = str(getattr(torch.cuda.get_device_properties(place), "gcnArchName", ""))
        return Hardware("rocm", architecture=name.partition(":")[0] or None)  # "gfx90a:sramecc+:xnack-"
    if place.type == "cuda":
        return Hardware("cuda", capability=torch.cuda.get_device_capability(place))
    if place.type == "xpu":
        told = getattr(torch.xpu.get_device_properties(place), "has_bfloat16_conversions", False)
        return Hardware("xpu", has_bfloat16=bool(told))
    return _describe_mac() if place.type == "mps" else Hardware("cpu")


def describe_by_driver(kind: str) -> Hardware:
    """Describe a device of torch's `kind` without torch, which must not be imported in a process that forks."""
    if kind == "cuda" and "hip" in _find_builds():
        return Hardware("rocm", architecture=max(_list_architectures(), default=None))
    if kind == "cuda":
        return Hardware("cuda", capability=max(_list_capabilities(), default=None))
    if kind == "xpu":
        return Hardware("xpu", has_bfloat16=True)  # as all have that torch runs on but the first
    return _describe_mac() if kind == "mps" else Hardware("cpu")


def _describe_mac() -> Hardware:
    version = tuple(int(part) for part in platform.mac_ver()[0].split(".") if part.isdecimal())
    return Hardware("mps", system=version, has_bfloat16=platform.machine() == "arm64")


def expect_gpu() -> bool:
    """Return True if torch will most likely find a GPU of NVIDIA's or AMD's. It is not imported here."""
    return any(Path(_GPU_FILES[build]).exists() and not _are_hidden(build) for build in _find_builds())


def _are_hidden(build: str) -> bool:
    shown = (os.environ.get(name) for name in _HIDING[build])
    return any(each is not None and (each == "" or each.startswith("-")) for each in shown)


@cache
def _find_builds() -> tuple[str, ...]:
    """The kinds of GPUs that the installed torch was built for."""
    found = find_spec("torch")
    version = Path(found.origin).with_name("version.py") if found and found.origin else Path()
    text = version.read_text(encoding="utf-8") if version.is_file() else ""
    return tuple(build for build in _GPU_FILES if re.search(rf"^{build}\b[^=]*= *'", text, re.MULTILINE))


def _list_capabilities(library: str = "libnvidia-ml.so.1") -> Iterator[tuple[int, int]]:
    """The compute capability of each NVIDIA GPU, by NVML; nothing where it does not answer."""
    with suppress(OSError, AttributeError):
        nvml = ctypes.CDLL(library)
        if nvml.nvmlInit_v2():
            return
        try:
            count = ctypes.c_uint()
            nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
            for index in range(count.value):
                device, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
                if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)):
                    continue
                told = ctypes.byref(major), ctypes.byref(minor)
                if not nvml.nvmlDeviceGetCudaComputeCapability(device, *told):
                    yield major.value, minor.value
        finally:
            nvml.nvmlShutdown()


def _list_architectures(nodes: Path = _KFD) -> Iterator[str]:
    """The architecture of each AMD GPU, by the kernel: 90010 is gfx90a."""
    for file in sorted(nodes.glob("*/properties")):
        with suppress(OSError, ValueError):
            rows = dict(line.split(" ", 1) for line in file.read_text().splitlines() if " " in line)
            if version := int(rows.get("gfx_target_version", 0)):  # 0: a CPU
                yield f"gfx{version // 10_000}{version // 100 % 100:x}{version % 100:x}"
