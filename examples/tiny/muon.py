"""Muon in fp32 (Keller Jordan, https://kellerjordan.github.io/posts/muon/); torch's own works in bf16, slow here.

Simplified: no weight-decay groups, one learning-rate scale (sqrt of the aspect ratio), matrices only.
"""

from collections.abc import Iterable

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz iteration, from the post
ITERATIONS = 5


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values between about 0.7 and 1.2; (rows, columns)."""
    tall = matrix.shape[0] > matrix.shape[1]
    estimate: torch.Tensor = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    first, second, third = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = estimate @ estimate.T
        estimate = first * estimate + (second * gram + third * gram @ gram) @ estimate
    return estimate.T if tall else estimate


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for the matrices inside the blocks (not embeddings)."""

    def __init__(
        self, parameters: Iterable[torch.Tensor], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, float]) -> None:
        state = self.state[parameter]
        velocity = state.setdefault("velocity", torch.zeros_like(parameter))
        velocity.lerp_(gradient, 1 - group["momentum"])
        direction = orthogonalise(torch.lerp(gradient, velocity, group["momentum"]))
        scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-group["lr"] * scale)
