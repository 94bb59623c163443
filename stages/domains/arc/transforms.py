"""ARC grids: the tools that make new training tasks, the variants asked at evaluation, and recolouring.

The tools and their groups are those of SEAL's few-shot code (arXiv 2506.10943, `self-edit.py`), which takes them from
the test-time-training code for ARC (Akyürek et al., arXiv 2411.07279; github ekinakyurek/marc, `arclib/augmenters.py`).
There and here a tool changes the input and the output of every pair of a task alike, also one that changes sizes.
Rotations are counter-clockwise, as np.rot90; axis 0 runs down the rows. The functions are our own, without numpy: tests
hold them to it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from stages.records.arc import COLOUR_COUNT, Grid

_T = TypeVar("_T")
Tool = Callable[[Grid], Grid]
Colours = tuple[int, ...]  # the new colour of each colour 0 … 9

_MAX_SHIFT = 3  # official RandomTranslateXY: randint(0, min(4, side))


def get_longest_side(grid: Grid) -> int:
    return max(len(grid), len(grid[0]))


def get_colours(grids: Iterable[Grid]) -> frozenset[int]:
    """Return every colour that occurs in the grids."""
    return frozenset(colour for grid in grids for row in grid for colour in row)


# ---- turned and mirrored


def _identity(grid: Grid) -> Grid:
    return grid


def transpose(grid: Grid) -> Grid:
    return tuple(zip(*grid, strict=True))


def flip_0(grid: Grid) -> Grid:
    """Flip upside down."""
    return grid[::-1]


def flip_1(grid: Grid) -> Grid:
    """Flip left to right."""
    return tuple(row[::-1] for row in grid)


def _rotate_90(grid: Grid) -> Grid:
    """Rotate a quarter turn counter-clockwise."""
    return flip_0(transpose(grid))


def rotate_180(grid: Grid) -> Grid:
    return flip_0(flip_1(grid))


def _rotate_270(grid: Grid) -> Grid:
    """Rotate a quarter turn clockwise."""
    return flip_1(transpose(grid))


def make_translation(down: float, right: float) -> Tool:
    """Return a tool that rolls a grid, as np.roll, by shares (0 to 1) of the shifts its sides allow: 0 to 3."""
    return lambda grid: _roll(tuple(_roll(row, right) for row in grid), down)


def _roll(items: tuple[_T, ...], share: float) -> tuple[_T, ...]:
    cut = -int(share * min(_MAX_SHIFT + 1, len(items))) % len(items)
    return items[cut:] + items[:cut]


# ---- made larger: official, every size and repeat tool doubles


def _put_beside(left: Grid, right: Grid) -> Grid:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _double_rows(grid: Grid) -> Grid:
    return tuple(row for row in grid for _ in range(2))


def _double_columns(grid: Grid) -> Grid:
    return transpose(_double_rows(transpose(grid)))


def _enlarge_after(tool: Tool) -> Tool:
    """Apply a tool, then make a square of four of every cell."""
    return lambda grid: _double_rows(_double_columns(tool(grid)))


# ---- the tables

TRANSLATE = "translate"  # of the group basic too; its shift is drawn, so that it is no function of the grid alone
_TURNS: Mapping[str, Tool] = {
    "rotate_90": _rotate_90,
    "rotate_270": _rotate_270,
    "rotate_180": rotate_180,
    "flip_0": flip_0,
    "flip_1": flip_1,
    "transpose": transpose,
}
GROUPS: Mapping[str, Mapping[str, Tool]] = {  # the self-edit's switches, in its order; official get_augmenters
    "basic": {
        **_TURNS,
        "reflect_0_reversed": lambda grid: flip_0(grid) + grid,
        "reflect_1_reversed": lambda grid: _put_beside(flip_1(grid), grid),
        "reflect_0": lambda grid: grid + flip_0(grid),
        "reflect_1": lambda grid: _put_beside(grid, flip_1(grid)),
    },
    "size": {"resolution_x2": _enlarge_after(_identity), "height_x2": _double_rows, "width_x2": _double_columns},
    "chain": {f"{name}+resolution_x2": _enlarge_after(tool) for name, tool in _TURNS.items()},
    "repeat": {
        "repeat_0": lambda grid: grid + grid,
        "repeat_1": lambda grid: _put_beside(grid, grid),
        "repeat_both": lambda grid: _put_beside(grid, grid) * 2,
    },
}


@dataclass(frozen=True)
class Variant:
    """A way to ask a task turned or mirrored, and how to turn the answer back."""

    apply: Tool
    undo: Tool


VARIANTS: Mapping[str, Variant] = {  # official preprocess.py; a quarter turn clockwise is not among them
    "identity": Variant(_identity, _identity),
    "transpose": Variant(transpose, transpose),
    "flip_0": Variant(flip_0, flip_0),
    "flip_1": Variant(flip_1, flip_1),
    "rotate_90": Variant(_rotate_90, _rotate_270),
    "rotate_180": Variant(rotate_180, rotate_180),
}


# ---- permutations


def permute_colours(used: Iterable[int], random: Random) -> Colours:
    """Draw a permutation of the colours that keeps 0, for a task that has the colours `used`.

    As in the official PermuteColors, used colours become ones that the task does not have, while there are any. Where
    more than half are used, the official code swaps the others in pairs; here they become any of the used ones.
    """
    mine = sorted(set(used) - {0})
    others = [colour for colour in range(1, COLOUR_COUNT) if colour not in mine]
    new = dict(zip(mine + others, shuffle(others, random) + shuffle(mine, random), strict=True))
    return tuple(new.get(colour, colour) for colour in range(COLOUR_COUNT))


def change_colours(grid: Grid, new: Colours) -> Grid:
    return tuple(tuple(new[colour] for colour in row) for row in grid)


def shuffle(items: Sequence[_T], random: Random) -> list[_T]:
    return random.sample(items, len(items))
