"""Many sequences in one forward pass: which cell of `[1, total]` belongs to whom.

Rows of similar length lie together as rectangles, so that attention and low-rank products are batched products of
views. A row's numbers do not depend on its neighbours (invariance.py): its width depends on its own length alone, and
a pass is filled up to a number of cells of which each is computed alike. Where each slot's cells must be one span
(`grouped`), rows keep the order of the slots, and attention gathers. The pads that the official recipe learns lie
behind the sequences, in rectangles of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor

from stages.tokens.tokenization import Tokens

_T = TypeVar("_T", int, float)
_WIDTHS_PER_OCTAVE = 4  # widths of rectangles are 16, 20, 24, 28, 32, 40 …: at most a quarter of a row is filling
ALIGNMENT = 8  # the grouped kernel wants each slot's span to be a multiple of this, a CPU's products all rows together


@dataclass(frozen=True)
class PackedSequence:
    """One sequence in a pass: whose it is, and the share of one of its targets in its job's mean loss."""

    slot: int
    tokens: Tokens
    share: float = 1.0

    @property
    def length(self) -> int:
        return len(self.tokens.ids)

    @property
    def pads(self) -> int:
        return len(self.tokens.pads.positions) if self.tokens.pads else 0

    @property
    def cells(self) -> int:
        return self.length + self.pads

    @property
    def shape(self) -> tuple[int, int]:
        """By which rows are put together."""
        return self.pads, self.length


@dataclass(frozen=True)
class PaddedGroup:
    """Rows of `length` cells each: a view where they lie together, else gathered from `cells`."""

    slots: Sequence[int]  # of each row
    length: int
    cells: slice | Tensor  # of the pass; (rows · length,) where it is a tensor
    known: Tensor | None = None  # the same tensor on the CPU

    def take(self, x: Tensor) -> Tensor:
        """(total, ...) → (rows, length, ...)"""
        own = x.index_select(0, self.cells) if isinstance(self.cells, Tensor) else x[self.cells]
        return own.view(len(self.slots), self.length, *x.shape[1:])


@dataclass(frozen=True)
class AttentionBlock:
    """Rows of similar length, and their pads, if any: pads of row i see the sequence of row i where `seen` says so."""

    sequences: PaddedGroup
    pads: PaddedGroup | None = None
    seen: Tensor | None = None  # (rows, 1, 1, length) bool


