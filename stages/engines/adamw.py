"""AdamW over a stack of adapters, one row each: every row has its own learning rate, step count, clip and decay.

The numbers are those of torch.optim.AdamW and clip_grad_norm_ on the adapter alone (betas .9 and .999, eps 1e-8: HF
Trainer's defaults). Bias corrections are taken in Python floats: 1 - 0.999 in float32 is off by 5e-5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Update:
    """One row's step: its learning rate now, how many steps it has taken before, and its trainer settings."""

    learning_rate: float
    taken: int
    max_grad_norm: float
    weight_decay: float


class StackedAdamW:
    """The optimizer's moments for (slots, n) weights."""

    def __init__(self, weights: Tensor, grads: Tensor) -> None:
        self.weights, self.grads = weights, grads
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)

    def reset(self, slot: int) -> None:
        self.mean[slot] = 0
        self.square[slot] = 0

    def move(self, source: int, to: int) -> None:
        self.mean[to] = self.mean[source]
        self.square[to] = self.square[source]

    @torch.no_grad()
    def step(self, updates: Sequence[Update]) -> None:
        """Updates the first len(updates) rows from their gradients, and clears the gradients."""
        rows = slice(0, len(updates))
        weights, grads, mean, square = self.weights[rows], self.grads[rows], self.mean[rows], self.square[rows]
        self._clip(grads, [update.max_grad_norm for update in updates])
        if any(update.weight_decay for update in updates):
            weights.mul_(self._column([1 - u.learning_rate * u.weight_decay for u in updates]))
        mean.mul_(BETA1).add_(grads, alpha=1 - BETA1)
        square.mul_(BETA2).addcmul_(grads, grads, value=1 - BETA2)
        rate = self._column([u.learning_rate / (1 - BETA1 ** (u.taken + 1)) for u in updates])
        root = self._column([math.sqrt(1 - BETA2 ** (u.taken + 1)) for u in updates])
        weights.sub_(rate * mean / ((square.sqrt() / root).add_(EPSILON)))
        grads.zero_()

    def _clip(self, grads: Tensor, limits: Sequence[float]) -> None:
        """Scales each row down to its own limit; 0 does not clip. A row never sees its neighbours' norm."""
        limit = self._column([value or math.inf for value in limits])
        norm = torch.linalg.vector_norm(grads, dim=1, keepdim=True)
        grads.mul_((limit / (norm + 1e-6)).clamp(max=1.0))  # 1e-6: torch's clip_grad_norm_

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=self.weights.dtype).to(self.weights.device, non_blocking=True)[:, None]
