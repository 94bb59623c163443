"""The sections of a line that few-shot tasks (ARC) have otherwise than question answering does."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.records.frozen import Count, FrozenModel, Id, Meta, Tuple
from stages.records.grid import Grid, make_grid

GridRows = Annotated[Grid, BeforeValidator(make_grid)]  # in JSON a list of rows


class GridPair(FrozenModel):
    """An input grid and its output grid; the output of a test may be unknown (null)."""

    input: GridRows
    output: GridRows | None


class Demonstration(FrozenModel):
    """An input grid with its output grid."""

    input: GridRows
    output: GridRows


class ArcTask(FrozenModel):
    """Demonstrations of one transformation, and test inputs to which it is to be applied."""

    id: Id
    domain: Literal["arc"]
    train: Annotated[Tuple[Demonstration], Field(min_length=1)]
    test: Tuple[GridPair]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.id


class ArcChoice(FrozenModel):
    """What a self-edit chose: groups of tools that are on, what the loss is on, learning rate and epochs.

    `repairs` names what was mended in its text before it could be read; none is the normal case.
    """

    tools: Tuple[str]
    strategy: str
    learning_rate: float
    epochs: Count
    repairs: Tuple[str]


class Vote(FrozenModel):
    """One prediction of a test's output: how the task was put, what came back, and the grid that this stands for.

    `shown` are the places of the demonstrations in the prompt, in their order. `grid` is turned back from `variant`;
    None where the text is no grid, for `error`. `prediction` None: the engine failed, for `error`.
    """

    variant: str
    shown: Tuple[Count]
    prediction: str | None
    grid: GridRows | None
    error: str | None


class TrainingGrids(FrozenModel):
    """A training task as grids: the tool that made it, and whether its colours and order are permuted."""

    tool: str
    permuted: bool
    train: Tuple[Demonstration]
    test: Demonstration


class ArcTrainingData(FrozenModel):
    """The training tasks of one few-shot self-edit, as `seal adapt --show-data` prints them."""

    task_id: str
    edit_id: str
    chosen: ArcChoice | None
    error: str | None  # why the self-edit cannot be carried out
    tasks: Tuple[TrainingGrids]
    meta: Meta | None = None
