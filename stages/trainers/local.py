"""The inner trainer that --trainer names, and the model that it is to train."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.interfaces import Trainer
from stages.models.adapter_checks import is_whole_adapter, make_usability_check
from stages.models.choice import choose_model, quiet_libraries, weights_of
from stages.models.device import Device
from stages.plugins import load_class
from stages.trainers.guarded import GuardedTrainer

TRAINERS = {"batched": "stages.trainers.batched.trainer:BatchedLoraTrainer", "peft": "stages.trainers.peft:PeftTrainer"}


@dataclass(frozen=True)
class LocalTrainer:
    """A model here, and how it is trained. Classes of others get (model, device=), and the limits that are given."""

    model: str | None = None  # None: the one that all lines name
    name: str = "batched"
    device: Device = Device()
    limits: Mapping[str, int] = field(default_factory=dict)  # slots, tokens_per_step

    def choose(self, named: Collection[str]) -> str:
        """Return the model: the given one, or the one that all lines name."""
        return choose_model(self.model, named)

    def settings(self, model: str) -> Mapping[str, Any]:
        """Return what a run's settings say of the model."""
        return weights_of(model, self.device)

    def make_check(self, model: str) -> Callable[[Path], bool]:
        """Return a test whether an adapter directory is still what this trainer has made of the model."""
        return make_usability_check(model) if self.name in TRAINERS else is_whole_adapter

    def load(self, model: str) -> Trainer:
        """Load the model."""
        kind = load_class("--trainer", self.name, TRAINERS)
        if self.name not in TRAINERS:
            return GuardedTrainer(self.name, kind, model, device=self.device, **self.limits)
        quiet_libraries()
        trainer: Trainer = kind(model, device=self.device, **self.limits)
        return trainer
