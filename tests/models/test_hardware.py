"""Rules of devices by their descriptions: those that are not here, too. No GPU is asked, as there is none."""

import ctypes
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from stages.errors import BadConfig
from stages.models import device as device_module
from stages.models.device import (
    Device,
    get_free_bytes,
    get_peak_bytes,
    get_widest_dtype,
    is_out_of_memory,
    release_unused_memory,
)
from stages.models.devices import hardware
from stages.models.devices.hardware import Hardware, choose_dtype, describe_by_torch, explain_unusable_dtype


@pytest.mark.parametrize(
    ("found", "dtype", "why"),
    [
        (Hardware("cuda", capability=(9, 0)), "bfloat16", "compute capability 9.0"),
        (Hardware("cuda", capability=(8, 0)), "bfloat16", "bfloat16 products begin with 8.0"),
        (Hardware("cuda", capability=(7, 5)), "float32", "float16 would need scaled losses"),
        (Hardware("cuda"), "bfloat16", "as far as is known"),
        (Hardware("rocm", architecture="gfx90a"), "bfloat16", "gfx90a"),
        (Hardware("rocm", architecture="gfx1100"), "bfloat16", "gfx1100"),
        (Hardware("rocm", architecture="gfx908"), "float32", "begin with gfx90a (MI200)"),
        (Hardware("rocm", architecture="gfx1030"), "float32", "gfx11 (RDNA 3)"),
        (Hardware("mps", system=(15, 1), has_bfloat16=True), "float32", "emulate bfloat16"),
        (Hardware("xpu", has_bfloat16=True), "bfloat16", "has it"),
        (Hardware("xpu"), "float32", "no bfloat16"),
        (Hardware("cpu", has_bfloat16=True), "float32", "a CPU"),
    ],
    ids=str,
)
def test_auto_takes_the_precision_that_a_device_multiplies_in(found: Hardware, dtype: str, why: str) -> None:
    assert choose_dtype(found)[0] == dtype
    assert why in choose_dtype(found)[1]
    assert explain_unusable_dtype(found, dtype) is None


def test_what_a_device_has_not_or_emulates_is_refused_with_the_reason() -> None:
    old, intel = Hardware("mps", system=(13, 6), has_bfloat16=True), Hardware("mps", system=(15, 1))
    assert "this is macOS 13.6" in (explain_unusable_dtype(old, "bfloat16") or "")
    assert "Apple's own chips" in (explain_unusable_dtype(intel, "bfloat16") or "")
    assert explain_unusable_dtype(Hardware("mps", system=(14,), has_bfloat16=True), "bfloat16") is None
    assert explain_unusable_dtype(old, "float64") == "an Apple GPU has no float64"
    assert "only emulates" in (explain_unusable_dtype(Hardware("cpu"), "bfloat16") or "")
    slow = Hardware("cuda", capability=(7, 5)), Hardware("rocm", architecture="gfx908"), Hardware("xpu")
    assert {explain_unusable_dtype(each, "bfloat16") for each in slow} == {None}, "by name: half the memory"


