"""AdamW for a stack of adapters: each row has its own learning rate, step count, clip and decay.

The numbers are those of torch.optim.AdamW and clip_grad_norm_ on the adapter alone (betas .9 and .999, eps 1e-8, the
fused kernel: HF Trainer's defaults). Row by row is also the fast way on a CPU, whose cache holds a row but no stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Update:
    """One row's step: its current learning rate, and its trainer settings."""

    learning_rate: float
    max_grad_norm: float
    weight_decay: float


class StackedAdamW:
    """An optimizer over the rows of (slots, n) weights, each a parameter group of its own."""

    def __init__(self, weights: Tensor, grads: Tensor) -> None:
        self.weights, self.grads = weights, grads
        self.leaves = [row.detach().requires_grad_() for row in weights]
        self.optimizer = torch.optim.AdamW([{"params": [leaf]} for leaf in self.leaves], fused=True)

    def reset(self, slot: int) -> None:
        """Reset the row's moments and step count."""
        self.optimizer.state.pop(self.leaves[slot], None)

    def move(self, source: int, to: int) -> None:
        """Move the moments and step count of row `source` to row `to`, and reset `source`."""
        if source != to:
            self.optimizer.state[self.leaves[to]] = self.optimizer.state.pop(self.leaves[source])

    def get_moments(self, slot: int) -> tuple[Tensor, Tensor]:
        """Return the row's first and second moments (n,)."""
        state = self.optimizer.state[self.leaves[slot]]
        return state["exp_avg"], state["exp_avg_sq"]

    def set_moments(self, slot: int, first: Tensor, second: Tensor, steps: int) -> None:
        """Put the row where it was after so many steps."""
        leaf = self.leaves[slot]
        first, second = (moment.to(leaf.device) for moment in (first, second))
        count = torch.tensor(float(steps), device=leaf.device)  # as fused AdamW counts
        self.optimizer.state[leaf] = {"step": count, "exp_avg": first, "exp_avg_sq": second}

    def step(self, updates: Sequence[Update]) -> None:
        """Update the first len(updates) rows from their gradients, and clear the gradients."""
        for slot, (leaf, group) in enumerate(zip(self.leaves, self.optimizer.param_groups, strict=True)):
            leaf.grad = self.grads[slot] if slot < len(updates) else None  # None: the row rests
            if slot < len(updates):
                update = updates[slot]
                group["lr"], group["weight_decay"] = update.learning_rate, update.weight_decay
                if update.max_grad_norm > 0:  # 0: no clipping, as in HF Trainer
                    torch.nn.utils.clip_grad_norm_([leaf], update.max_grad_norm)
        self.optimizer.step()
        self.grads[: len(updates)].zero_()
