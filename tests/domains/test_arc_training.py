"""From demonstrations to a training set: what is left out, what the tools make of it, copies, limits, seeds."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import permutations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.domains.arc import training_set
from stages.domains.arc.training_set import (
    Pair,
    Puzzle,
    TrainingTask,
    has_small_grids,
    leave_out,
    make_leave_out_rows,
)
from stages.domains.arc.transforms import GROUPS, transpose
from stages.records.arc import Grid, make_grid
from tests.bench import arc_counts
from tests.domains.test_arc_transforms import arc_file, arc_tasks

ALL = tuple(GROUPS)
TOOLS = {"basic": 11, "size": 3, "chain": 6, "repeat": 3}  # official augmenters
SETTINGS = [tuple(g for g, on in zip(GROUPS, setting, strict=True) if on) for setting in product((0, 1), repeat=4)]


def random_grid(random: Random, height: int, width: int, palette: int = 4) -> Grid:
    return tuple(tuple(random.randrange(palette) for _ in range(width)) for _ in range(height))


def some_pairs(count: int, seed: int = 0, height: int = 5, width: int = 7, palette: int = 4) -> tuple[Pair, ...]:
    """Demonstrations large and random enough that no tool gives what another gives."""
    random = Random(seed)
    make = (random_grid(random, height, width, palette) for _ in range(2 * count))
    return tuple(Pair(input, output) for input, output in zip(make, make, strict=True))


@st.composite
def demonstrations(draw: st.DrawFn) -> tuple[Pair, ...]:
    random = Random(draw(st.integers(0, 2**32)))
    count, palette = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4, 10]))
    sides = st.integers(1, 3) | st.integers(1, 20)
    return tuple(
        Pair(*(random_grid(random, draw(sides), draw(sides), palette) for _ in range(2))) for _ in range(count)
    )


def rows_of(pairs: Sequence[Pair], groups: Sequence[str] = ALL, seed: int = 0) -> list[TrainingTask]:
    return [row for count in (1, 2) for row in make_leave_out_rows(pairs, count, groups, seed=seed)]


def puzzles(rows: Sequence[TrainingTask]) -> set[Puzzle]:
    found = {row.puzzle for row in rows}
    assert len(found) == len(rows), "a puzzle is there twice"
    return found


def test_leave_one_out_asks_each_demonstration_of_all_the_others() -> None:
    a, b, c = some_pairs(3)
    assert list(leave_out((a, b, c), 1)) == [Puzzle((b, c), a), Puzzle((a, c), b), Puzzle((a, b), c)]


def test_leave_two_out_leaves_each_of_the_others_out_once() -> None:
    a, b, c = some_pairs(3)
    expected = {Puzzle((x,), y) for x, y in permutations((a, b, c), 2)}
    assert set(leave_out((a, b, c), 2)) == expected
    assert len(list(leave_out(some_pairs(5), 2))) == 20


def test_two_demonstrations_leave_none_and_one_cannot_be_left_out_twice() -> None:
    a, b = some_pairs(2)
    assert set(leave_out((a, b), 2)) == {Puzzle((), a), Puzzle((), b)}
    assert list(leave_out((a,), 1)) == [Puzzle((), a)]
    assert list(leave_out((a,), 2)) == []


@pytest.mark.parametrize("groups", SETTINGS)
def test_every_tool_of_the_groups_gives_a_row_and_a_copy_for_every_task(groups: tuple[str, ...]) -> None:
    rows = make_leave_out_rows(some_pairs(4), 1, groups, seed=1)
    made = sum(TOOLS[group] for group in groups)
    kinds = Counter((row.tool, row.permuted) for row in rows)
    if groups:
        assert set(kinds.values()) == {4}
        assert len(kinds) == 2 * (1 + made)
    else:
        assert kinds[("none", False)] == 4 and len(kinds) <= 2


def test_a_tool_is_applied_to_inputs_and_outputs_alike_and_remembered() -> None:
    a, b = some_pairs(2)
    made = {row.tool: row.puzzle for row in make_leave_out_rows((a, b), 1, ALL, seed=0) if row.puzzle.asked == a}
    assert made["none"] == Puzzle((b,), a)
    rows = make_leave_out_rows((a, b), 1, ALL, seed=0)
    for group in GROUPS.values():
        for name, tool in group.items():
            new_a, new_b = (Pair(tool(pair.input), tool(pair.output)) for pair in (a, b))
            expected = {Puzzle((new_b,), new_a), Puzzle((new_a,), new_b)}
            assert {row.puzzle for row in rows if row.tool == name and not row.permuted} == expected


def test_a_translation_moves_all_inputs_alike_and_all_outputs_alike() -> None:
    grid = random_grid(Random(0), 6, 6, 10)
    pairs = [Pair(grid, grid), Pair(grid, transpose(grid)), Pair(transpose(grid), grid)]
    apart = 0
    for seed in range(20):
        tool = training_set.draw_translation(pairs, seed)
        first, second, third = (tool(pair) for pair in pairs)
        assert first.input == second.input and first.output == third.output
        apart += first.input != first.output
    assert apart > 10, "input and output have shifts of their own"


def test_what_a_tool_makes_is_dropped_where_a_side_exceeds_thirty() -> None:
    rows = rows_of(some_pairs(2, height=15, width=16))
    tools = {row.tool for row in rows}
    assert {"height_x2", "repeat_0", "reflect_0", "reflect_0_reversed"} <= tools
    assert not {"width_x2", "repeat_1", "resolution_x2", "repeat_both", "reflect_1", "rotate_90+resolution_x2"} & tools
    assert all(has_small_grids(row.puzzle) for row in rows)


@given(demonstrations(), st.sampled_from(SETTINGS), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_the_one_asked_is_never_among_those_shown(pairs: tuple[Pair, ...], groups: tuple[str, ...], seed: int) -> None:
    rows = rows_of(pairs + pairs[:1], groups, seed)
    puzzles(rows)
    for row in rows:
        assert row.puzzle.asked not in row.puzzle.shown
        assert has_small_grids(row.puzzle)


def test_a_demonstration_that_occurs_twice_counts_once() -> None:
    pairs = some_pairs(3)
    assert set(rows_of(pairs + pairs[:2], ["size"])) == set(rows_of(pairs, ["size"]))


def test_only_the_demonstrations_make_rows() -> None:
    pairs, seen = some_pairs(3, palette=3), set()
    for row in rows_of(pairs, ()):
        seen |= set(row.puzzle.pairs)
    assert seen == set(pairs)


@pytest.mark.paper_data
def test_no_test_pair_of_the_paper_is_in_its_training_set() -> None:
    for name in arc_counts.CHALLENGES:
        tests = json.loads(arc_file(name).read_text())
        solutions = json.loads(arc_file(name.replace("challenges", "solutions")).read_text())
        for task, pairs in arc_tasks():
            if task in tests:
                inputs = [make_grid(test["input"]) for test in tests[task]["test"]]
                hidden = {Pair(input, make_grid(output)) for input, output in zip(inputs, solutions[task], strict=True)}
                assert not hidden & {pair for row in rows_of(pairs) for pair in row.puzzle.pairs}


def cells(pair: Pair) -> list[int]:
    return [colour for grid in pair.grids for row in grid for colour in row]


def pattern(pair: Pair) -> tuple[int, ...]:
    """The pair without its colours: each cell says where its colour occurs first."""
    found = cells(pair)
    return tuple(found.index(colour) for colour in found)


def test_a_copy_has_all_its_grids_recoloured_alike_and_its_demonstrations_in_another_order() -> None:
    rows = make_leave_out_rows(some_pairs(6), 1, ["size"], seed=0)
    plain = {(row.tool, pattern(row.puzzle.asked)): row.puzzle for row in rows if not row.permuted}
    copies = [row for row in rows if row.permuted]
    assert len(copies) == len(plain) == 6 * 4
    orders = set()
    for row in copies:
        base = plain[row.tool, pattern(row.puzzle.asked)]
        before, after = ({pattern(pair): pair for pair in puzzle.pairs} for puzzle in (base, row.puzzle))
        assert before.keys() == after.keys()
        colours = {change for key in before for change in zip(cells(before[key]), cells(after[key]), strict=True)}
        assert len(colours) == 4 and (0, 0) in colours
        assert len({new for _, new in colours} - {0, 1, 2, 3}) == 3, "each becomes one that the task does not have"
        orders.add(tuple(list(before).index(pattern(pair)) for pair in row.puzzle.shown))
    assert len(orders) > 12


def test_without_tools_the_colours_stay() -> None:
    rows = make_leave_out_rows(some_pairs(4), 1, (), seed=0)
    for row in rows:
        assert set(row.puzzle.pairs) == set(some_pairs(4))
    assert any(row.permuted for row in rows)


def test_what_two_tools_make_is_there_once_under_the_first_name() -> None:
    square = tuple(Pair(((colour,) * 5,) * 5, ((colour,) * 4,) * 4) for colour in (1, 2, 3))
    rows = make_leave_out_rows(square, 1, ALL, seed=0)
    puzzles(rows)
    names = {row.tool for row in rows if not row.permuted}
    assert names == {"none", "reflect_0_reversed", "reflect_1_reversed", "resolution_x2"}