def put_mac(monkeypatch: pytest.MonkeyPatch, version: str = "15.1") -> None:
    """A Mac with Apple's chip and a torch for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(platform, "mac_ver", lambda: (version, ("", "", ""), "arm64"))
    monkeypatch.setattr(platform, "machine", lambda: "arm64")


def test_an_apple_gpu_is_taken_by_name_alone_and_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    put_mac(monkeypatch)
    assert Device().resolve()[0] == torch.device("cpu")
    assert Device("mps").resolve() == (torch.device("mps"), torch.float32)
    assert Device("mps").foresee() == {"device": "mps", "dtype": "float32"}
    assert Device("mps", "bfloat16").resolve()[1] == torch.bfloat16
    Device("mps", "bfloat16").check_foreseen()
    put_mac(monkeypatch, "13.6")
    with pytest.raises(
        BadConfig, match=r"--dtype bfloat16: an Apple GPU has it from macOS 14 on, .*; take --dtype flo"
    ):
        Device("mps", "bfloat16").resolve()
    with pytest.raises(BadConfig, match="--dtype float64: an Apple GPU has no float64"):
        Device("mps", "float64").resolve()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BadConfig, match="--device mps: no GPU that this torch can use; take --device cpu"):
        Device("mps").resolve()
    with pytest.raises(BadConfig, match="--device mps:0: take auto, cpu, cuda, cuda:N, mps or xpu"):
        Device("mps:0").resolve()


def test_an_old_nvidia_gpu_is_foreseen_and_another_one_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: (7, 5))
    monkeypatch.setattr(device_module, "expect_gpu", lambda: True)
    monkeypatch.setattr(hardware, "_find_builds", lambda: ("cuda",))
    monkeypatch.setattr(hardware, "_list_capabilities", lambda: iter([(7, 5)]))
    assert Device().resolve() == (torch.device("cuda"), torch.float32)
    Device().check_foreseen()
    monkeypatch.setattr(hardware, "_list_capabilities", lambda: iter([]))  # NVML does not answer
    with pytest.raises(BadConfig, match="take cuda in bfloat16, and it takes cuda in float32; give --dtype float32"):
        Device().check_foreseen()


def test_an_amd_gpu_is_a_cuda_device_known_by_its_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.version, "hip", "7.0")
    told = SimpleNamespace(gcnArchName="gfx90a:sramecc+:xnack-")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: told)
    assert describe_by_torch(torch.device("cuda")) == Hardware("rocm", architecture="gfx90a")
    for node, version in (("0", 0), ("1", 90010), ("2", 110000)):
        (tmp_path / node).mkdir()
        (tmp_path / node / "properties").write_text(f"cpu_cores_count 8\ngfx_target_version {version}\n")
    assert list(hardware._list_architectures(tmp_path)) == ["gfx90a", "gfx1100"]
    monkeypatch.setattr(hardware, "_find_builds", lambda: ("hip",))
    monkeypatch.setattr(hardware, "_list_architectures", lambda: iter(["gfx908"]))
    assert Device("cuda").foresee() == {"device": "cuda", "dtype": "float32"}
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/kfd")
    assert hardware.expect_gpu()
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "-1")
    assert not hardware.expect_gpu()


def test_nvml_tells_capabilities_and_a_machine_without_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(device: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = 8, 9
        return 0

    def count(found: Any) -> int:
        found._obj.value = 2
        return 0

    nvml = SimpleNamespace(nvmlInit_v2=lambda: 0, nvmlShutdown=lambda: 0, nvmlDeviceGetCount_v2=count)
    nvml.nvmlDeviceGetHandleByIndex_v2 = lambda index, device: index  # the second does not answer
    nvml.nvmlDeviceGetCudaComputeCapability = tell
    monkeypatch.setattr(ctypes, "CDLL", lambda name: nvml)
    assert list(hardware._list_capabilities()) == [(8, 9)]
    nvml.nvmlInit_v2 = lambda: 9
    assert list(hardware._list_capabilities()) == []
    monkeypatch.undo()
    assert list(hardware._list_capabilities("no-such-library.so")) == []


def test_an_apple_gpu_gets_what_metal_recommends_and_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    place, emptied = torch.device("mps"), list[str]()
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 100)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 40)
    for free, room in ((500, 70), (20, 30)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
        assert get_free_bytes(place) == room
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append("mps"))
    release_unused_memory()
    assert emptied == []
    put_mac(monkeypatch)
    release_unused_memory()
    assert emptied == ["mps"]
    assert get_peak_bytes() == -1


def test_sums_are_in_float64_where_there_is_one() -> None:
    found = [get_widest_dtype(torch.device(kind)) for kind in ("cpu", "cuda", "mps", "xpu")]
    assert found == [torch.float64, torch.float64, torch.float32, torch.float32]


@pytest.mark.parametrize(
    "told",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "HIP out of memory. Tried to allocate 2.00 GiB",
        "HIP error: hipErrorOutOfMemory",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "MPS backend out of memory (MPS allocated: 17.90 GB, max allowed: 18.13 GB)",
        "Invalid buffer size: 22.35 GB",
        "XPU out of memory. Tried to allocate 2.00 GiB",
        "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    ],
)
def test_memory_that_ran_out_is_known_by_every_allocators_words(told: str) -> None:
    assert is_out_of_memory(RuntimeError(told))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
