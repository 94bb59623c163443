"""What a full training would take is said, and is wrong for nobody who does not want one."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.checks.training import check_full_training


def test_a_small_model_fits(tmp_path: Path) -> None:
    memory, disk = check_full_training(1000, 10**9, 4, tmp_path / "not" / "yet")
    assert (memory.check, memory.ok, memory.advice) == ("full training", True, None)
    assert memory.found == "all weights with gradients and AdamW's moments take 16 KiB, 954 MiB free"
    assert (disk.check, disk.ok) == ("model disk", True)
    assert disk.found.startswith("a trained model takes 3.9 KiB of the disk, its checkpoints 23 KiB; ")


def test_what_does_not_fit_is_unknown_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**10))
    memory, disk = check_full_training(7 * 10**9, 8 * 10**10, 2, tmp_path)  # as Qwen2.5-7B in bfloat16
    assert (memory.ok, memory.advice) == (
        None,
        "train LoRAs (the default), or take a smaller model or a larger machine",
    )
    assert "take 117 GiB, 75 GiB free" in memory.found
    assert (disk.ok, disk.advice) == (None, "leave --checkpoint-every out, or give another disk with --out")
    assert "13 GiB of the disk, its checkpoints 156 GiB; 9.3 GiB free" in disk.found
