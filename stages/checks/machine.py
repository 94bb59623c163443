"""Check the machine: memory that is free, and a disk that keeps what seal promises about files."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stages.checks.finding import Finding
from stages.files import rename, write_file

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


def format_bytes(count: int) -> str:
    """Write bytes as people say them: 512 MiB, 1.5 GiB."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            number = count / (1 << power)
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{count} bytes"


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
