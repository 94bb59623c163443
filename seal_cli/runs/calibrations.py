"""Calibrations in the user's cache: by the model, the machine, the versions and the settings that speed depends on."""

import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seal_cli.runs.manifest import compute_digest, version_of
from stages.cores import count_cores
from stages.files import atomic_directory, make_folder
from stages.planning.calibration import Calibration, read_calibration

_PACKAGES = ("seal-toolkit", "torch", "transformers", "peft", "trl", "vllm")
_INDIFFERENT = {  # settings that change how much there is to do, or what comes out, and not how fast it is
    *("stage", "k", "seed", "seeds", "limit", "shard", "out", "on", "retain", "resumes", "exam_share", "sequential"),
    *("learning_rate", "epochs", "schedule", "warmup_steps", "warmup_ratio", "alpha", "weight_decay", "max_grad_norm"),
}


@dataclass(frozen=True)
class CalibrationStore:
    """Where the calibration of a run's settings is kept."""

    about: Mapping[str, Any]

    @classmethod
    def of(cls, stage: str, settings: Mapping[str, Any], at_once: int = 1) -> "CalibrationStore":
        """Make it for a stage with these settings on this machine."""
        named = _reduce(json.loads(json.dumps(settings, default=str)))
        if settings.get("weights"):
            named.pop("model", None)  # which may lie anywhere
        machine = {"node": platform.node(), "cores": count_cores(), "threads": os.environ.get("OMP_NUM_THREADS")}
        versions = {name: version_of(name) for name in _PACKAGES}
        return cls({"stage": stage, "settings": named, "at_once": at_once, **machine, "versions": versions})

    @property
    def file(self) -> Path:
        """The file of the calibration."""
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(root) / "seal" / "calibrations" / f"{compute_digest(self.about)}.json"

    @property
    def adapter(self) -> Path:
        """The directory of an adapter that was made on the way: it stands for those that are not made yet."""
        return self.file.with_suffix(".adapter")

    def read(self) -> Calibration | None:
        """Return the calibration; None where there is none."""
        return read_calibration(self.file)

    def write(self, calibration: Calibration) -> None:
        calibration.write(self.file, self.about)

    def keep_adapter(self, path: Path) -> None:
        """Keep a copy of an adapter's directory."""
        make_folder(self.adapter.parent)
        if self.adapter.is_dir():
            shutil.rmtree(self.adapter)
        with atomic_directory(self.adapter) as folder:
            shutil.copytree(path, folder, dirs_exist_ok=True)


def _reduce(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that speed depends on, of those within settings too."""
    kept = {key: value for key, value in settings.items() if key not in _INDIFFERENT}
    return {key: _reduce(value) if isinstance(value, Mapping) else value for key, value in kept.items()}
