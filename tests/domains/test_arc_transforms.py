"""ARC grids: every tool against numpy, the variants and their undoing, recolouring."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.domains.arc.training_set import Pair
from stages.domains.arc.transforms import (
    GROUPS,
    VARIANTS,
    change_colours,
    get_colours,
    make_translation,
    permute_colours,
    shuffle,
)
from stages.records.arc import Grid, make_grid
from tests.bench import arc_counts

Array = np.ndarray[Any, Any]
SIDE = st.integers(1, 7) | st.integers(1, 30)
SQUARES = np.ones((2, 2), dtype=int)

# The same tools by other means: index arithmetic, Kronecker products and tiles.
TURNED: dict[str, Callable[[Array], Array]] = {
    "rotate_90": lambda a: np.rot90(a, 1),
    "rotate_180": lambda a: np.rot90(a, 2),
    "rotate_270": lambda a: np.rot90(a, 3),
    "flip_0": lambda a: a[::-1, :],
    "flip_1": lambda a: a[:, ::-1],
    "transpose": lambda a: np.array([[a[i, j] for i in range(a.shape[0])] for j in range(a.shape[1])]),
}


def larger(turned: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda a: np.kron(turned(a), SQUARES)


EXPECTED: dict[str, dict[str, Callable[[Array], Array]]] = {
    "basic": {
        **TURNED,
        "reflect_0": lambda a: np.concatenate([a, np.flipud(a)], axis=0),
        "reflect_1": lambda a: np.concatenate([a, np.fliplr(a)], axis=1),
        "reflect_0_reversed": lambda a: np.concatenate([np.flipud(a), a], axis=0),
        "reflect_1_reversed": lambda a: np.concatenate([np.fliplr(a), a], axis=1),
    },
    "size": {
        "resolution_x2": lambda a: np.kron(a, SQUARES),
        "height_x2": lambda a: np.repeat(a, 2, axis=0),
        "width_x2": lambda a: np.repeat(a, 2, axis=1),
    },
    "chain": {f"{name}+resolution_x2": larger(turned) for name, turned in TURNED.items()},
    "repeat": {
        "repeat_0": lambda a: np.tile(a, (2, 1)),
        "repeat_1": lambda a: np.tile(a, (1, 2)),
        "repeat_both": lambda a: np.tile(a, (2, 2)),
    },
}
TOOLS = [(group, name) for group, tools in GROUPS.items() for name in tools]


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    height, width = draw(SIDE), draw(SIDE)
    random = Random(draw(st.integers(0, 2**32)))
    palette = draw(st.lists(st.integers(0, 9), min_size=1, max_size=10))
    return tuple(tuple(random.choice(palette) for _ in range(width)) for _ in range(height))


def arc_file(name: str) -> Path:
    """A file of the ARC data; skips the test where it is absent."""
    path = arc_counts.ARC / name
    if not path.is_file():
        pytest.skip(f"the ARC data's {name} is not beside the project")
    return path


def arc_tasks() -> list[tuple[str, tuple[Pair, ...]]]:
    """The 22 tasks of the paper: name and demonstrations."""
    return list(arc_counts.tasks(arc_file(arc_counts.CHALLENGES[0]).parent))


def assert_same(grid: Grid, array: Array) -> None:
    assert all(type(colour) is int for row in grid for colour in row)
    assert grid == tuple(map(tuple, array.tolist()))


def test_the_tables_are_the_papers_groups_in_the_order_of_the_switches() -> None:
    assert [(group, set(tools)) for group, tools in GROUPS.items()] == [
        (group, set(tools)) for group, tools in EXPECTED.items()
    ]


@pytest.mark.paper_data
def test_every_tool_does_to_every_grid_of_the_paper_what_numpy_does() -> None:
    tasks = arc_tasks()
    assert len(tasks) == 22
    for grid in {grid for _, pairs in tasks for pair in pairs for grid in pair.grids}:
        for group, name in TOOLS:
            assert_same(GROUPS[group][name](grid), EXPECTED[group][name](np.array(grid)))


@pytest.mark.parametrize(("group", "name"), TOOLS)
@given(grids())
@settings(deadline=None, max_examples=25)
def test_a_tool_does_what_numpy_does(group: str, name: str, grid: Grid) -> None:
    assert_same(GROUPS[group][name](grid), EXPECTED[group][name](np.array(grid)))


@given(grids(), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_a_translation_is_a_roll_by_at_most_three_and_less_than_the_side(grid: Grid, down: float, right: float) -> None:
    array = np.array(grid)
    rows, columns = (int(share * min(4, side)) for share, side in zip((down, right), array.shape, strict=True))
    assert rows <= min(3, len(grid) - 1) and columns <= min(3, len(grid[0]) - 1)
    assert_same(make_translation(down, right)(grid), np.roll(array, (rows, columns), axis=(0, 1)))


def test_a_translation_moves_every_side_of_four_or_more_alike() -> None:
    column = tuple((n,) for n in range(10))
    for share, shift in [(0.0, 0), (0.25, 1), (0.5, 2), (0.99, 3)]:
        for length in range(4, 11):
            assert make_translation(share, 0.0)(column[:length])[shift] == (0,)


@given(grids())
@settings(deadline=None)
def test_a_tool_never_changes_the_share_of_a_colour(grid: Grid) -> None:
    before = Counter(colour for row in grid for colour in row)
    for tool in [*(GROUPS[group][name] for group, name in TOOLS), make_translation(0.3, 0.9)]:
        after = Counter(colour for row in tool(grid) for colour in row)
        times = sum(after.values()) // sum(before.values())
        assert after == {colour: count * times for colour, count in before.items()}


@given(grids())
@settings(deadline=None)
def test_undoing_a_variant_gives_the_grid_back(grid: Grid) -> None:
    for variant in VARIANTS.values():
        assert variant.undo(variant.apply(grid)) == grid
        assert variant.apply(variant.undo(grid)) == grid


def test_the_variants_are_the_official_ones() -> None:
    grid = np.arange(6).reshape(2, 3)
    expected = {"identity": grid} | {name: TURNED[name](grid) for name in TURNED if name != "rotate_270"}
    assert set(VARIANTS) == set(expected)
    for name, variant in VARIANTS.items():
        assert_same(variant.apply(make_grid(grid.tolist())), expected[name])


@given(st.sets(st.integers(0, 9)), st.integers(0, 2**32))
def test_recolouring_is_a_permutation_that_keeps_zero(used: set[int], seed: int) -> None:
    new = permute_colours(used, Random(seed))
    assert new[0] == 0
    assert sorted(new) == list(range(10))


@given(st.sets(st.integers(0, 9)), st.integers(0, 2**32))
def test_used_colours_become_unused_ones_while_there_are_any(used: set[int], seed: int) -> None:
    new = permute_colours(used, Random(seed))
    kept = {new[colour] for colour in used - {0}} & used
    assert len(kept) == max(0, 2 * len(used - {0}) - 9)


def test_recolouring_reaches_every_unused_colour() -> None:
    drawn = {permute_colours({3}, Random(seed))[3] for seed in range(200)}
    assert drawn == {1, 2, 4, 5, 6, 7, 8, 9}


@given(grids(), st.integers(0, 2**32))
@settings(deadline=None)
def test_recolouring_and_its_inverse_give_the_grid_back(grid: Grid, seed: int) -> None:
    new = permute_colours(get_colours([grid]), Random(seed))
    back = tuple(new.index(colour) for colour in range(10))
    assert change_colours(change_colours(grid, new), back) == grid
    assert get_colours([change_colours(grid, new)]) == {new[colour] for colour in get_colours([grid])}


@given(st.lists(st.integers()), st.integers(0, 2**32))
def test_a_shuffle_loses_nothing(items: list[int], seed: int) -> None:
    assert sorted(shuffle(items, Random(seed))) == sorted(items)


def test_every_order_of_three_is_drawn() -> None:
    assert len({tuple(shuffle("abc", Random(seed))) for seed in range(100)}) == 6


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("12", "list of rows"),
        ([1, 2], "list of rows"),
        (None, "list of rows"),
        ([], "sides"),
        ([[]], "sides"),
        ([[1]] * 31, "sides"),
        ([[1] * 31], "sides"),
        ([[1, 2], [3]], "equally long"),
        ([[1], []], "equally long"),
        ([[10]], "whole numbers from 0 to 9"),
        ([[-1]], "whole numbers from 0 to 9"),
        ([[True]], "whole numbers from 0 to 9"),
        ([[1.0]], "whole numbers from 0 to 9"),
        ([["1"]], "whole numbers from 0 to 9"),
    ],
)
def test_what_is_not_a_grid_is_refused_with_the_reason(rows: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_grid(rows)


@given(grids())
@settings(deadline=None)
def test_a_list_of_lists_is_a_grid(grid: Grid) -> None:
    assert make_grid([list(row) for row in grid]) == make_grid(grid) == grid
