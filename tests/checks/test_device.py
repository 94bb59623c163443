"""The device really computes, and what it promises of an adapter's bits is told."""

from pathlib import Path

import pytest
import torch

from stages.checks import invariance
from stages.checks import machine as checks
from stages.checks.finding import guard
from stages.checks.machine import check_bits, check_device
from stages.models.device import Device


def test_the_cpu_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_NVIDIA_DRIVER", Path("/absent"))
    threads, device, precision, untried = check_device(Device("cpu"))
    assert threads.found.endswith(f"{torch.get_num_threads()} torch threads")
    assert (device.ok, device.found) == (True, "cpu: a product of matrices in float32 is right")
    assert (precision.ok, precision.found.partition(":")[0]) == (True, "auto takes float32 here")
    assert (untried.ok, untried.advice) == (None, None)
    assert "is from documentation, and was never run" in untried.found


def test_a_device_that_nobody_has_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checks._tell_untried("mps")
    assert found.found.endswith("was never run: this is one of them")
    assert "PYTORCH_ENABLE_MPS_FALLBACK=1" in (found.advice or "")
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 << 30)
    monkeypatch.setattr(checks, "get_free_bytes", lambda place: 3 << 30)
    assert checks._describe(torch.device("mps")) == "mps (Apple, 3.0 GiB of 12 GiB free, shared with the CPU)"


def test_a_device_that_errs_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *sizes, **named: torch.full(sizes, 1.5, **named))
    assert [finding.ok for finding in check_device(Device("cpu"))][:2] == [True, False]


def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "version").write_text("NVRM version: 580")
    monkeypatch.setattr(checks, "_NVIDIA_DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = list(check_device(Device()))[1]
    assert found.ok is None
    assert "there is an NVIDIA driver, but torch" in found.found
    assert list(check_device(Device("cpu")))[1].ok is True


@pytest.mark.parametrize(
    ("variant", "ok", "words", "advice"),
    [
        ({}, True, "float32 on 3 threads: an adapter is the same to the last bit, whatever --slots, order, ", None),
        (
            {3: ["attention", "activations"]},
            None,
            "float32 on 3 threads: attention and activations depend on what is computed beside them; an adapter's last",
            "OMP_NUM_THREADS=1 makes it the same to the last bit",
        ),
        ({3: ["products"], 1: ["products"]}, None, "float32 on 3 threads: products depend on what is ", None),
    ],
)
def test_which_promise_holds_is_told_for_as_many_threads_as_there_are_and_for_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variant: dict[int, list[str]],
    ok: bool | None,
    words: str,
    advice: str | None,
) -> None:
    threads = [3]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(invariance, "find_variant_operations", lambda shape, dtype: variant.get(threads[-1], []))
    (found,) = check_bits(Device("cpu"), tmp_path)
    assert (found.ok, found.advice) == (ok, advice)
    assert found.found.startswith(words)
    assert threads[-1] == 3


def test_the_sizes_are_the_models_and_a_broken_model_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[invariance.ModelSizes] = []
    monkeypatch.setattr(invariance, "find_variant_operations", lambda sizes, dtype: asked.append(sizes) or [])
    for config in ('{"hidden_size": 48}', '{"text_config": {"hidden_size": 64}}', "{"):
        (tmp_path / "config.json").write_text(config)
        assert [finding.ok for finding in check_bits(Device("cpu"), tmp_path)] == [True]
    assert [sizes.hidden for sizes in asked] == [48, 64, invariance.ModelSizes.hidden]


def test_a_gpu_is_told_by_name_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (3 << 30, 80 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "Grand 9")
    assert checks._describe(torch.device("cuda:0")) == "cuda:0 (Grand 9, 3.0 GiB of 80 GiB free)"


@pytest.mark.parametrize("name", ["cuda", "nonsense", "meta"])
def test_a_device_that_is_not_there_ends_as_a_finding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(guard("device", "--device cpu", lambda: check_device(Device(name))))[-1].ok is False


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_gpu_multiplies() -> None:
    found = list(check_device(Device("cuda")))[1]
    assert found.ok is True
    assert torch.cuda.get_device_name() in found.found
