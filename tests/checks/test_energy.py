"""Joules are told where counters can be read, and never guessed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from stages.checks.energy import EnergyMeter

NVML = """
#include <stdlib.h>
static unsigned long long used = 1000;
int nvmlInit_v2(void) { return getenv("NO_DRIVER") != 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(size_t)(index + 1); return 0; }
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj) {
    used += 500 * (size_t)device; *mj = used; return 0;
}
"""


def write_zone(folder: Path, zone: str, name: str, joules: float, most: float = 262_000) -> None:
    place = folder / zone
    place.mkdir(exist_ok=True)
    for file, text in (("name", name), ("energy_uj", int(joules * 1e6)), ("max_energy_range_uj", int(most * 1e6))):
        (place / file).write_text(f"{text}\n")


def test_packages_and_memory_are_added_and_parts_of_them_are_not(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:0:0": "core"}
    zones |= {"intel-rapl:0:1": "dram", "intel-rapl:2": "psys"}
    for zone, name in zones.items():
        write_zone(tmp_path, zone, name, 10)
    meter = EnergyMeter(tmp_path, "no-such-library")
    meter.begin()
    for zone, name in zones.items():
        write_zone(tmp_path, zone, name, 15.25)
    assert meter.read() == {"cpu": 15.8}


def test_a_counter_that_turned_over_once_goes_on_and_one_that_may_have_done_so_more_often_is_not_told(
    tmp_path: Path,
) -> None:
    write_zone(tmp_path, "intel-rapl:0", "package-0", 261_990)
    meter = EnergyMeter(tmp_path, "no-such-library")
    meter.begin()
    write_zone(tmp_path, "intel-rapl:0", "package-0", 20)
    assert meter.read() == {"cpu": 30.0}
    meter._began -= 263  # seconds, at 1000 W
    assert meter.read() is None


def test_a_machine_that_tells_nothing_is_none_and_not_0(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        meter = EnergyMeter(folder, "no-such-library")
        meter.begin()
        assert meter.read() is None
    write_zone(tmp_path, "intel-rapl:0", "package-0", 10)
    (tmp_path / "intel-rapl:0/energy_uj").write_text("not a number")
    meter.begin()
    assert meter.read() is None


def test_gpus_are_asked_through_nvml_those_that_are_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here to stand in for a driver")
    (tmp_path / "nvml.c").write_text(NVML)
    library = tmp_path / "libnvml.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    meter = EnergyMeter(tmp_path / "none", str(library))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    meter.begin()  # 1.5 and 2.5 J
    assert meter.read() == {"gpu": 3.0}, "3.0 and 4.0 J now"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    meter.begin()
    assert meter.read() == {"gpu": 1.0}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    meter.begin()
    assert meter.read() is None
    monkeypatch.setenv("NO_DRIVER", "1")
    meter.begin()
    assert meter.read() is None
