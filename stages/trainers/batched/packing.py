"""Packing: many sequences of many adapters in one forward pass, as one long row of `total` positions.

Sequences of similar length lie together as groups, padded to one width, so that attention and low-rank products are
batched products of views. A sequence's numbers do not depend on its neighbours (stages/checks/invariance.py): its
width follows from its own length alone, and a pass is filled up to a multiple of ALIGNMENT positions. The kernel
`grouped_mm` wants all positions of a slot in one span: then sequences keep the order of the slots, and attention
gathers its groups. End tokens that the official recipe trains on ("pads") lie behind the sequences, in groups of their
own. docs/batched-training.md has a drawing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor

from stages.models.device import get_widest_dtype
from stages.tokens.tokenization import Tokens

_T = TypeVar("_T", int, float)
_WIDTHS_PER_OCTAVE = 4  # widths are 16, 20, 24, 28, 32, 40 …: at most a quarter of a sequence's positions are filling
ALIGNMENT = 8  # grouped_mm wants spans of a multiple of this; a CPU's products want it of all positions together


@dataclass(frozen=True)
class PackedSequence:
    """A sequence in a pass, its adapter's slot, and the share of one target token in that adapter's mean loss."""

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
    def size(self) -> int:
        """Positions that the sequence takes, without filling."""
        return self.length + self.pads

    @property
    def shape(self) -> tuple[int, int]:
        """The sort key by which sequences are grouped."""
        return self.pads, self.length


@dataclass(frozen=True)
class PaddedGroup:
    """Rows of one padded `length`: a view where they lie together, else gathered from `positions`."""

    slots: Sequence[int]  # of each row
    length: int
    positions: slice | Tensor  # of the pass; (rows · length,) where it is a tensor
    on_cpu: Tensor | None = None  # the same tensor on the CPU

    def take(self, x: Tensor) -> Tensor:
        """Take the group's rows: (total, ...) → (rows, length, ...)"""
        own = x.index_select(0, self.positions) if isinstance(self.positions, Tensor) else x[self.positions]
        return own.view(len(self.slots), self.length, *x.shape[1:])


@dataclass(frozen=True)
class AttentionBlock:
    """A group of sequences and, if they have any, the group of their pads, each of which sees its own sequence."""

    sequences: PaddedGroup
    pads: PaddedGroup | None = None
    visible: Tensor | None = None  # (rows, 1, 1, length) bool: no filling


