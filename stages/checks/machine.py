"""Check the machine: packages, a device that computes, free memory, a disk that keeps what seal promises of files."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from stages.checks.finding import Finding
from stages.cores import count_cores
from stages.errors import SealError
from stages.files import rename, write_file
from stages.models.config import get_text_config
from stages.models.device import Device, get_free_bytes
from stages.models.devices.hardware import UNTRIED, choose_dtype, describe_by_torch
from stages.models.directories import read_object

_OURS = "seal-toolkit"
_CHECKED = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "safetensors",
    "jinja2",
    "vllm",
    "matplotlib",
    "pypdfium2",
    "pypandoc_binary",
)
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_SIDE = 64  # of the trial's matrices: every device multiplies them at once, and the sum is exact in bfloat16
_MIN_MEMORY = 1 << 30  # torch and transformers alone take a third of this
_MIN_DISK = 1 << 30
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_CGROUP_FILES = (  # limit, use, and the part of it that is cached files, of version 2 and of version 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_UNLIMITED = 1 << 60  # version 1 says "no limit" as a number near 2^63
_TAKE_LOCK = (
    "import fcntl, sys\n"
    "try: fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "except BlockingIOError: sys.exit(3)\n"
)
_REFUSED = 3


def check_packages(python: str) -> Iterator[Finding]:
    """Compare Python's version (`python`) and the packages with what the installed seal asks for."""
    wanted: dict[str, Requirement] = {}
    pythons = None
    try:
        for text in metadata.requires(_OURS) or []:
            with suppress(InvalidRequirement):
                requirement = Requirement(text)
                wanted[requirement.name.lower().replace("-", "_")] = requirement
        pythons = metadata.metadata(_OURS).json.get("requires_python")
    except metadata.PackageNotFoundError:
        yield Finding("seal", None, f"{_OURS} is not installed as a package: which versions it needs is not known")
    advice = f'make an environment of such a Python: uv venv -p "{pythons}"'
    yield _compare("python", python, None if pythons is None else str(pythons), advice)
    yield from (_check_package(name, wanted.get(name)) for name in _CHECKED)


def _check_package(name: str, wanted: Requirement | None) -> Finding:
    """Check one package; one that seal can do without may be absent."""
    install = f'pip install "{name}{wanted.specifier}"' if wanted else f"pip install {name}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if find_spec(name) is not None:
            return Finding(name, None, "is there, but its version is not recorded")
        if wanted is None or wanted.marker is not None:
            return Finding(name, None, "not installed; seal works without it", install)
        return Finding(name, False, "not installed", install)
    return _compare(name, version, str(wanted.specifier) if wanted else None, install)


def _compare(name: str, version: str, ranges: str | None, advice: str) -> Finding:
    """Compare a version with ranges; a pre-release counts by its number. Unknown for what cannot be read."""
    found = f"{version} (needs {ranges})" if ranges else version
    try:
        inside = None if ranges is None else SpecifierSet(ranges).contains(version, prereleases=True)
    except (InvalidVersion, InvalidSpecifier):
        inside = None
    return Finding(name, inside, found, advice if inside is False else None)


def check_device(device: Device) -> Iterator[Finding]:
    """Count cores and threads, and multiply two matrices on the device."""
    import torch

    yield Finding("cpu", True, f"{count_cores()} cores, {torch.get_num_threads()} torch threads")
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
    hardware = describe_by_torch(place)
    yield Finding("precision", True, "auto takes {} here: {}".format(*choose_dtype(hardware)))
    yield _tell_untried(hardware.kind)


def _tell_untried(kind: str) -> Finding:
    """Say that the rules of some devices were never run; where this is one of them, what to look at."""
    told = f"what is done on {', on '.join(UNTRIED.values())} is from documentation, and was never run"
    if kind not in UNTRIED:
        return Finding("untried devices", None, told)
    advice = "compare some answers and an adapter's losses with --device cpu"
    if kind == "mps":
        advice += "; PYTORCH_ENABLE_MPS_FALLBACK=1 lets the CPU do what Metal lacks"
    return Finding("untried devices", None, f"{told}: this is one of them", advice)


def _describe(place: Any) -> str:
    """Return `cpu`, or a GPU with its name and memory."""
    import torch

    if place.type == "mps":
        most = format_bytes(torch.mps.recommended_max_memory())
        return f"mps (Apple, {format_bytes(get_free_bytes(place))} of {most} free, shared with the CPU)"
    if place.type == "cpu":
        return str(place)
    module = getattr(torch, place.type)
    free, total = module.mem_get_info(place)
    return f"{place} ({module.get_device_name(place)}, {format_bytes(free)} of {format_bytes(total)} free)"


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


