"""How many joules this machine has used meanwhile, where it tells: its CPUs (RAPL), its GPUs (NVML).

The counters are the whole machine's: what others compute on it is in them, and what it draws at rest.
"""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_MOST_WATTS = 1000.0  # of a package; no counter turns over twice while it counts less than its range at this power
_COUNTED = ("package", "dram")  # zones; core and uncore are parts of a package, psys is all of them


@dataclass
class EnergyMeter:
    """Reads the counters at the beginning and at the end. `zones`: where the kernel has RAPL's; `library`: NVML."""

    zones: Path = Path("/sys/class/powercap")
    library: str = "libnvidia-ml.so.1"
    _first: dict[str, float] = field(default_factory=dict, init=False)
    _began: float = field(default=0.0, init=False)

    def begin(self) -> None:
        """Read the counters for the first time."""
        self._first, self._began = self._read_counters(), time.monotonic()

    def read(self) -> dict[str, float] | None:
        """Return the joules since the beginning, by `cpu` and `gpu`; None where the machine tells nothing.

        Of CPUs nothing is told after so long that a counter may have turned over unseen: minutes, on most machines.
        """
        now, seconds, joules = self._read_counters(), time.monotonic() - self._began, dict[str, float]()
        untold = set[str]()
        for name, end in now.items():
            device = name.partition(" ")[0]
            if name not in self._first:
                untold.add(device)
                continue
            used = end - self._first[name]
            if device == "cpu":
                turn = self._read_range(name)
                if turn <= _MOST_WATTS * seconds:
                    untold.add(device)
                used += turn if used < 0 else 0.0
            joules[device] = joules.get(device, 0.0) + used
        return {name: round(used, 1) for name, used in joules.items() if name not in untold} or None

    def _read_counters(self) -> dict[str, float]:
        """Return joules by the name of the counter, of those that can be read."""
        found = dict[str, float]()
        for zone in sorted(self.zones.glob("intel-rapl*")) if self.zones.is_dir() else ():
            with suppress(OSError, ValueError):
                if (zone / "name").read_text().startswith(_COUNTED):
                    found[f"cpu {zone.name}"] = int((zone / "energy_uj").read_text()) / 1e6
        with suppress(OSError, AttributeError):
            found.update(_read_gpus(ctypes.CDLL(self.library)))
        return found

    def _read_range(self, name: str) -> float:
        """Return the joules at which a CPU's counter begins anew; 0 where it is not told."""
        with suppress(OSError, ValueError):
            return int((self.zones / name.partition(" ")[2] / "max_energy_range_uj").read_text()) / 1e6
        return 0.0


def _read_gpus(nvml: ctypes.CDLL) -> Iterator[tuple[str, float]]:
    """Yield (name, joules) of each GPU that this process may see, since its driver was loaded."""
    with _open_nvml(nvml):
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return
        for index in range(count.value):
            device, used = ctypes.c_void_p(), ctypes.c_ulonglong()
            if not _is_visible(index) or nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)):
                continue
            if not nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(used)):
                yield f"gpu {index}", used.value / 1e3


@contextmanager
def _open_nvml(nvml: ctypes.CDLL) -> Iterator[None]:
    """Raises OSError where there is a library and no driver."""
    if nvml.nvmlInit_v2():
        raise OSError("NVML does not answer")
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _is_visible(index: int) -> bool:
    """True unless CUDA_VISIBLE_DEVICES lists others; by names that are no numbers, all count."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return True
    names = [name.strip() for name in listed.split(",") if name.strip()]
    return str(index) in names or not all(name.isdecimal() for name in names)