@dataclass(frozen=True)
class Packing:
    """The layout of one pass: `total` positions, filling included."""

    sequences: Sequence[PackedSequence]
    device: torch.device
    kernel: str = "bmm"  # of the low-rank products: a key of lora_kernels.KERNELS
    varlen: bool = False  # attention by torch's varlen kernel, which only some GPUs have

    @property
    def by_slot(self) -> bool:
        """True if each slot's positions are one span. Otherwise sequences are ordered by length."""
        return self.kernel == "grouped_mm"

    @cached_property
    def ordered(self) -> list[PackedSequence]:
        """The sequences in the order of their positions."""
        return sorted(self.sequences, key=(lambda each: each.slot) if self.by_slot else (lambda each: each.shape))

    @cached_property
    def groups(self) -> list[list[int]]:
        """Places (in `ordered`) of the sequences that share a width and a number of pads, shortest first."""
        found: dict[tuple[int, int], list[int]] = {}
        for i in sorted(range(len(self.ordered)), key=lambda i: self.ordered[i].shape):
            found.setdefault(self._get_size([i]), []).append(i)
        return list(found.values())

    @cached_property
    def starts(self) -> list[tuple[int, int]]:
        """First position of each sequence and of its pads, in the order of `ordered`."""
        found: list[tuple[int, int]] = []
        if self.by_slot:
            ends = dict(zip(self.slots, accumulate(self.spans), strict=True))
            free = {slot: ends[slot] - span for slot, span in zip(self.slots, self.spans, strict=True)}
            for each in self.ordered:
                start = free[each.slot]
                found.append((start, start + each.length))
                free[each.slot] = start + each.size
            return found
        start = 0
        for group in self.groups:
            length, pads = self._get_size(group)
            behind = start + length * len(group)
            found += [(start + place * length, behind + place * pads) for place in range(len(group))]
            start = behind + pads * len(group)
        return found

    @cached_property
    def slots(self) -> list[int]:
        """Slots that have sequences, in order."""
        return sorted({each.slot for each in self.sequences})

    @cached_property
    def spans(self) -> list[int]:
        """Positions of each slot if they are one span, filled up to the kernel's multiple."""
        sizes = dict.fromkeys(self.slots, 0)
        for each in self.sequences:
            sizes[each.slot] += each.size
        return [align(size) for size in sizes.values()]

    @cached_property
    def used(self) -> int:
        """Number of positions in groups; those after them are filling."""
        return (
            sum(self.spans) if self.by_slot else sum(len(group) * sum(self._get_size(group)) for group in self.groups)
        )

    @property
    def total(self) -> int:
        return align(self.used)

    def _get_size(self, group: Sequence[int]) -> tuple[int, int]:
        """Positions of a sequence, filling included, and its pads: the same for all of a group."""
        first = self.ordered[group[0]]
        return get_padded_width(first.length), first.pads

    # ---- what each position holds: (total,) on the CPU

    def _spread(self, values: Sequence[Sequence[_T]], fill: _T) -> Tensor:
        """One value for each token and pad of every sequence, `fill` elsewhere."""
        flat = [fill] * self.total
        for each, (start, behind), own in zip(self.ordered, self.starts, values, strict=True):
            flat[start : start + each.length] = own[: each.length]
            flat[behind : behind + each.pads] = own[each.length :]
        return torch.tensor(flat, dtype=torch.float64 if isinstance(fill, float) else torch.int64)

    @cached_property
    def input_ids(self) -> Tensor:
        return self._spread([[cell[0] for cell in each.tokens.cells] for each in self.ordered], 0)

    @cached_property
    def position_ids(self) -> Tensor:
        return self._spread([[cell[1] for cell in each.tokens.cells] for each in self.ordered], 0)

    @cached_property
    def targets(self) -> Tensor:
        """The token that each position must predict, -100 where there is no loss."""
        return self._spread([[cell[2] for cell in each.tokens.cells] for each in self.ordered], -100)

    @cached_property
    def weights(self) -> Tensor:
        """Share of each position's target in its adapter's mean loss."""
        return self._spread([[cell[3] * each.share for cell in each.tokens.cells] for each in self.ordered], 0.0)

    @cached_property
    def owners(self) -> Tensor:
        """The slot of each position that is not filling."""
        return self._spread([[each.slot] * each.size for each in self.ordered], 0)

    @cached_property
    def targeted(self) -> tuple[Tensor, int]:
        """Positions with a target, the last repeated up to a multiple of ALIGNMENT, and how many count."""
        found = (self.targets >= 0).nonzero()[:, 0]
        return torch.cat([found, found[-1:].expand(align(len(found)) - len(found))]), len(found)

    @property
    def inputs(self) -> dict[str, Any]:
        """The model's inputs, without the packing. No mask: `attention.attend` keeps sequences apart."""
        return {
            "input_ids": self.to_device(self.input_ids)[None],
            "position_ids": self.to_device(self.position_ids)[None],
            "use_cache": False,
        }

    def split(self, values: Tensor) -> list[Tensor]:
        """Split values (total, ...) into each sequence's own, without its pads, in the order of `ordered`."""
        pairs = zip(self.ordered, self.starts, strict=True)
        return [values[start : start + each.length] for each, (start, _) in pairs]

    # ---- for the kernels, on the device

    def to_device(self, values: Tensor) -> Tensor:
        """Copy to the device, CUDA's without waiting for it; float64 only where the device has it."""
        kept = values.to(get_widest_dtype(self.device)) if values.dtype == torch.float64 else values
        return kept.to(self.device, non_blocking=self.device.type == "cuda")

    @cached_property
    def blocks(self) -> list[AttentionBlock]:
        return [self._make_block(group) for group in self.groups]

    @cached_property
    def padded_groups(self) -> list[PaddedGroup]:
        """The groups of all blocks, one after the other."""
        return [part for block in self.blocks for part in (block.sequences, block.pads) if part]

    @cached_property
    def group_slots(self) -> Tensor:
        """The slot of each row of the padded groups."""
        return self.to_device(torch.tensor([slot for group in self.padded_groups for slot in group.slots]))

    def _make_block(self, group: Sequence[int]) -> AttentionBlock:
        members, (length, pads) = [self.ordered[i] for i in group], self._get_size(group)
        sequences = self._make_group(members, length, [(self.starts[i][0], self.ordered[i].length) for i in group])
        if not pads:
            return AttentionBlock(sequences)
        visible = torch.arange(length) < torch.tensor([each.length for each in members])[:, None, None, None]
        places = [(self.starts[i][1], self.ordered[i].pads) for i in group]
        return AttentionBlock(sequences, self._make_group(members, pads, places), self.to_device(visible))

    def _make_group(
        self, members: Sequence[PackedSequence], length: int, places: Sequence[tuple[int, int]]
    ) -> PaddedGroup:
        """Filling is the row's own: behind it where rows lie together, else its first position once more."""
        slots, first = [each.slot for each in members], places[0][0]
        if not self.by_slot:
            return PaddedGroup(slots, length, slice(first, first + length * len(members)))
        positions = torch.tensor([start + (i if i < own else 0) for start, own in places for i in range(length)])
        return PaddedGroup(slots, length, self.to_device(positions), positions)

    @cached_property
    def inverse(self) -> Tensor | None:
        """Place of each position among the padded groups', one group after the other; None: they are in order.

        Filling of a span takes the first position of its slot.
        """
        if not self.by_slot:
            return None
        gathered = torch.cat([group.on_cpu for group in self.padded_groups if group.on_cpu is not None])
        firsts = torch.tensor(list(accumulate(self.spans, initial=0))[:-1]).repeat_interleave(torch.tensor(self.spans))
        order = torch.arange(len(gathered))  # of a position that is there more than once the first place is its own
        places = torch.full((self.total,), -1).scatter_reduce_(0, gathered, order, "amin", include_self=False)
        return self.to_device(torch.where(places >= 0, places, places[firsts]))

    @cached_property
    def offsets(self) -> Tensor:
        """End of each slot's span, as grouped_mm wants them: int32."""
        return self.to_device(torch.tensor(self.spans).cumsum(0).to(torch.int32))

    @cached_property
    def boundaries(self) -> tuple[Tensor, int]:
        """Start of each sequence and end of the last, as varlen_attn takes them (int32), and the longest length."""
        starts = torch.tensor([start for start, _ in self.starts] + [self.total], dtype=torch.int32)
        return self.to_device(starts), int(starts.diff().max())


def align(count: int) -> int:
    """Round up to a multiple of ALIGNMENT."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def get_padded_width(length: int) -> int:
    """Return the width to which a sequence so long is padded: the next one on a fixed scale."""
    step = 2 ** max(0, (length - 1).bit_length() - 1) // _WIDTHS_PER_OCTAVE or 1
    return -(-length // step) * step
