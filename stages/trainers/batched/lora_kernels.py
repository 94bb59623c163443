"""The low-rank products of many adapters, each on its own positions of a packed pass: three kernels, one result.

Each adds every slot's scaled B·A·x to the base layer's output. a (slots, rank, in), b (slots, out, rank), scale
(slots, 1, 1); x (1, total, in), y (1, total, out).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm

from stages.trainers.batched.packing import Packing

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Packing], Tensor]


def _add_naive(y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: Tensor, packing: Packing) -> Tensor:
    """Row by row, in any precision: what the others are compared with."""
    parts = []
    for group in packing.padded_groups:
        for slot, row in zip(group.slots, group.take(x[0]), strict=True):
            parts.append(row @ a[slot].to(x.dtype).T @ (b[slot] * scale[slot]).to(x.dtype).T)
    out = y.clone()
    out[0, : packing.used] += torch.cat(parts)
    return out


class _AddBmm(torch.autograd.Function):
    """Rows of similar length at once, as batched products of views: the CPU's kernel.

    The products add to y in place, and the gradients of a and b straight to their .grad. Autograd
    would fill a zero stack for each layer and pass, however few of its slots had rows.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: Tensor, packing: Packing) -> Tensor:
        slots = packing.group_slots
        down = a.index_select(0, slots).to(x.dtype)  # (rows, rank, in)
        up = b.index_select(0, slots).mul_(scale.index_select(0, slots)).to(x.dtype)  # (rows, out, rank)
        inner = x.new_empty(x.shape[1], a.shape[1])
        first = 0
        for group in packing.padded_groups:
            rows = slice(first, first + len(group.slots))
            torch.bmm(group.take(x[0]), down[rows].transpose(1, 2), out=group.take(inner))
            group.take(y[0]).baddbmm_(group.take(inner), up[rows].transpose(1, 2))
            first = rows.stop
        ctx.mark_dirty(y)
        ctx.save_for_backward(x, inner, down, up)
        ctx.stack = a, b, scale, packing
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, down, up = ctx.saved_tensors
        a, b, scale, packing = ctx.stack
        slots, grad = packing.group_slots, grads[0].contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        if grad_x is not None:
            grad_x[0, packing.used :] = 0  # the filling
        grad_a, grad_b = torch.empty_like(down), torch.empty_like(up)
        first = 0
        for group in packing.padded_groups:
            rows = slice(first, first + len(group.slots))
            own = group.take(grad[0])
            back = torch.bmm(own, up[rows])  # (rows, length, rank)
            torch.bmm(back.transpose(1, 2), group.take(x[0]), out=grad_a[rows])
            torch.bmm(own.transpose(1, 2), group.take(inner), out=grad_b[rows])
            if grad_x is not None:
                torch.bmm(back, down[rows], out=group.take(grad_x[0]))
            first = rows.stop
        a.grad.index_add_(0, slots, grad_a.to(a.dtype))
        b.grad.index_add_(0, slots, grad_b.to(b.dtype) * scale.index_select(0, slots))
        return grad, grad_x, None, None, None, None


def _add_grouped_mm(y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: Tensor, packing: Packing) -> Tensor:
    """All slots at once, spans of any length: the GPU's kernel. Spans and rank are multiples of 8; not in float64."""
    if len(packing.slots) < len(a):  # a slice of a whole stack would cost its gradient a stack of zeros
        window = slice(packing.slots[0], packing.slots[-1] + 1)
        a, b, scale = a[window], b[window], scale[window]
    down, up = a.to(x.dtype), (b * scale).to(x.dtype)
    inner = grouped_mm(x[0], down.transpose(1, 2), offs=packing.offsets)
    return y + grouped_mm(inner, up.transpose(1, 2), offs=packing.offsets)[None]


KERNELS: dict[str, Kernel] = {"naive": _add_naive, "bmm": _AddBmm.apply, "grouped_mm": _add_grouped_mm}


@dataclass(frozen=True)
class PackedLayout:
    """The layout of a packed pass for the stacked layers."""

    packing: Packing

    @property
    def count(self) -> int:
        return 1

    def add(self, y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        return KERNELS[self.packing.kernel](y, x, a, b, scale, self.packing)
