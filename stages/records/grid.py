"""The grid of ARC (Chollet, arXiv 1911.01547): a tuple of rows of colours 0 to 9, with sides of 1 to 30."""

Grid = tuple[tuple[int, ...], ...]

MAX_SIDE = 30  # ARC-AGI-1; official: a task with a longer side is dropped
COLOUR_COUNT = 10  # ARC-AGI-1; 0 is the background


def make_grid(rows: object) -> Grid:
    """The grid of a JSON list of rows. Raises ValueError for what is not a grid."""
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) for row in rows):
        raise ValueError("a grid is a list of rows")
    grid = tuple(map(tuple, rows))
    if not 1 <= len(grid) <= MAX_SIDE or not 1 <= len(grid[0]) <= MAX_SIDE:
        raise ValueError(f"the sides of a grid are 1 to {MAX_SIDE} long")
    if any(len(row) != len(grid[0]) for row in grid):
        raise ValueError("the rows of a grid are equally long")
    if not all(type(colour) is int and 0 <= colour < COLOUR_COUNT for row in grid for colour in row):
        raise ValueError("the colours of a grid are whole numbers from 0 to 9")
    return grid
