"""A calibration: how fast this machine is with one model in one way of using it, kept as JSON to be used again."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stages.files import make_folder, replace_file
from stages.planning.measuring import Trials
from stages.planning.rates import Features, Measurement, apply_rates, fit_rates
from stages.planning.rehearsal import Speech

_VERSION = 1  # of the file; another number where features change their meaning


@dataclass(frozen=True)
class PartSpeed:
    """How fast a part (engine, trainer, outer, judge) is: what loading took, and measurements of its work."""

    load_s: float
    load_cpu_s: float
    load_peak: int  # bytes
    base: int
    device_base: int
    warm_s: tuple[float, float]
    made: Sequence[Measurement]
    memory: Sequence[tuple[Features, int, int]]
    written: int = 0  # bytes of an adapter or a model
    letters_per_token: float | None = None  # of prompts to a server
    tokens_per_answer: float | None = None  # of a judge

    @classmethod
    def of(cls, trials: Trials, loading: tuple[float, float, int], **more: Any) -> "PartSpeed":
        """Make it of trials; `loading`: seconds on the wall and of the processor, and the peak of memory."""
        return cls(*loading, trials.base, trials.device_base, trials.warm_s, trials.made, trials.memory, **more)

    def tell_seconds(self, features: Features) -> tuple[float, float]:
        """Return the seconds of work, on the wall and of the processor."""
        wall = fit_rates([(each.features, each.wall_s) for each in self.made])
        cpu = fit_rates([(each.features, each.cpu_s) for each in self.made])
        return self.warm_s[0] + apply_rates(wall, features), self.warm_s[1] + apply_rates(cpu, features)

    def tell_memory(self, features: Features) -> tuple[int, int]:
        """Return the peak of memory, of the process and of GPUs, in bytes."""
        host = fit_rates([({"always": 1.0, **known}, float(grown or 1)) for known, grown, _ in self.memory])
        device = fit_rates([(known, float(grown)) for known, _, grown in self.memory if grown])
        most = int(self.base + apply_rates(host, {"always": 1.0, **features}))
        return max(self.load_peak, most), self.device_base + int(apply_rates(device, features))


@dataclass
class Calibration:
    """The parts that were measured, what the model says by the kind of request, and what was assumed."""

    parts: dict[str, PartSpeed] = field(default_factory=dict)
    speeches: dict[str, list[Speech]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def write(self, file: Path, about: Mapping[str, Any]) -> None:
        """Write it, whole or not at all; `about`: what it holds for."""
        make_folder(file.parent)
        found = {"version": _VERSION, "about": about, **asdict(self)}
        replace_file(file, (json.dumps(found, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def read_calibration(file: Path) -> Calibration | None:
    """Read a calibration; None where there is none that can be read."""
    try:
        found = json.loads(file.read_bytes())
        if found["version"] != _VERSION:
            return None
        parts = {name: _read_part(part) for name, part in found["parts"].items()}
        speeches = {kind: [Speech(**each) for each in said] for kind, said in found["speeches"].items()}
        return Calibration(parts, speeches, list(map(str, found["notes"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _read_part(found: dict[str, Any]) -> PartSpeed:
    made = [Measurement(**each) for each in found.pop("made")]
    memory = [(dict(known), int(host), int(device)) for known, host, device in found.pop("memory")]
    part = PartSpeed(**{**found, "made": made, "memory": memory, "warm_s": tuple(found["warm_s"])})
    first, second = part.warm_s
    single = [part.load_s, part.load_cpu_s, part.load_peak, part.base, part.device_base, part.written, first, second]
    measured = [number for each in made for number in (each.wall_s, each.cpu_s, *each.features.values())]
    if not all(
        map(math.isfinite, [*single, *measured, *(number for known, _, _ in memory for number in known.values())])
    ):
        raise ValueError("a measurement that is no number")
    return part
