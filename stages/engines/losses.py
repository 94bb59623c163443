"""Cross-entropy of chosen hidden states, without ever holding all their logits."""

from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 4096  # hidden states whose logits are held at a time


class ChunkedCrossEntropy(torch.autograd.Function):
    """Per-token losses (n,) of hidden states (n, hidden) under an output layer that is not trained.

    The gradient with respect to the hidden states is made in the forward pass, chunk by chunk, already times `weight`.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: nn.Linear, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(weighted sum of the losses, losses). The losses carry no gradient."""
        grad, losses = torch.empty_like(hidden), []
        for start in range(0, hidden.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            logits = head(hidden[rows])
            logits = logits if logits.dtype == torch.float64 else logits.float()
            normaliser = logits.logsumexp(-1, keepdim=True)
            place = target[rows, None]
            losses.append((normaliser - logits.gather(1, place))[:, 0])
            share = logits.sub_(normaliser).exp_()
            share.scatter_add_(1, place, -torch.ones_like(place, dtype=share.dtype))
            grad[rows] = share.mul_(weight[rows, None]).to(hidden.dtype) @ head.weight
        ctx.save_for_backward(grad)
        found = torch.cat(losses)
        ctx.mark_non_differentiable(found)
        return (found * weight).sum(), found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.saved_tensors[0] * grads[0], None, None, None
