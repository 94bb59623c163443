"""The machine under a run: memory that can still be had, and a disk that keeps what seal promises about files."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stages.checks.finding import Finding, fine, unknown, wrong
from stages.files import rename, write_file

_LEAST_MEMORY = 1 << 30  # torch and transformers alone take a third of this
LEAST_DISK = 1 << 30
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60  # version 1 says "no limit" as a number near 2^63
_TAKE_LOCK = (
    "import fcntl, sys\n"
    "try: fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "except BlockingIOError: sys.exit(3)\n"
)
_REFUSED = 3


def format_bytes(count: int) -> str:
    """Bytes as people say them: 512 MiB, 1.5 GiB."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            number = count / (1 << power)
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{count} bytes"


def check_memory() -> Iterator[Finding]:
    available, group = _available_memory(), cgroup_room()
    free = get_free_memory()
    limited = f", of which the cgroup's limit leaves {format_bytes(group)}" if group is not None else ""
    told = f"{format_bytes(available)} free{limited}"
    if free < _LEAST_MEMORY:
        yield wrong(
            "memory", told, f"end other processes or raise the limit: seal needs {format_bytes(_LEAST_MEMORY)} or more"
        )
    else:
        yield fine("memory", told)


def get_free_memory() -> int:
    """Bytes that a process can still have here, the control group's limit included."""
    group = cgroup_room()
    return _available_memory() if group is None else min(_available_memory(), group)


def _available_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def cgroup_room(own: Path = _OWN_CGROUPS, root: Path = _CGROUPS) -> int | None:
    """Bytes left below the tightest memory limit of the control groups that this process is in. None: no limit.

    Cached files that the kernel gives up first do not count as used. (kernel.org: cgroup-v2, cgroup-v1/memory)
    """
    try:
        lines = own.read_text().splitlines()
    except (OSError, ValueError):
        return None
    rooms = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or "memory" in controllers.split(","):
            base = root / controllers
            rooms += [_room(folder) for folder in _chain(base, path.lstrip("/"))]
    return min((room for room in rooms if room is not None), default=None)


def _chain(base: Path, path: str) -> Iterator[Path]:
    """The group's folder and those it lies in. In a container the path may be the host's, so not all are there."""
    folder = base / path
    while folder != base:
        yield folder
        folder = folder.parent
    yield base


def _room(folder: Path) -> int | None:
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = int((folder / limit).read_text()), int((folder / used).read_text())
            rows = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, most - now + int(rows.get(cache, 0))) if most < _UNLIMITED else None
        except (OSError, ValueError):  # "max": no limit
            continue
    return None


def check_disk(out: Path) -> Iterator[Finding]:
    """Free space in `out` (or where it will lie), and files there: written, synced, renamed, locked."""
    folder = next((path for path in (out, *out.absolute().parents) if path.exists()), Path("/"))
    if not folder.is_dir():
        yield wrong("disk", f"{folder}: a file", "give a directory with --out")
        return
    free = shutil.disk_usage(folder).free
    told = f"{folder.absolute()}: {format_bytes(free)} free"
    few = f"free some space, or give a directory on another disk with --out ({format_bytes(LEAST_DISK)} or more)"
    yield fine("disk", told) if free >= LEAST_DISK else wrong("disk", told, few)
    try:
        with tempfile.TemporaryDirectory(prefix=".seal-doctor.", dir=folder) as trial:
            yield from _check_files(Path(trial))
    except OSError as error:
        reason = error.strerror or str(error)
        yield wrong("files", f"{folder.absolute()}: {reason}", "give a directory that you can write to with --out")


def _check_files(trial: Path) -> Iterator[Finding]:
    """In an empty folder. Raises OSError where files cannot be written, synced or renamed."""
    write_file(trial / "part", b"whole")
    rename(trial / "part", trial / "file")
    if (trial / "file").read_bytes() != b"whole":
        raise OSError(errno.EIO, "a renamed file holds something else than was written")
    yield fine("files", "can be written, synced and renamed")
    yield check_lock(trial / "file")


def check_lock(path: Path) -> Finding:
    """Whether a lock that is held here keeps another process out. Some network file systems only pretend."""
    advice = "two runs may write the same file: give a directory on a local disk with --out"
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        command = [sys.executable, "-I", "-S", "-c", _TAKE_LOCK, str(path)]
        other = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except OSError as error:
        return wrong("locks", f"files cannot be locked: {error.strerror}", advice)
    except subprocess.TimeoutExpired:
        return unknown("locks", "a second process did not end within 30 s")
    finally:
        os.close(descriptor)
    if other.returncode == _REFUSED:
        return fine("locks", "a lock keeps a second process out")
    if other.returncode == 0:
        return wrong("locks", "a lock does not keep a second process out", advice)
    return unknown("locks", "a second process could not try the lock")
