"""The invented puzzles: rules on small grids, and tasks whose pairs follow a rule.

A rule moves the cells, or gives some colours a new one, or does both. Pretraining sees moves alone; every task of the
loop does both, so that no rule of the loop was ever seen, nor any change of colours.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stages.domains.arc.training_set import Pair
from stages.domains.arc.transforms import (
    change_colours,
    flip_0,
    flip_1,
    get_colours,
    rotate_180,
    transpose,
)
from stages.records.arc import COLOUR_COUNT, Grid

Move = Callable[[Grid], Grid]


def roll_down(grid: Grid) -> Grid:
    """The last row first."""
    return grid[-1:] + grid[:-1]


def roll_right(grid: Grid) -> Grid:
    """The last column first."""
    return tuple(row[-1:] + row[:-1] for row in grid)


MOVES: Mapping[str, Move] = {
    "flip0": flip_0,
    "flip1": flip_1,
    "half-turn": rotate_180,
    "transpose": transpose,
    "down": roll_down,
    "right": roll_right,
}
STAY = "stay"  # no move
KEEP = "keep"  # no change of colours
CHANGES: Mapping[str, int] = {"one": 1, "two": 2, "three": 3}  # colours that become others


@dataclass(frozen=True)
class Rule:
    """Cells are moved, then recoloured: colour c becomes colours[c]."""

    move: str
    change: str
    colours: tuple[int, ...]

    def __call__(self, grid: Grid) -> Grid:
        moved = grid if self.move == STAY else MOVES[self.move](grid)
        return change_colours(moved, self.colours)


@dataclass(frozen=True)
class Task:
    """Demonstrations and tests of one rule."""

    rule: Rule
    demonstrations: tuple[Pair, ...]
    tests: tuple[Pair, ...]


def make_rule(move: str, change: str, palette: Sequence[int], rng: random.Random) -> Rule:
    """The move, with a change of this kind: so many colours of the palette become colours that it does not have."""
    count = CHANGES.get(change, 0)
    old = rng.sample(palette, count)
    new = rng.sample([colour for colour in range(COLOUR_COUNT) if colour not in palette], count)
    changed = dict(zip(old, new, strict=True))
    return Rule(move, change, tuple(changed.get(colour, colour) for colour in range(COLOUR_COUNT)))


def make_palette(rng: random.Random, sizes: Sequence[int] = (3, 4, 5)) -> list[int]:
    """The colours of a task's inputs."""
    return rng.sample(range(COLOUR_COUNT), rng.choice(sizes))


def make_input(height: int, width: int, palette: Sequence[int], rng: random.Random) -> Grid:
    """A grid of these colours, drawn until no move leaves it as it is."""
    while True:
        grid = tuple(tuple(rng.choice(palette) for _ in range(width)) for _ in range(height))
        if height * width < 4 or len(set(palette)) < 2 or all(move(grid) != grid for move in MOVES.values()):
            return grid


def make_task(rule: Rule, palette: Sequence[int], sizes: Sequence[tuple[int, int]], rng: random.Random) -> Task:
    """As many pairs as sizes, the last of them the test; every colour of the palette is in two demonstrations."""
    while True:
        inputs = [make_input(height, width, palette, rng) for height, width in sizes]
        shown = [get_colours([grid]) for grid in inputs[:-1]]
        enough = all(sum(colour in one for one in shown) >= min(2, len(shown)) for colour in palette)
        if enough and len(set(inputs)) == len(inputs):
            pairs = tuple(Pair(grid, rule(grid)) for grid in inputs)
            return Task(rule, pairs[:-1], pairs[-1:])
