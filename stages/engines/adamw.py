"""AdamW for a stack of adapters, one optimizer a row: its own learning rate, step count, clip and decay.

The numbers are those of torch.optim.AdamW and clip_grad_norm_ on the adapter alone (betas .9 and .999, eps 1e-8, the
fused kernel: HF Trainer's defaults). Row by row is also the fast way on a CPU, whose cache holds a row but no stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Update:
    """One row's step: its learning rate now, and its trainer settings."""

    learning_rate: float
    max_grad_norm: float
    weight_decay: float


class StackedAdamW:
    """Optimizers of the rows of (slots, n) weights. A row's moments begin anew with `reset`."""

    def __init__(self, weights: Tensor, grads: Tensor) -> None:
        self.weights, self.grads = weights, grads
        self.leaves = [row.detach().requires_grad_() for row in weights]
        for leaf, grad in zip(self.leaves, grads, strict=True):
            leaf.grad = grad
        self.optimizers = [torch.optim.AdamW([leaf], fused=True) for leaf in self.leaves]

    def reset(self, slot: int) -> None:
        self.optimizers[slot].state.clear()

    def move(self, source: int, to: int) -> None:
        """Row `to` goes on with the moments and step count of `source`, which begins anew."""
        if source != to:
            self.reset(to)
            self.optimizers[to].state[self.leaves[to]] = self.optimizers[source].state.pop(self.leaves[source])

    def step(self, updates: Sequence[Update]) -> None:
        """Updates the first len(updates) rows from their gradients, and clears the gradients."""
        for leaf, optimizer, update in zip(self.leaves, self.optimizers, updates, strict=False):
            if update.max_grad_norm > 0:  # 0: no clipping, as in HF Trainer
                torch.nn.utils.clip_grad_norm_([leaf], update.max_grad_norm)
            (group,) = optimizer.param_groups
            group["lr"], group["weight_decay"] = update.learning_rate, update.weight_decay
            optimizer.step()
        self.grads[: len(updates)].zero_()
