"""Grids as text and back: numpy's text form of the tasks, and the rows of digits of the self-edit prompt.

Our own parser, and a stricter one than the official (`parse_numpy_from_str`), which drops every bracket and reshapes
whatever numbers are left: rows of different lengths, one row spread over several lines and missing brackets pass there.
"""

import re
from dataclasses import dataclass

from stages.records.arc import MAX_SIDE, Grid, make_grid

END = "#"  # stands behind every output grid; official TextExampleRepresenter's output_footer
MAX_GRID_CHARACTERS = 8192  # of an answer that is read at all; the text of a 30 x 30 grid has 1,861
_ROW = re.compile(r" *[0-9](?: +[0-9])* *")
_BETWEEN_ROWS = re.compile(r"\] *\n *\[")


@dataclass(frozen=True)
class BadGrid:
    """Text that is no grid: the model's failure, as a value."""

    reason: str


def numpy_text(grid: Grid) -> str:
    """As str(np.array(grid)) writes it: `[[2 0]\\n [0 2]]`. A 30 x 30 grid is not shortened there."""
    return "[" + "\n ".join(f"[{row}]" for row in _digit_rows(grid)) + "]"


def digits_text(grid: Grid) -> str:
    """Write a grid as a line of digits for each row, as in the self-edit prompt."""
    return "\n".join(_digit_rows(grid))


def _digit_rows(grid: Grid) -> list[str]:
    return [" ".join(map(str, row)) for row in grid]


def read_grid(text: str) -> Grid | BadGrid:
    """Read a grid that a model wrote in either form, with or without the end mark, and nothing else beside it."""
    if len(text) > MAX_GRID_CHARACTERS:
        return BadGrid(f"longer than {MAX_GRID_CHARACTERS} characters")
    text = text.strip().removesuffix(END).strip()
    bracketed = text.startswith("[[") and text.endswith("]]")
    lines = _BETWEEN_ROWS.split(text[2:-2]) if bracketed else text.split("\n")
    if len(lines) > MAX_SIDE:
        return BadGrid(f"more than {MAX_SIDE} rows")
    for number, line in enumerate(lines, 1):
        if not _ROW.fullmatch(line):
            return BadGrid(f"row {number} is not digits with spaces between: {line[:40]!a}")
    try:
        return make_grid([[int(digit) for digit in line.split()] for line in lines])
    except ValueError as error:
        return BadGrid(str(error))
