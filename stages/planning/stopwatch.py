"""Time and memory of a piece of work: on the wall, of the processor, and the most memory since the last reset."""

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

from stages.models.device import get_peak_bytes, reset_peak_bytes

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss


class Stopwatch:
    """Measures its block: `wall_s` and `cpu_s` behind it."""

    def __enter__(self) -> "Stopwatch":
        self.began, self.cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall_s, self.cpu_s = time.monotonic() - self.began, time.process_time() - self.cpu


def read_memory() -> tuple[int, int]:
    """Return (bytes that the process holds now, the most that it has held since the last reset)."""
    told = dict[str, int]()
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                told[name] = int(value.split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    return told.get("VmRSS", most), told.get("VmHWM", most)


def reset_memory() -> None:
    """Let the most of memory count anew from here, where the system can (Linux), and that of GPUs."""
    with suppress(OSError):
        _RESET.write_text("5")
    reset_peak_bytes()


def read_device_memory() -> int:
    """Return the most bytes on GPUs since the last reset; 0 where none is used."""
    return max(0, get_peak_bytes())
