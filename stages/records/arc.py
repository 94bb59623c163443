"""ARC (Chollet, arXiv 1911.01547): its grids, and the sections of a line that its few-shot tasks have of their own."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.records.frozen import Count, FrozenModel, Meta, Tuple
from stages.records.task import Task

Grid = tuple[tuple[int, ...], ...]  # rows of colours
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


GridRows = Annotated[Grid, BeforeValidator(make_grid)]  # in JSON a list of rows


class GridPair(FrozenModel):
    """An input grid and its output grid; the output of a test may be unknown (null)."""

    input: GridRows
    """The grid before: rows of colours 0 to 9."""
    output: GridRows | None
    """The solution; null: unknown, and the task stays unscored."""


class Demonstration(FrozenModel):
    """An input grid with its output grid."""

    input: GridRows
    """The grid before: rows of colours 0 to 9."""
    output: GridRows
    """The grid after."""


class ArcTask(Task):
    """Demonstrations of one transformation, and test inputs to which it is to be applied."""

    domain: Literal["arc"]
    """arc: demonstrations of a transformation of grids, and tests to apply it to."""
    train: Annotated[Tuple[Demonstration], Field(min_length=1)]
    """The demonstrations."""
    test: Tuple[GridPair]
    """The tests."""

    @property
    def is_solved(self) -> bool:
        return all(pair.output is not None for pair in self.test)


class ArcChoice(FrozenModel):
    """What a self-edit chose: groups of tools that are on, what the loss is on, learning rate and epochs.

    `repairs` names what was mended in its text before it could be read; none is the normal case.
    """

    tools: Tuple[str]
    """Groups of tools that are on: basic, size, chain, repeat."""
    strategy: str
    """What the loss is on: train_using_all_tokens or train_using_output_tokens."""
    learning_rate: float
    """Peak learning rate."""
    epochs: Count
    """Times that the training set is seen."""
    repairs: Tuple[str]
    """What was mended in the text before it could be read; mostly nothing."""

    @property
    def fit(self) -> dict[str, float | int]:
        """The fields of FitConfig that the self-edit sets."""
        return {"learning_rate": self.learning_rate, "epochs": self.epochs}


class Vote(FrozenModel):
    """One prediction of a test's output: how the task was put, what came back, and the grid that this stands for.

    `shown` are the places of the demonstrations in the prompt, in their order. `grid` is turned back from `variant`;
    None where the text is no grid, for `error`. `prediction` None: the engine failed, for `error`.
    """

    variant: str
    """How the task was turned, mirrored or reordered for this prediction."""
    shown: Tuple[Count]
    """Places of the demonstrations in the prompt, from 0, in their order."""
    prediction: str | None
    """What came back, verbatim, thoughts and all; null: the engine failed, for `error`."""
    grid: GridRows | None
    """The grid that it stands for, turned back; null: it is no grid, for `error`."""
    error: str | None
    """Why it failed; null where it did not."""


class TrainingGrids(FrozenModel):
    """A training task as grids: the tool that made it, and whether its colours and order are permuted."""

    tool: str
    """The tool that made it."""
    permuted: bool
    """Whether its colours and its order are permuted."""
    train: Tuple[Demonstration]
    """The demonstrations that it shows."""
    test: Demonstration
    """The one whose output is learned."""


class ArcTrainingData(FrozenModel):
    """The training tasks of one few-shot self-edit, as `seal adapt --show-data` prints them."""

    task_id: str
    """The id of the task."""
    edit_id: str
    """The id of the self-edit."""
    chosen: ArcChoice | None
    """What the self-edit chose; null: it cannot be read, for `error`."""
    error: str | None
    """Why the self-edit cannot be carried out; null: it can."""
    tasks: Tuple[TrainingGrids]
    """The training tasks."""
    meta: Meta | None = None
    """Any JSON object of yours. Stages hand it on; ids, seeds and results do not depend on it."""