@dataclass(frozen=True)
class Packing:
    """The layout of one pass: `total` cells, filling included."""

    rows: Sequence[PackedSequence]
    device: torch.device
    path: str = "bmm"  # how the slots' low-rank products are taken: a key of lora_kernels.KERNELS
    ragged: bool = False  # attention by torch's kernel for ragged rows, which only some GPUs have

    @property
    def by_slot(self) -> bool:
        """Whether each slot's cells are one span. Else rows are ordered by length."""
        return self.path == "grouped"

    @cached_property
    def ordered(self) -> list[PackedSequence]:
        """The rows in the order of their cells."""
        return sorted(self.rows, key=(lambda row: row.slot) if self.by_slot else (lambda row: row.shape))

    @cached_property
    def groups(self) -> list[list[int]]:
        """Places (in `ordered`) of rows of similar length, shortest first."""
        order = sorted(range(len(self.rows)), key=lambda i: self.ordered[i].shape)
        found: list[list[int]] = []
        for i in order:
            if not found or not _alike(self.ordered[found[-1][0]], self.ordered[i]):
                found.append([])
            found[-1].append(i)
        return found

    @cached_property
    def starts(self) -> list[tuple[int, int]]:
        """First cell of each row's sequence and of its pads, in the order of `ordered`."""
        found: list[tuple[int, int]] = []
        if self.by_slot:
            ends = dict(zip(self.slots, accumulate(self.spans), strict=True))
            places = {slot: ends[slot] - span for slot, span in zip(self.slots, self.spans, strict=True)}
            for row in self.ordered:
                start = places[row.slot]
                found.append((start, start + row.length))
                places[row.slot] = start + row.cells
            return found
        start = 0
        for group in self.groups:
            length, pads = self._size(group)
            behind = start + length * len(group)
            found += [(start + place * length, behind + place * pads) for place in range(len(group))]
            start = behind + pads * len(group)
        return found

    @cached_property
    def slots(self) -> list[int]:
        """Slots that have rows, in order."""
        return sorted({row.slot for row in self.rows})

    @cached_property
    def spans(self) -> list[int]:
        """Cells of each of the slots where they lie together, filled up to the kernel's multiple."""
        sizes = dict.fromkeys(self.slots, 0)
        for row in self.rows:
            sizes[row.slot] += row.cells
        return [align(size) for size in sizes.values()]

    @cached_property
    def taken(self) -> int:
        """Cells of the rectangles; behind them there is only filling."""
        return sum(self.spans) if self.by_slot else sum(len(group) * sum(self._size(group)) for group in self.groups)

    @property
    def total(self) -> int:
        return align(self.taken)

    def _size(self, group: Sequence[int]) -> tuple[int, int]:
        """Cells of a sequence, filling included, and pads behind it: the same for all rows of a group."""
        first = self.ordered[group[0]]
        return get_padded_width(first.length), first.pads

    # ---- what each cell holds: (total,) on the CPU

    def _spread(self, values: Sequence[Sequence[_T]], fill: _T) -> Tensor:
        """One value for each token and pad of every row, `fill` elsewhere."""
        flat = [fill] * self.total
        for row, (start, behind), own in zip(self.ordered, self.starts, values, strict=True):
            flat[start : start + row.length] = own[: row.length]
            flat[behind : behind + row.pads] = own[row.length :]
        return torch.tensor(flat, dtype=torch.float64 if isinstance(fill, float) else torch.int64)

    @cached_property
    def ids(self) -> Tensor:
        return self._spread([[cell[0] for cell in row.tokens.cells] for row in self.ordered], 0)

    @cached_property
    def positions(self) -> Tensor:
        return self._spread([[cell[1] for cell in row.tokens.cells] for row in self.ordered], 0)

    @cached_property
    def targets(self) -> Tensor:
        """The token that each cell must predict, -100 where there is no loss."""
        return self._spread([[cell[2] for cell in row.tokens.cells] for row in self.ordered], -100)

    @cached_property
    def weights(self) -> Tensor:
        """Share of each cell's target in its job's mean loss."""
        return self._spread([[cell[3] * row.share for cell in row.tokens.cells] for row in self.ordered], 0.0)

    @cached_property
    def owners(self) -> Tensor:
        """The slot of each cell that is no filling."""
        return self._spread([[row.slot] * row.cells for row in self.ordered], 0)

    @cached_property
    def chosen(self) -> tuple[Tensor, int]:
        """Cells that have a target, the last of them again to fill up to a multiple of `ALIGNED`; how many count."""
        cells = (self.targets >= 0).nonzero()[:, 0]
        return torch.cat([cells, cells[-1:].expand(align(len(cells)) - len(cells))]), len(cells)

    @property
    def inputs(self) -> dict[str, Any]:
        """What the model is called with, the packing aside. No mask: `attend` knows who sees whom."""
        return {
            "input_ids": self.put(self.ids)[None],
            "position_ids": self.put(self.positions)[None],
            "use_cache": False,
        }

    def pieces(self, values: Tensor) -> list[Tensor]:
        """The values (total, ...) of each sequence, without its pads, in the order of `ordered`."""
        return [values[start : start + row.length] for row, (start, _) in zip(self.ordered, self.starts, strict=True)]

    # ---- for the kernels, on the device

    def put(self, values: Tensor) -> Tensor:
        """To the device, without waiting for it."""
        return values.to(self.device, non_blocking=True)

    @cached_property
    def blocks(self) -> list[AttentionBlock]:
        return [self._block(group) for group in self.groups]

    @cached_property
    def rectangles(self) -> list[PaddedGroup]:
        """The blocks' parts, one after the other."""
        return [part for block in self.blocks for part in (block.sequences, block.pads) if part]

    @cached_property
    def members(self) -> Tensor:
        """The slot of each row of the rectangles."""
        return self.put(torch.tensor([slot for rectangle in self.rectangles for slot in rectangle.slots]))

    def _block(self, group: Sequence[int]) -> AttentionBlock:
        rows, (length, pads) = [self.ordered[i] for i in group], self._size(group)
        sequences = self._rectangle(rows, length, [(self.starts[i][0], self.ordered[i].length) for i in group])
        if not pads:
            return AttentionBlock(sequences)
        seen = torch.arange(length) < torch.tensor([row.length for row in rows])[:, None, None, None]
        places = [(self.starts[i][1], self.ordered[i].pads) for i in group]
        return AttentionBlock(sequences, self._rectangle(rows, pads, places), self.put(seen))

    def _rectangle(self, rows: Sequence[PackedSequence], length: int, places: Sequence[tuple[int, int]]) -> PaddedGroup:
        """Filling is the row's own: behind it where rows lie together, else its first cell once more."""
        slots, first = [row.slot for row in rows], places[0][0]
        if not self.by_slot:
            return PaddedGroup(slots, length, slice(first, first + length * len(rows)))
        cells = torch.tensor([start + (i if i < own else 0) for start, own in places for i in range(length)])
        return PaddedGroup(slots, length, self.put(cells), cells)

    @cached_property
    def back(self) -> Tensor | None:
        """Place of each cell among the rectangles' cells, one rectangle after the other; None: they are in order.

        Filling of a span takes the first cell of its slot.
        """
        if not self.by_slot:
            return None
        cells = torch.cat([rectangle.known for rectangle in self.rectangles if rectangle.known is not None])
        firsts = torch.tensor(list(accumulate(self.spans, initial=0))[:-1]).repeat_interleave(torch.tensor(self.spans))
        order = torch.arange(len(cells))  # of a cell that is there more than once the first place is its own
        places = torch.full((self.total,), -1).scatter_reduce_(0, cells, order, "amin", include_self=False)
        return self.put(torch.where(places >= 0, places, places[firsts]))

    @cached_property
    def offsets(self) -> Tensor:
        """End of each slot's span, as grouped_mm wants them: int32."""
        return self.put(torch.tensor(self.spans).cumsum(0).to(torch.int32))

    @cached_property
    def boundaries(self) -> tuple[Tensor, int]:
        """Where each row begins and the last ends, as varlen_attn wants them (int32), and the longest row."""
        starts = torch.tensor([start for start, _ in self.starts] + [self.total], dtype=torch.int32)
        return self.put(starts), int(starts.diff().max())


def _alike(first: PackedSequence, other: PackedSequence) -> bool:
    """Whether the two may share a block."""
    return other.pads == first.pads and get_padded_width(other.length) == get_padded_width(first.length)


def align(cells: int) -> int:
    """So many cells and the filling that makes them a multiple of `ALIGNED`."""
    return -(-cells // ALIGNMENT) * ALIGNMENT


def get_padded_width(length: int) -> int:
    """Cells of a rectangle's row for a sequence so long: the next of a fixed scale."""
    step = 2 ** max(0, (length - 1).bit_length() - 1) // _WIDTHS_PER_OCTAVE or 1
    return -(-length // step) * step
