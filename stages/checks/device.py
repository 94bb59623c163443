"""Check the device: that it computes, and whether an adapter's bits depend on what is trained beside it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.checks.finding import Finding
from stages.checks.machine import format_bytes
from stages.errors import SealError
from stages.models.config import get_text_config
from stages.models.device import Device
from stages.models.directories import read_object

_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_SIDE = 64  # of the trial's matrices: every device multiplies them at once, and the sum is exact in bfloat16


def check_device(device: Device) -> Iterator[Finding]:
    """Count cores and threads, and multiply two matrices on the device."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cpu", True, f"{cores} cores, {torch.get_num_threads()} torch threads")
    place, dtype = device.resolve()
    ones = torch.ones(_SIDE, _SIDE, device=place, dtype=dtype)
    total = float((ones @ ones).float().sum())
    found = f"{_describe(place)}: a product of matrices in {str(dtype).removeprefix('torch.')} is"
    if total != _SIDE**3:
        wrong = f"{found} wrong ({total} instead of {_SIDE**3})"
        yield Finding("device", False, wrong, "use another --device: this one errs")
    elif device.name == "auto" and place.type == "cpu" and _NVIDIA_DRIVER.exists():
        advice = "install a torch build for this GPU and its driver (pytorch.org/get-started)"
        unused = f"{found} right; there is an NVIDIA driver, but torch {torch.__version__}"
        yield Finding("device", None, unused, advice)
    else:
        yield Finding("device", True, f"{found} right")


def _describe(place: Any) -> str:
    """Return `cpu`, or a GPU with its name and memory."""
    import torch

    if place.type != "cuda":
        return str(place)
    free, total = torch.cuda.mem_get_info(place)
    return f"{place} ({torch.cuda.get_device_name(place)}, {format_bytes(free)} of {format_bytes(total)} free)"


def check_bits(device: Device, folder: Path) -> Iterator[Finding]:
    """Check whether adapters of this model, else of a small one, have the same bits whatever is trained beside them."""
    import torch

    from stages.checks.invariance import ModelSizes, find_variant_operations

    place, dtype = device.resolve()
    kind, among = str(dtype).removeprefix("torch."), "--slots, order, shards and resumed runs"
    if place.type != "cpu":
        yield Finding("same bits", None, f"{kind} on {place}: an adapter's last digits may change with {among}")
        return
    try:
        sizes = ModelSizes.of(get_text_config(read_object(folder / "config.json")))
    except (SealError, OSError):  # for other checks to tell
        sizes = ModelSizes()
    threads = torch.get_num_threads()
    names, alone = find_variant_operations(sizes, dtype), []
    if names and threads > 1:
        torch.set_num_threads(1)
        try:
            alone = find_variant_operations(sizes, dtype)
        finally:
            torch.set_num_threads(threads)
    found = f"{kind} on {threads} thread{'s' * (threads > 1)}"
    if not names:
        yield Finding("same bits", True, f"{found}: an adapter is the same to the last bit, whatever {among} are")
        return
    advice = "OMP_NUM_THREADS=1 makes it the same to the last bit" if threads > 1 and not alone else None
    found = f"{found}: {' and '.join(names)} depend on what is computed beside them"
    yield Finding("same bits", None, f"{found}; an adapter's last digits may change with {among}", advice)
