"""Make the training set of a self-edit from a task's demonstrations.

What is done, and in which order, is SEAL's few-shot code (arXiv 2506.10943, `self-edit.py`: get_test_time_train_data,
get_formatted_data, process_task), with these differences:

- every draw is seeded by what it is made for, where the official code goes by the order of a set and one generator;
- a demonstration that occurs twice in a task counts once, so that the one held out is never among the others;
- the translation is drawn for each task, where one seed for all makes it the same for all.

As there, all inputs of a task are translated alike and all outputs alike, but the outputs otherwise than the inputs
(the official generator is copied for every example, and goes on from its input to its output); and leave-two-out of a
task with two demonstrations gives rows without any.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from stages.domains.arc.transforms import (
    GROUPS,
    TRANSLATE,
    Tool,
    change_colours,
    get_colours,
    get_longest_side,
    make_translation,
    permute_colours,
    shuffle,
)
from stages.errors import BadConfig
from stages.records.arc import MAX_SIDE, Grid
from stages.records.frozen import content_id, derive_seed

LEFT_OUT = (1, 2)  # official leave_n: leave-one-out and leave-two-out
MAX_ROWS = 250  # official Nmax
_NO_TOOL = "none"


@dataclass(frozen=True)
class Pair:
    """A demonstration: an input grid and its output grid."""

    input: Grid
    output: Grid

    @property
    def grids(self) -> tuple[Grid, Grid]:
        return self.input, self.output


@dataclass(frozen=True)
class Puzzle:
    """Demonstrations, and one more pair whose output must be found from its input."""

    shown: tuple[Pair, ...]
    asked: Pair

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return *self.shown, self.asked


@dataclass(frozen=True)
class TrainingTask:
    """A puzzle made from a task's demonstrations. `permuted`: a copy with other colours and another order."""

    puzzle: Puzzle
    tool: str  # the first of the tools, in the tables' order, that makes it; "none": the demonstrations as they are
    permuted: bool


@dataclass(frozen=True)
class PairTool:
    """A tool for pairs: it changes both grids alike, apart from the translation."""

    name: str
    to_input: Tool
    to_output: Tool

    def __call__(self, pair: Pair) -> Pair:
        return Pair(self.to_input(pair.input), self.to_output(pair.output))


def make_training_tasks(
    demonstrations: Sequence[Pair], groups: Collection[str], *, seed: int, is_short: Callable[[Puzzle], bool]
) -> tuple[TrainingTask, ...]:
    """Return the rows to train on: at most 250, each short enough by the caller's `is_short`.

    Where there are more, which ones stay is drawn by each row's content, after the long ones are out (official
    process_task). That draw also orders them. Raises BadConfig for an unknown group.
    """
    rows = [row for count in LEFT_OUT for row in make_leave_out_rows(demonstrations, count, groups, seed=seed)]
    drawn = sorted(rows, key=lambda row: content_id("row", seed, get_row_identity(row.puzzle)))
    short: list[TrainingTask] = []
    for row in drawn:
        if len(short) < MAX_ROWS and is_short(row.puzzle):
            short.append(row)
    return tuple(short)


def make_leave_out_rows(
    demonstrations: Sequence[Pair], count: int, groups: Collection[str], *, seed: int
) -> list[TrainingTask]:
    """Return every training task that leaves out `count` demonstrations, before any limit, each puzzle once."""
    tools = _switched_on(demonstrations, groups, seed)
    made = _with_tools(tuple(dict.fromkeys(demonstrations)), count, tools)
    rows = {puzzle: TrainingTask(puzzle, name, permuted=False) for puzzle, name in made.items()}
    for puzzle, name in made.items():
        copy = _permute(puzzle, seed, recolour=bool(tools))
        rows.setdefault(copy, TrainingTask(copy, name, permuted=True))
    return list(rows.values())


def _switched_on(demonstrations: Sequence[Pair], groups: Collection[str], seed: int) -> list[PairTool]:
    """Return the tools of these groups, in the tables' order. Raises BadConfig for an unknown group."""
    unknown = sorted(set(groups) - set(GROUPS))
    if unknown:
        raise BadConfig(f"no group of tools is called {unknown[0]}; take some of {', '.join(GROUPS)}")
    tools = [PairTool(name, tool, tool) for group in GROUPS if group in groups for name, tool in GROUPS[group].items()]
    return tools + ([draw_translation(demonstrations, seed)] if "basic" in groups else [])


def draw_translation(demonstrations: Sequence[Pair], seed: int) -> PairTool:
    """Draw a shift for the inputs and one for the outputs, each of 0 to 3 rows and columns; all may be 0."""
    names = [content_id(pair.grids) for pair in demonstrations]
    random = Random(derive_seed(seed, content_id(TRANSLATE, names)))
    down, right, output_down, output_right = (random.random() for _ in range(4))
    return PairTool(TRANSLATE, make_translation(down, right), make_translation(output_down, output_right))


def leave_out(demonstrations: Sequence[Pair], count: int) -> Iterator[Puzzle]:
    """Ask each demonstration, with every choice of `count` - 1 of the others left out (official: n)."""
    for asked in demonstrations:
        others = [pair for pair in demonstrations if pair != asked]
        if len(others) >= count - 1:
            for shown in combinations(others, len(others) - (count - 1)):
                yield Puzzle(shown, asked)


def _with_tools(demonstrations: Sequence[Pair], count: int, tools: Sequence[PairTool]) -> dict[Puzzle, str]:
    """Return the leave-out puzzles, then each changed by each tool, with the tool; none with a side over 30."""
    plain = list(leave_out(demonstrations, count))
    made = dict.fromkeys(plain, _NO_TOOL)
    for tool in tools:
        changed = {pair: tool(pair) for pair in demonstrations}
        for puzzle in plain:
            new = Puzzle(tuple(changed[pair] for pair in puzzle.shown), changed[puzzle.asked])
            if has_small_grids(new):
                made.setdefault(new, tool.name)
    return made


def has_small_grids(puzzle: Puzzle) -> bool:
    return all(get_longest_side(grid) <= MAX_SIDE for pair in puzzle.pairs for grid in pair.grids)


def _permute(puzzle: Puzzle, seed: int, *, recolour: bool) -> Puzzle:
    """Copy a puzzle with its demonstrations reordered and, where a tool is on, its colours permuted throughout."""
    random = Random(derive_seed(seed, get_row_identity(puzzle)))
    pairs = [*shuffle(puzzle.shown, random), puzzle.asked]
    if recolour:
        new = permute_colours(get_colours(grid for pair in pairs for grid in pair.grids), random)
        pairs = [Pair(change_colours(pair.input, new), change_colours(pair.output, new)) for pair in pairs]
    return Puzzle(tuple(pairs[:-1]), pairs[-1])


def get_row_identity(puzzle: Puzzle) -> str:
    """Return an id that depends on the puzzle's grids and their order alone."""
    return content_id("puzzle", [pair.grids for pair in puzzle.pairs])
