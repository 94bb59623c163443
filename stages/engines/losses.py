"""Cross-entropy of chosen hidden states, without ever holding all their logits."""

from typing import Any

import torch
from torch import Tensor, nn

CHUNK = {"cpu": 2**19, "cuda": 2**28}  # logits held at a time: what a cache holds, or a GB in float32


class ChunkedCrossEntropy(torch.autograd.Function):
    """Per-token losses (n,) of hidden states (n, hidden) under an output layer that is not trained.

    The gradient with respect to the hidden states is made in the forward pass, chunk by chunk, already times `weight`.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: nn.Linear, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(weighted sum of the losses, losses). The losses carry no gradient."""
        grad = torch.empty_like(hidden)
        losses = torch.empty(hidden.shape[0], dtype=wide(hidden.dtype), device=hidden.device)
        size = chunk_rows(head, hidden.device)
        for start in range(0, hidden.shape[0], size):
            rows = slice(start, start + size)
            chances = head(hidden[rows]).to(losses.dtype).log_softmax(-1)
            place = target[rows, None]
            losses[rows] = -chances.gather(1, place)[:, 0]
            share = chances.exp_()
            share.scatter_add_(1, place, -torch.ones_like(place, dtype=share.dtype))
            grad[rows] = share.mul_(weight[rows, None]).to(hidden.dtype) @ head.weight
            del chances, share  # else they live on beside the next chunk's
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(losses)
        return (losses * weight).sum(), losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.saved_tensors[0] * grads[0], None, None, None


def chunk_rows(head: nn.Linear, device: torch.device) -> int:
    """Hidden states whose logits are held at a time."""
    return max(1, CHUNK.get(device.type, 2**19) // len(head.weight))


def wide(dtype: torch.dtype) -> torch.dtype:
    """The precision in which losses are taken: float64 for a float64 model, else float32."""
    return dtype if dtype == torch.float64 else torch.float32
