"""Where each token of a packed pass lies: every cell is one row's own, and rows of a block are of like length."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.tokens.tokenization import Padding, Tokens
from stages.trainers.batched.lora_kernels import KERNELS
from stages.trainers.batched.packing import PackedSequence, Packing, get_padded_width
from tests.trainers.exact import packed, sequence

CPU = torch.device("cpu")


def test_rows_of_like_length_lie_together_and_positions_begin_anew() -> None:
    packing = packed([[Tokens((7, 8, 9), 2), Tokens((5,), 0)], [Tokens((3, 4, 2), 0)]])
    assert packing.used == 7
    assert packing.input_ids.tolist() == [5, 7, 8, 9, 3, 4, 2, 0]
    assert packing.position_ids.tolist() == [0, 0, 1, 2, 0, 1, 2, 0]
    assert packing.owners.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    assert packing.targets.tolist() == [-100, -100, 9, -100, 4, 2, -100, -100]
    assert [(part.slots, part.length, part.positions) for part in packing.padded_groups] == [
        ([0], 1, slice(0, 1)),
        ([0, 1], 3, slice(1, 7)),
    ]


def test_pads_lie_behind_the_sequences_of_their_block_with_weights_of_their_own() -> None:
    padded = Tokens((7, 8, 9), 0, Padding(1, (4, 6), (2, 3)))
    packing = Packing([PackedSequence(0, padded, 0.5), PackedSequence(1, replace(padded, ids=(5, 6, 4)), 0.25)], CPU)
    assert packing.input_ids.tolist() == [7, 8, 9, 5, 6, 4, 1, 1, 1, 1, *[0] * 6]
    assert packing.position_ids.tolist() == [0, 1, 2, 0, 1, 2, 4, 6, 4, 6, *[0] * 6]
    assert packing.targets.tolist() == [8, 9, 1, 6, 4, 1, 1, 1, 1, 1, *[-100] * 6]
    assert packing.weights.tolist() == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 1.0, 1.5, 0.5, 0.75, *[0.0] * 6]
    assert [part.positions for part in packing.padded_groups] == [slice(0, 6), slice(6, 10)]


def test_spans_of_the_grouped_path_keep_slots_together_and_are_filled_with_tokens_without_loss() -> None:
    packing = packed([[Tokens((7, 8, 9), 0)], [sequence(8)], [sequence(9)]], "grouped_mm")
    assert packing.spans == [8, 8, 16]
    assert packing.targets[:8].tolist() == [8, 9, -100, -100, -100, -100, -100, -100]
    assert packing.offsets.tolist() == [8, 16, 32]
    assert [start for start, _ in packing.starts] == [0, 8, 16]
    assert len(packing.input_ids) == len(packing.position_ids) == len(packing.owners) == 32


def test_a_pass_and_the_states_that_are_scored_are_filled_up_to_a_multiple_of_eight_rows() -> None:
    packing = packed([[Tokens((7, 8, 9), 0)], [Tokens((3, 4), 0)]])
    assert (packing.used, packing.total) == (5, 8)
    cells, counted = packing.targeted
    assert (counted, cells.tolist()) == (3, [0, 2, 3, 3, 3, 3, 3, 3])
    assert packing.targets[cells[:counted]].tolist() == [4, 8, 9]
    assert len(packed([[sequence(9)]]).targeted[0]) == packed([[sequence(9)]]).targeted[1] == 8
    assert len(packed([[Tokens((7,), 0)]]).targeted[0]) == 0


LENGTHS = st.lists(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), min_size=1, max_size=3), min_size=1)


@settings(max_examples=80, deadline=None)
@given(LENGTHS, st.sampled_from([*KERNELS]))
def test_every_cell_is_filling_or_one_rows_own_token_or_pad(lengths: list[list[tuple[int, int]]], path: str) -> None:
    packing = packed([[with_pads(*each) for each in slot] for slot in lengths], path)
    owner = [-1] * packing.total
    for row, (start, behind) in zip(packing.ordered, packing.starts, strict=True):
        for cell in [*range(start, start + row.length), *range(behind, behind + row.pads)]:
            assert owner[cell] == -1
            owner[cell] = row.slot
            assert packing.owners[cell] == row.slot
    cells = torch.arange(packing.total)
    for part in packing.padded_groups:
        for slot, row in zip(part.slots, part.take(cells).tolist(), strict=True):
            assert {owner[cell] for cell in row} <= {slot, -1}
            if packing.by_slot:
                assert all(owner[cell] == slot for cell in row)
    if packing.inverse is not None:  # what attention gathers comes back to where it was
        there = torch.cat([part.take(cells).flatten() for part in packing.padded_groups])[packing.inverse]
        assert all(there[cell] == cell for cell in range(packing.total) if owner[cell] >= 0)
        assert all(slot >= 0 for slot in (owner[cell] for cell in there.tolist()))


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.sampled_from([*KERNELS]))
def test_rows_of_a_block_are_of_like_length(lengths: list[list[tuple[int, int]]], path: str) -> None:
    packing = packed([[with_pads(*each) for each in slot] for slot in lengths], path)
    for group, block in zip(packing.groups, packing.blocks, strict=True):
        rows = [packing.ordered[place] for place in group]
        assert {get_padded_width(row.length) for row in rows} == {block.sequences.length}
        assert (block.pads is None) == (rows[0].pads == 0)
        assert {row.pads for row in rows} == {block.pads.length if block.pads else 0}


def test_the_width_of_a_row_depends_on_its_own_length_alone_and_wastes_at_most_a_quarter() -> None:
    widths = [get_padded_width(length) for length in range(1, 3000)]
    assert widths == sorted(widths)
    assert all(length <= width <= max(length + 1, 1.25 * length) for length, width in enumerate(widths, start=1))
    assert [get_padded_width(length) for length in (1, 8, 9, 16, 17, 33, 100)] == [1, 8, 10, 16, 20, 40, 112]


def with_pads(length: int, pads: int) -> Tokens:
    tokens = sequence(length)
    return replace(tokens, pads=Padding(1, tuple(range(70, 70 + pads)), (1,) * pads)) if pads else tokens
