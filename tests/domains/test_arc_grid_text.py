"""Grids as text: numpy's form, rows of digits, and what a model may write instead."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.domains.arc.grid_text import MAX_GRID_CHARACTERS, BadGrid, digits_text, numpy_text, read_grid
from stages.records.arc import Grid
from tests.domains.test_arc_transforms import grids

GRID = ((2, 0, 2), (0, 2, 0))
LARGEST = ((9,) * 30,) * 30
PIECES = (
    "[[",
    "]]",
    "[",
    "]",
    "]\n [",
    "#",
    " ",
    "\n",
    "1",
    "2 0",
    "10",
    ",",
    "²",
    "٣",
    "-1",
    "1e5",
    "\x00",
    "a",
    "-> ",
)


@given(grids())
@example(LARGEST)
@settings(deadline=None)
def test_the_text_is_numpys(grid: Grid) -> None:
    assert numpy_text(grid) == str(np.array(grid))


@given(grids())
@example(LARGEST)
@settings(deadline=None)
def test_a_grid_is_read_back_from_either_text(grid: Grid) -> None:
    for text in (numpy_text(grid), digits_text(grid)):
        assert read_grid(text) == read_grid(f"{text}#") == read_grid(f" \n{text}\n#\n") == grid


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
@settings(deadline=None, max_examples=500)
def test_garbage_never_raises_and_what_is_read_can_be_written_again(text: str) -> None:
    found = read_grid(text)
    if isinstance(found, BadGrid):
        assert found.reason and found.reason.isprintable()
    else:
        assert found == read_grid(numpy_text(found))


@pytest.mark.parametrize(
    "text", ["[[2 0 2]\n [0 2 0]]#", "[[2 0 2]\n[0 2 0]]", "[[2  0 2] \n [0 2 0 ]]", "2 0 2\n0 2 0", " 2 0 2 \n 0 2 0#"]
)
def test_white_space_between_rows_and_digits_is_free(text: str) -> None:
    assert read_grid(text) == GRID


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "row 1 is not digits with spaces between: ''"),
        ("[[]]", "row 1 is not digits with spaces between: ''"),
        ("The answer is [[1]]", "row 1 is not digits with spaces between: 'The answer is [[1]]'"),
        ("[[1 2]\n [3]]", "the rows of a grid are equally long"),
        ("[[1 2] [3 4]]", "row 1 is not digits with spaces between: '1 2] [3 4'"),
        ("[[1, 2]\n [3, 4]]", "row 1 is not digits with spaces between: '1, 2'"),
        ("[[1 2]\n [3 10]]", "row 2 is not digits with spaces between: '3 10'"),
        ("[[1 2]\n [3 4]]#[[1]]#", "row 2 is not digits with spaces between: '3 4]]#[[1'"),
        ("[[1 2]\n [3 4]]##", "row 1 is not digits with spaces between: '[[1 2]'"),
        ("[[1 2]\n [3 4", "row 1 is not digits with spaces between: '[[1 2]'"),
        ("[[1 ٣]]", "row 1 is not digits with spaces between: '1 \\u0663'"),
        ("\n".join(["1"] * 31), "more than 30 rows"),
        (" ".join(["1"] * 31), "the sides of a grid are 1 to 30 long"),
        ("1" + " " * MAX_GRID_CHARACTERS, f"longer than {MAX_GRID_CHARACTERS} characters"),
    ],
)
def test_what_is_not_a_grid_is_a_value_with_the_reason(text: str, reason: str) -> None:
    assert read_grid(text) == BadGrid(reason)
