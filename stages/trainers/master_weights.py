"""All weights of a model in training: masters that AdamW updates, and what the model computes with.

In float32 and float64 they are one. For bfloat16 the masters are float32: an update of less than a bfloat16's last
digit (1/256 of the weight) would be rounded away each time, where the masters add them up. Gradients add up in the
masters' precision, too.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_OPTIMIZER = ("exp_avg", "exp_avg_sq", "step")  # torch's names of AdamW's moments and of how often they were updated
# Bytes of one weight: the master, its gradient and two moments; in bfloat16 also what the model computes with.
BYTES_PER_WEIGHT = {torch.float32: 16, torch.bfloat16: 18, torch.float64: 32}
CHECKPOINT_BYTES = {torch.float32: 12, torch.bfloat16: 12, torch.float64: 24}  # of these the master and the moments


class MasterWeights:
    """The weights of a network that was loaded in the masters' precision, and is to compute in `dtype`.

    AdamW is HF Trainer's: betas .9 and .999, eps 1e-8, the fused kernel; only matrices decay, no norms and no biases.
    """

    def __init__(self, network: Any, dtype: torch.dtype, weight_decay: float) -> None:
        self.weights: dict[str, Tensor] = dict(network.named_parameters())  # of those that are shared one
        self.masters = {name: self._make_master(weight, dtype) for name, weight in self.weights.items()}
        matrices = [master for master in self.masters.values() if master.dim() > 1]
        others = [master for master in self.masters.values() if master.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, fused=True)

    def _make_master(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        weight.requires_grad_()
        if weight.dtype == dtype:
            return weight
        master = weight.data.requires_grad_()
        weight.data = weight.data.detach().to(dtype)

        def add_gradient(weight: Tensor) -> None:
            own = weight.grad.to(master.dtype)  # type: ignore[union-attr]
            master.grad = own if master.grad is None else master.grad.add_(own)
            weight.grad = None

        weight.register_post_accumulate_grad_hook(add_gradient)  # type: ignore[no-untyped-call]
        return master

    @property
    def count(self) -> int:
        return sum(master.numel() for master in self.masters.values())

    def clear_gradients(self) -> None:
        """Drop what has added up, also of a pass that was broken off."""
        for each in (*self.weights.values(), *self.masters.values()):
            each.grad = None

    def step(self, learning_rate: float, max_grad_norm: float) -> None:
        """Update all weights from their gradients, and clear the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if max_grad_norm > 0:  # 0: no clipping, as in HF Trainer
            torch.nn.utils.clip_grad_norm_(self.masters.values(), max_grad_norm)
        self.optimizer.step()
        self.clear_gradients()
        self._hand_on()

    @torch.no_grad()
    def _hand_on(self) -> None:
        """Round the masters to what the network computes with, where that is another tensor."""
        for name, weight in self.weights.items():
            if weight is not self.masters[name]:
                weight.copy_(self.masters[name])

    # ---- between processes

    def get_state(self) -> dict[str, Tensor]:
        """Return the masters by name, and of those that were ever updated AdamW's state."""
        found = dict(self.masters)
        for name, master in self.masters.items():
            of_master = self.optimizer.state.get(master, {})
            found |= {f"{name}:{key}": of_master[key] for key in _OPTIMIZER if key in of_master}
        return found

    @torch.no_grad()
    def set_state(self, file: Any) -> None:
        """Put everything where it was: from an open safetensors file, tensor by tensor."""
        names = set(file.keys())
        for name, master in self.masters.items():
            master.copy_(file.get_tensor(name))
            if f"{name}:{_OPTIMIZER[0]}" in names:
                of_master = {key: file.get_tensor(f"{name}:{key}").to(master.device) for key in _OPTIMIZER}
                self.optimizer.state[master] = of_master
        self._hand_on()

    def fits(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """True if a state with tensors of these shapes is one of these weights."""
        fits = all(shapes.get(name) == tuple(master.shape) for name, master in self.masters.items())
        return fits and any(name.endswith(":step") for name in shapes)  # which were not written once
