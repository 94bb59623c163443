"""Many LoRA adapters on one frozen model: stacked weights, one forward and backward for all of them.

The adapters' parameters are disjoint, so the gradient of the sum of their losses is each one's own gradient. All
parameters of an adapter are one row of a flat matrix; what the layers see are views of it.
"""

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from stages.models.adapter_checks import get_peft_name


class SlotLayout(Protocol):
    """A division of the rows of a pass among the slots."""

    @property
    def count(self) -> int:
        """Number of rows of the pass, or of parts of it that are equally long."""
        ...

    def add(self, y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        """Add each slot's B·A on its own part of x to y; a (slots, rank, in), b (slots, out, rank).

        scale (slots, 1, 1) is the adapters' own; weights from `set_weights` hold it already.
        """
        ...


@dataclass(frozen=True)
class SlotRows:
    """A batch whose rows belong to the slots in any number and order: the layout for answering."""

    places: Tensor  # (slots, most rows of a slot): the row at each place; row 0 where a slot has fewer
    rows: Tensor  # (rows,): the place of each row in the flat `places`

    @classmethod
    def of(cls, slots: Sequence[int], count: int, device: torch.device) -> "SlotRows":
        """Make the layout of a batch whose rows belong to these of `count` slots."""
        owned = [[row for row, slot in enumerate(slots) if slot == own] for own in range(count)]
        most = max(map(len, owned))
        places = [rows + [0] * (most - len(rows)) for rows in owned]
        place_of = {row: slot * most + place for slot, rows in enumerate(owned) for place, row in enumerate(rows)}
        order = [place_of[row] for row in range(len(slots))]
        return cls(torch.tensor(places, device=device), torch.tensor(order, device=device))

    @property
    def count(self) -> int:
        return len(self.rows)

    def add(self, y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        """x (rows, length, in), y (rows, length, out); a and b from `set_weights`."""
        spread = x[self.places].flatten(1, 2)  # (slots, places · length, in)
        grown = torch.bmm(torch.bmm(spread, a.transpose(1, 2)), b.transpose(1, 2))
        return y + grown.view(-1, *y.shape[1:])[self.rows]


class StackedLinear(nn.Module):
    """A frozen linear layer plus each slot's own scaled B·A on its own tokens."""

    def __init__(self, base: nn.Linear, name: str, stack: "LoraStack") -> None:
        super().__init__()
        self.base, self.name = base, name
        self.stack = weakref.ref(stack)  # a cycle would keep the stack's memory until the next collection
        self.a: Tensor | None = None  # (slots, rank, in) of this pass
        self.b: Tensor | None = None  # (slots, out, rank)

    def forward(self, x: Tensor) -> Tensor:
        """x (rows, length, in) → (rows, length, out), laid out as the stack's layout says.

        A model may give the rows' tokens one after the other: (rows · length, in), as OPT does.
        """
        y: Tensor = self.base(x)
        stack = self.stack()
        if self.a is None or self.b is None or stack is None or stack.layout is None:
            return y
        rows, shape = stack.layout.count, y.shape
        if x.dim() == 2:
            x, y = x.view(rows, -1, x.shape[-1]), y.view(rows, -1, shape[-1])
        return stack.layout.add(y, x, self.a, self.b, stack.scale[: len(self.b)]).view(shape)


class LoraStack:
    """`slots` adapters of one rank on target layers of a model. A context manager: the model is restored at the end.

    weights, grads, and the optimizer's moments are (slots, n) with one row per adapter.
    """

    def __init__(self, network: nn.Module, targets: Sequence[str], *, rank: int, slots: int) -> None:
        self.network, self.targets, self.rank = network, list(targets), rank
        self.layout: SlotLayout | None = None
        wanted, parts = set(targets), network.named_modules()
        linear = [(part, name) for name, part in parts if name in wanted and isinstance(part, nn.Linear)]
        self.layers = [StackedLinear(part, name, self) for part, name in linear]
        width = sum(rank * (part.in_features + part.out_features) for part, _ in linear)
        first = next(each for each in network.parameters() if each.is_floating_point())  # others are codes
        self.device = first.device
        dtype = first.dtype if first.dtype in (torch.float32, torch.float64) else torch.float32
        self.weights = torch.zeros(slots, width, dtype=dtype, device=self.device)
        self.scale = torch.ones(slots, 1, 1, dtype=dtype, device=self.device)

    @cached_property
    def grads(self) -> Tensor:
        """The gradients (slots, n), allocated on first use: answering needs none."""
        return torch.zeros_like(self.weights)

    def __enter__(self) -> "LoraStack":
        for layer in self.layers:
            self.network.set_submodule(layer.name, layer)
        return self

    def __exit__(self, *error: object) -> None:
        for layer in self.layers:
            self.network.set_submodule(layer.name, layer.base)

    def views(self, rows: Tensor) -> Iterator[tuple[StackedLinear, Tensor, Tensor]]:
        """Yield (layer, A (k, rank, in), B (k, out, rank)) as views of flat rows (k, n)."""
        start = 0
        for layer in self.layers:
            middle = start + self.rank * layer.base.in_features
            end = middle + self.rank * layer.base.out_features
            down, up = rows[:, start:middle], rows[:, middle:end]
            yield layer, down.view(len(rows), self.rank, -1), up.view(len(rows), -1, self.rank)
            start = end

    def set_weights(self, slots: int, layout: SlotLayout) -> None:
        """Put the first `slots` rows into the layers for passes without gradients, scaled and cast once for all."""
        self.layout = layout
        for layer, a, b in self.views(self.weights[:slots]):
            own = layer.base.weight.dtype
            dtype = own if own.is_floating_point else a.dtype
            layer.a, layer.b = a.to(dtype), (b * self.scale[:slots]).to(dtype)

    def bind_gradients(self, slots: int) -> None:
        """Put the first `slots` rows into the layers, as leaves whose gradients land in `grads`.

        Rows that are bound already stay so: views that were made once serve all steps.
        """
        first = self.layers[0].a
        if first is not None and first.requires_grad and len(first) == slots:
            return
        grads = self.views(self.grads[:slots])
        for (layer, a, b), (_, grad_a, grad_b) in zip(self.views(self.weights[:slots]), grads, strict=True):
            layer.a, layer.b = a.detach().requires_grad_(), b.detach().requires_grad_()
            layer.a.grad, layer.b.grad = grad_a, grad_b

    def init_weights(self, seed: int) -> Tensor:
        """Draw a fresh adapter (n,) on the CPU, with the same numbers as peft draws from this seed.

        For each layer, in the model's order, peft draws A, B and A once more, and sets B to zero.
        """
        generator = torch.Generator().manual_seed(seed)
        row = torch.zeros(self.weights.shape[1], dtype=self.weights.dtype)
        for layer, a, _ in self.views(row[None]):
            down, up = torch.empty(self.rank, layer.base.in_features), torch.empty(layer.base.out_features, self.rank)
            for weight in (down, up, down):
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            dtype = layer.base.weight.dtype  # peft rounds its draws to the base's precision before it widens them
            a[0].copy_(down.to(dtype if dtype.is_floating_point else a.dtype))
        return row

    def start_slot(self, slot: int, row: Tensor, scale: float) -> None:
        """Begin a job in a slot with these weights."""
        self.weights[slot].copy_(row)
        self.scale[slot] = scale

    def get_peft_state(self, row: Tensor) -> dict[str, Tensor]:
        """Return an adapter (n,) under peft's names, on the CPU."""
        found = {}
        for layer, a, b in self.views(row.cpu()[None]):
            found[get_peft_name(layer.name, "A")] = a[0].clone()
            found[get_peft_name(layer.name, "B")] = b[0].clone()
        return found

    def load_slot(self, slot: int, state: Mapping[str, Tensor], scale: float) -> None:
        """Put an adapter under peft's names into a slot."""
        for layer, a, b in self.views(self.weights[slot : slot + 1]):
            a[0].copy_(state[get_peft_name(layer.name, "A")])
            b[0].copy_(state[get_peft_name(layer.name, "B")])
        self.scale[slot] = scale

    def copy_slot(self, source: int, to: int) -> None:
        """Copy a slot over another, so that the slots in use stay the first ones."""
        self.weights[to] = self.weights[source]
        self.scale[to] = self.scale[source]
