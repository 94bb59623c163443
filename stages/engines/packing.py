"""Many sequences as one row of tokens, and attention that keeps them apart.

Tokens of one slot (one job's adapter) lie together, slot after slot: `[1, total]`. Attention runs per group of
sequences of similar length, so that padding costs little; the model's own code is not touched.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface

from stages.engines.text import Tokens
from stages.failures import BadConfig

ATTENTION = "seal_packed"
LENGTH_RATIO = 1.3  # longest to shortest sequence of an attention group: at most 30 % of a group's columns are padding


@dataclass(frozen=True)
class Packing:
    """Which token belongs to which sequence and slot. `rows[s]` are the sequences of slot s in this pass."""

    rows: Sequence[Sequence[Tokens]]
    device: torch.device
    path: str = "loop"  # how the slots' low-rank products are taken: a key of PATHS

    def delta(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Each slot's B·A on its own tokens. x (1, total, in), a (slots, rank, in), b (slots, out, rank)."""
        return PATHS[self.path](x[0], a, b, self)[None]

    @property
    def multiple(self) -> int:
        """Each slot's span is filled up to a multiple of this with tokens that carry no loss."""
        return 8 if self.path == "grouped" else 1

    @cached_property
    def spans(self) -> list[int]:
        """Tokens of each slot, filling included."""
        sizes = [sum(len(sequence.ids) for sequence in slot) for slot in self.rows]
        return [-(-size // self.multiple) * self.multiple for size in sizes]

    @cached_property
    def total(self) -> int:
        return sum(self.spans)

    @cached_property
    def starts(self) -> list[tuple[int, Tokens]]:
        """(first position, sequence) of every sequence."""
        found, base = [], 0
        for slot, span in zip(self.rows, self.spans, strict=True):
            place = base
            for sequence in slot:
                found.append((place, sequence))
                place += len(sequence.ids)
            base += span
        return found

    def spread(self, values: Sequence[Sequence[int]], fill: int) -> Tensor:
        """One value per token of every sequence, `fill` elsewhere: (total,) on the device."""
        flat = [fill] * self.total
        for (start, _), row in zip(self.starts, values, strict=True):
            flat[start : start + len(row)] = row
        return torch.tensor(flat).to(self.device, non_blocking=True)

    @cached_property
    def ids(self) -> Tensor:
        return self.spread([sequence.ids for _, sequence in self.starts], 0)

    @cached_property
    def positions(self) -> Tensor:
        return self.spread([range(len(sequence.ids)) for _, sequence in self.starts], 0)

    @property
    def inputs(self) -> dict[str, Any]:
        """What the model is called with, the packing aside. No mask: `attend` knows who sees whom."""
        return {"input_ids": self.ids[None], "position_ids": self.positions[None], "use_cache": False}

    @cached_property
    def targets(self) -> Tensor:
        """The token that each position must predict, -100 where there is no loss: (total,)."""
        return self.spread([[*sequence.labels[1:], -100] for _, sequence in self.starts], -100)

    @cached_property
    def owners(self) -> Tensor:
        """The slot of each position: (total,)."""
        spans = torch.tensor(self.spans)
        return torch.repeat_interleave(torch.arange(len(self.spans)), spans).to(self.device)

    @cached_property
    def offsets(self) -> Tensor:
        """End of each slot's span, as grouped_mm wants them: int32 (slots,)."""
        return torch.tensor(self.spans).cumsum(0).to(self.device, torch.int32)

    @cached_property
    def slot_grid(self) -> tuple[Tensor, Tensor]:
        """(gather, scatter): positions as (slots, longest span), and back. Fill repeats the slot's own first token."""
        return self._grid(range(len(self.spans)), self._bounds)

    @cached_property
    def _bounds(self) -> list[tuple[int, int]]:
        """(start, length) of every slot."""
        ends = torch.tensor(self.spans).cumsum(0).tolist()
        return [(end - span, span) for end, span in zip(ends, self.spans, strict=True)]

    def _grid(self, chosen: Sequence[int], bounds: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        spans = [torch.arange(start, start + length) for start, length in (bounds[i] for i in chosen)]
        grid = pad_sequence(spans, batch_first=True, padding_value=-1)
        real = (grid >= 0).flatten().nonzero()[:, 0]
        grid = torch.where(grid >= 0, grid, grid[:, :1])
        return grid.to(self.device), real.to(self.device)

    @cached_property
    def groups(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(gather (rows, longest), real cells, their positions) of each group of sequences of similar length."""
        bounds = [(start, len(sequence.ids)) for start, sequence in self.starts]
        order = sorted((i for i in range(len(bounds)) if bounds[i][1]), key=lambda i: bounds[i][1])
        found, first = [], 0
        while first < len(order):
            limit = LENGTH_RATIO * bounds[order[first]][1]
            last = next((i for i in range(first, len(order)) if bounds[order[i]][1] > limit), len(order))
            grid, real = self._grid(order[first:last], bounds)
            found.append((grid, real, grid.flatten()[real]))
            first = last
        return found


def loop_delta(x: Tensor, a: Tensor, b: Tensor, packing: Packing) -> Tensor:
    """Slot by slot: the plain way, in any precision."""
    spans = torch.split(x, packing.spans)
    return torch.cat([span @ a[slot].T @ b[slot].T for slot, span in enumerate(spans)])


def bmm_delta(x: Tensor, a: Tensor, b: Tensor, packing: Packing) -> Tensor:
    """All slots at once, padded to the longest span: the CPU's way."""
    gather, scatter = packing.slot_grid
    inner = torch.bmm(x[gather], a.transpose(1, 2))  # (slots, longest, rank)
    return torch.bmm(inner, b.transpose(1, 2)).flatten(0, 1)[scatter]


def grouped_delta(x: Tensor, a: Tensor, b: Tensor, packing: Packing) -> Tensor:
    """All slots at once, ragged: the GPU's way. Spans and rank must be multiples of 8; there is no float64 kernel."""
    inner = grouped_mm(x, a.transpose(1, 2), offs=packing.offsets)
    return grouped_mm(inner, b.transpose(1, 2), offs=packing.offsets)


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor, Packing], Tensor]] = {
    "loop": loop_delta,
    "bmm": bmm_delta,
    "grouped": grouped_delta,
}


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function for packed tokens: causal, each sequence alone.

    query (1, heads, total, size), key and value (1, key heads, total, size) → (1, total, heads, size).
    """
    if packing is None or more.get("softcap") is not None:
        raise BadConfig("this architecture's attention cannot be packed; use --trainer peft")
    grouped = query.shape[1] != key.shape[1]
    mixed = query.new_zeros(query.shape[2], query.shape[1], query.shape[3])  # (total, heads, size)
    for grid, real, places in packing.groups:
        if sliding_window is not None and grid.shape[1] > sliding_window:
            raise BadConfig(f"a sequence is longer than the model's window of {sliding_window}; use --trainer peft")
        q, k, v = (tensor[0].transpose(0, 1)[grid].transpose(1, 2) for tensor in (query, key, value))
        out = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=grouped)
        mixed = mixed.index_copy(0, places, out.transpose(1, 2).flatten(0, 1)[real])
    return mixed[None], None


@contextmanager
def packed_attention(network: Any) -> Iterator[None]:
    """Within, the model's attention is `attend`; afterwards, also after an error, its own again."""
    own = network.config._attn_implementation
    AttentionInterface.register(ATTENTION, attend)
    network.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        network.set_attn_implementation(own)


@torch.no_grad()
def check_packable(network: Any) -> None:
    """Raises BadConfig unless each sequence's packed logits are its own, from the output layer on the last states."""
    rows = [Tokens((2, 3, 4, 5), 0), Tokens((6, 7, 2), 0)]  # two: a layer that is no attention could mix them
    packing = Packing([[row] for row in rows], network.device)
    plain = torch.cat([own_logits(network, row) for row in rows])
    with packed_attention(network):
        hidden = network.base_model(**packing.inputs, packing=packing).last_hidden_state[0]
    packed = network.get_output_embeddings()(hidden)
    tolerance = 1e-3 if plain.dtype in (torch.float32, torch.float64) else 0.1
    if not torch.allclose(plain, packed, rtol=tolerance, atol=tolerance * float(plain.abs().max())):
        raise BadConfig("this architecture cannot be trained packed (its logits differ); use --trainer peft")
    with torch.random.fork_rng():
        trained = own_logits(network.train(), rows[0])
        network.eval()
    if not torch.allclose(plain[: len(trained)], trained, rtol=1e-3, atol=1e-3 * float(plain.abs().max())):
        raise BadConfig("this model has dropout of its own, which cannot be trained packed; use --trainer peft")


def own_logits(network: Any, row: Tokens) -> Tensor:
    """The model's own logits of one sequence alone: (length, vocabulary)."""
    logits: Tensor = network(input_ids=torch.tensor([row.ids], device=network.device), use_cache=False).logits[0]
    return logits