def check_memory() -> Iterator[Finding]:
    """Check that torch and a small model fit."""
    free, group = get_free_memory(), get_cgroup_room()
    limited = f", of which the cgroup's limit leaves {format_bytes(group)}" if group is not None else ""
    found = f"{format_bytes(_get_available_memory())} free{limited}"
    if free >= _MIN_MEMORY:
        yield Finding("memory", True, found)
    else:
        advice = f"end other processes or raise the limit: seal needs {format_bytes(_MIN_MEMORY)} or more"
        yield Finding("memory", False, found, advice)


def get_free_memory() -> int:
    """Return the bytes that a process can still allocate here, the control group's limit included."""
    rooms = (_get_available_memory(), get_cgroup_room())
    return min(room for room in rooms if room is not None)


def _get_available_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def get_cgroup_room(own: Path = _OWN_CGROUPS, root: Path = _CGROUPS) -> int | None:
    """Return the bytes left below the tightest memory limit of this process's control groups; None without a limit.

    Cached files that the kernel gives up first do not count as used. (kernel.org: cgroup-v2, cgroup-v1/memory)
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except (OSError, ValueError):
        return None
    rooms = []
    for number, controllers, path in lines:
        if number == "0" or "memory" in controllers.split(","):
            base = root / controllers  # in a container the path may be the host's, so not all folders are there
            folder = base / path.lstrip("/")
            rooms += [_get_room(each) for each in (folder, *folder.parents) if each.is_relative_to(base)]
    return min((room for room in rooms if room is not None), default=None)


def _get_room(folder: Path) -> int | None:
    for limit, used, cache in _CGROUP_FILES:
        try:
            most, now = int((folder / limit).read_text()), int((folder / used).read_text())
            rows = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, most - now + int(rows.get(cache, 0))) if most < _UNLIMITED else None
        except (OSError, ValueError):  # "max": no limit
            continue
    return None


def check_disk(out: Path) -> Iterator[Finding]:
    """Check the free space in `out` (or where it will lie), and try files there: write, sync, rename, lock."""
    folder = next((path for path in (out, *out.absolute().parents) if path.exists()), Path("/"))
    if not folder.is_dir():
        yield Finding("disk", False, f"{folder}: a file", "give a directory with --out")
        return
    free = shutil.disk_usage(folder).free
    well, least = free >= _MIN_DISK, format_bytes(_MIN_DISK)
    advice = f"free some space, or give a directory on another disk with --out ({least} or more)"
    yield Finding("disk", well, f"{folder.absolute()}: {format_bytes(free)} free", None if well else advice)
    try:
        with tempfile.TemporaryDirectory(prefix=".seal-doctor.", dir=folder) as trial:
            part, file = Path(trial, "part"), Path(trial, "file")
            write_file(part, b"whole")
            rename(part, file)
            if file.read_bytes() != b"whole":
                raise OSError(errno.EIO, "a renamed file holds something else than was written")
            yield Finding("files", True, "can be written, synced and renamed")
            yield check_lock(file)
    except OSError as error:
        found = f"{folder.absolute()}: {error.strerror or error}"
        yield Finding("files", False, found, "give a directory that you can write to with --out")


def check_lock(path: Path) -> Finding:
    """Check that a lock held here keeps another process out. Some network file systems only pretend."""
    advice = "two runs may write the same file: give a directory on a local disk with --out"
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        command = [sys.executable, "-I", "-S", "-c", _TAKE_LOCK, str(path)]
        code = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).returncode
    except OSError as error:
        return Finding("locks", False, f"files cannot be locked: {error.strerror}", advice)
    except subprocess.TimeoutExpired:
        return Finding("locks", None, "a second process did not end within 30 s")
    finally:
        os.close(descriptor)
    if code == 0:
        return Finding("locks", False, "a lock does not keep a second process out", advice)
    if code == _REFUSED:
        return Finding("locks", True, "a lock keeps a second process out")
    return Finding("locks", None, "a second process could not try the lock")


def format_bytes(count: int) -> str:
    """Write bytes as people say them: 512 MiB, 1.5 GiB."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            number = count / (1 << power)
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{count} bytes"
