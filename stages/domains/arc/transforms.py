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
_FACTOR = 2  # official: every size and repeat tool doubles


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

    def translate(grid: Grid) -> Grid:
        return _roll(tuple(_roll(row, right) for row in grid), down)

    return translate


def _roll(items: tuple[_T, ...], share: float) -> tuple[_T, ...]:
    cut = -int(share * min(_MAX_SHIFT + 1, len(items))) % len(items)
    return items[cut:] + items[:cut]


# ---- made larger


def _put_beside(left: Grid, right: Grid) -> Grid:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _reflect_0(grid: Grid) -> Grid:
    """Append the mirror image below the grid."""
    return grid + flip_0(grid)


def _reflect_0_reversed(grid: Grid) -> Grid:
    """Append the grid below its mirror image."""
    return flip_0(grid) + grid


def _reflect_1(grid: Grid) -> Grid:
    """Append the mirror image to the right of the grid."""
    return _put_beside(grid, flip_1(grid))


def _reflect_1_reversed(grid: Grid) -> Grid:
    """Append the grid to the right of its mirror image."""
    return _put_beside(flip_1(grid), grid)


def _height_x2(grid: Grid) -> Grid:
    """Double every row."""
    return tuple(row for row in grid for _ in range(_FACTOR))


def _width_x2(grid: Grid) -> Grid:
    """Double every column."""
    return tuple(tuple(colour for colour in row for _ in range(_FACTOR)) for row in grid)


def _resolution_x2(grid: Grid) -> Grid:
    """Turn every cell into a square of four."""
    return _height_x2(_width_x2(grid))


def _repeat_0(grid: Grid) -> Grid:
    """Repeat the grid below itself."""
    return grid * _FACTOR


def _repeat_1(grid: Grid) -> Grid:
    """Repeat the grid to its right."""
    return tuple(row * _FACTOR for row in grid)


def _repeat_both(grid: Grid) -> Grid:
    """Repeat the grid four times, two by two."""
    return _repeat_0(_repeat_1(grid))


def _chain(*tools: Tool) -> Tool:
    """Apply one tool after the other."""

    def chain(grid: Grid) -> Grid:
        for tool in tools:
            grid = tool(grid)
        return grid

    return chain


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
        "reflect_0_reversed": _reflect_0_reversed,
        "reflect_1_reversed": _reflect_1_reversed,
        "reflect_0": _reflect_0,
        "reflect_1": _reflect_1,
    },
    "size": {"resolution_x2": _resolution_x2, "height_x2": _height_x2, "width_x2": _width_x2},
    "chain": {f"{name}+resolution_x2": _chain(tool, _resolution_x2) for name, tool in _TURNS.items()},
    "repeat": {"repeat_0": _repeat_0, "repeat_1": _repeat_1, "repeat_both": _repeat_both},
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
