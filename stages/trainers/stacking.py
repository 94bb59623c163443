"""One LoRA on top of others: the model so far is the base plus all of them, which is one LoRA of their ranks together.

B₁A₁ + B₂A₂ = [B₁ B₂]·[A₁; A₂]. So a directory after each step holds the whole model so far, on the base alone.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import BadConfig
from stages.files import partial_directory, publish
from stages.interfaces import Engine, FitJob, FitResult, NullProgress, Progress, Trainer
from stages.models.adapter_checks import PLAIN_WEIGHT, get_peft_name
from stages.settings import FitConfig
from stages.trainers.adapter_files import write_adapter
from stages.trainers.peft import add_lora


@dataclass(frozen=True)
class LoraSum:
    """A LoRA as it lies in a PEFT directory: A (rank, in) and B (out, rank) of each layer; alpha / rank scales B·A."""

    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]
    rank: int
    alpha: float

    @classmethod
    def read(cls, path: Path) -> "LoraSum":
        """Read a directory that `write_adapter` made."""
        from safetensors.torch import load_file

        settings = json.loads((path / "adapter_config.json").read_bytes())
        weights = load_file(path / "adapter_model.safetensors")
        return cls(*_take_sides(weights), settings["r"], settings["lora_alpha"])

    def add(self, other: "LoraSum") -> "LoraSum":
        """Return the sum of both. Their layers and alpha / rank are the same: one run trains all of them."""
        down = {layer: torch.cat([self.down[layer], other.down[layer]]) for layer in self.down}
        up = {layer: torch.cat([self.up[layer], other.up[layer]], dim=1) for layer in self.up}
        return LoraSum(down, up, self.rank + other.rank, self.alpha + other.alpha)

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights under peft's names."""
        down = {get_peft_name(layer, "A"): weight for layer, weight in self.down.items()}
        return down | {get_peft_name(layer, "B"): weight for layer, weight in self.up.items()}


def _take_sides(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return A and B of each layer, from weights under peft's names."""
    sides: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    for name, weight in weights.items():
        if match := PLAIN_WEIGHT.fullmatch(name):
            sides[match[2]][match[1]] = weight
    return sides["A"], sides["B"]


@dataclass
class StackingTrainer:
    """Trains one job on the base with an earlier stack merged in, and writes the stack that has both.

    The stack is merged in the weights' own precision, from the base's weights each time: a step does not depend on
    whether the steps before it ran in the same process.
    """

    trainer: Any  # a Trainer of ours, which has its network and the base that its adapters name
    answering: Engine | None = None  # that answers with the network; None: one is made of it where there is a gate
    plain: dict[str, Tensor] = field(default_factory=dict, init=False)  # weights of the base that a stack has changed

    @property
    def model(self) -> str:
        """The base."""
        return str(self.trainer.model)

    def fit_on(
        self,
        before: Path | None,
        job: FitJob,
        progress: Progress = NullProgress(),
        accept: Callable[[Path], bool] | None = None,
    ) -> FitResult:
        """Train the job on the model so far; None: on the base. A training that fails leaves the model as it was.

        `accept` is shown the directory of the model with the update, on the base's own weights; False: it is refused,
        and the model stays as it was, too.
        """
        stack, trainer = LoraSum.read(before) if before else None, self.trainer
        with partial_directory(job.out) as folder:
            self._merge(stack)
            try:
                fitting: Trainer = trainer
                (result,) = fitting.fit([replace(job, out=folder / "own")], progress)
            finally:
                self._merge(None)
            own = LoraSum.read(result.path) if result.path else None
            whole = stack.add(own) if stack and own else own
            made = self._write(whole, job.config, folder / "whole") if whole else None
            if made is None or (accept and not accept(made)):
                self.keep(before, job.config, job.out)
            else:
                publish(made, job.out)
        return replace(result, path=job.out)

    def keep(self, before: Path | None, config: FitConfig, out: Path) -> Path:
        """Write the model so far once more; of the base a LoRA that adds nothing."""
        return self._write(LoraSum.read(before) if before else self._make_null(config), config, out)

    def _make_null(self, config: FitConfig) -> LoraSum:
        from peft import get_peft_model_state_dict

        with torch.random.fork_rng():
            student = add_lora(self.trainer.network, config)
            try:
                state = {name: torch.zeros_like(weight) for name, weight in get_peft_model_state_dict(student).items()}
            finally:
                student.unload()
        return LoraSum(*_take_sides(state), config.rank, config.alpha)

    def _write(self, stack: LoraSum, config: FitConfig, out: Path) -> Path:
        whole = replace(config, rank=stack.rank, alpha=stack.alpha)
        return write_adapter(out, stack.state, whole, list(stack.down), self.trainer.base)

    def _merge(self, stack: LoraSum | None) -> None:
        """Give the network's layers the base's weights plus the stack's product; None: the base's weights."""
        for layer, weight in self.plain.items():
            self._weight_of(layer).data.copy_(weight)
        if stack is None:
            return
        for layer in stack.down:
            weight = self._weight_of(layer)
            self.plain.setdefault(layer, weight.detach().clone())
            wide = torch.promote_types(weight.dtype, torch.float32)
            up, down = (side[layer].to(weight.device, wide) for side in (stack.up, stack.down))
            change = (stack.alpha / stack.rank) * (up @ down)
            transposed = type(self.trainer.network.get_submodule(layer)).__name__ == "Conv1D"
            weight.data.copy_((weight.to(wide) + (change.T if transposed else change)).to(weight.dtype))

    def _weight_of(self, layer: str) -> Tensor:
        module = self.trainer.network.get_submodule(layer)
        if type(module).__name__ not in ("Linear", "Conv1D"):
            raise BadConfig(f"layer {layer}: {type(module).__name__} cannot hold a stack of LoRAs; take other --target")
        weight: Tensor = module.weight
        return weight
