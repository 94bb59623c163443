"""The matrix of a continual run: accuracy on every passage after every step, what is forgotten, and its picture.

Row 0 is the model before the first self-edit, measured on all passages. Row r follows the self-edit on passage r, and
has the passages up to that one (SEAL section 5; summaries of its official code). Forgetting is that of Chaudhry et al.
(arXiv 1801.10112), backward transfer that of Lopez-Paz and Ranzato (arXiv 1706.08840).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from stages.errors import BadInput
from stages.records.record import Record
from stages.records.strict_json import JsonFault, explain, parse_loosely, sanitize
from stages.reporting.plot import open_figure

Cells = Sequence[Sequence[float | None]]  # (steps + 1, passages), 0..1; None: not measured
_MEANS, _STDS, _COUNT = "mean_over_sequences", "std_over_sequences", "n_sequences"
_LARGEST = 2**20  # bytes of a summary, which has some three thousand


@dataclass(frozen=True)
class Matrix:
    """Mean accuracy after each step (row) on each passage (column); `stds` are over the sequences of passages."""

    means: Cells
    stds: Cells | None = None
    sequences: int = 1
    refused: Mapping[int, int] = field(default_factory=dict)  # by the step, from 1: how many sequences refused it
    about: Mapping[str, Any] = field(default_factory=dict)  # what the runs that are averaged must share

    @property
    def accuracies(self) -> list[float]:
        """Mean accuracy after each step, over the passages that it is measured on."""
        return [fmean(value for value in row if value is not None) for row in self.means]

    @property
    def forgetting(self) -> float | None:
        """Mean drop from the best value of a passage, since it was learned, to its last one; None for one passage."""
        drops = [max(values[:-1]) - values[-1] for values in self._since_learned() if len(values) > 1]
        return fmean(drops) if drops else None

    @property
    def backward_transfer(self) -> float | None:
        """Mean change of a passage from just after it was learned to the end; None for one passage."""
        changes = [values[-1] - values[0] for values in self._since_learned() if len(values) > 1]
        return fmean(changes) if changes else None

    def name_step(self, step: int) -> str:
        """Name a row: its number, and whether its update was refused."""
        refused = self.refused.get(step)
        if not refused:
            return str(step or "before")
        return f"{step} (refused)" if self.sequences == 1 else f"{step} (refused in {refused})"

    @property
    def updates(self) -> int:
        """The steps of all sequences."""
        return (len(self.means) - 1) * self.sequences

    def _since_learned(self) -> Iterable[list[float]]:
        """Each passage's values from the step that learned it to the last one."""
        for passage in range(len(self.means[0])):
            values = [row[passage] for row in self.means[passage + 1 :]]
            yield [value for value in values if value is not None]


def read_summary(path: Path) -> Matrix | None:
    """Read an official summary of a run, or of runs; None for any other file. Raises BadInput for a bad one."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return None
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if f'"{_MEANS}"' not in text or not text.lstrip().startswith("{"):
        return None
    try:
        document = sanitize(parse_loosely(text))
    except (ValueError, JsonFault) as error:
        raise BadInput(f"{path}: {explain(error) if isinstance(error, ValueError) else error}") from None
    means, count = document.get(_MEANS), document.get(_COUNT, 1)
    if not isinstance(count, int) or count < 1:
        raise BadInput(f"{path}: {_COUNT} must be a number of 1 or more")
    about = {name: value for name, value in document.items() if name not in (_MEANS, _STDS)}
    stds = _read_cells(document[_STDS], _STDS, path) if _STDS in document else None
    found = Matrix(_read_cells(means, _MEANS, path), stds, count, about=about)
    if stds and len(stds) != len(found.means):
        raise BadInput(f"{path}: {_STDS} has {len(stds)} rows, {_MEANS} {len(found.means)}")
    return found


class StepScore(NamedTuple):
    """What a line of `seal eval --on` says: how well a task is known after a step, and before the first one."""

    sequence: int
    number: int  # of the step
    adapter: str  # the step's, by its id
    learned: str  # the task of its self-edit
    asked: str  # the task that is asked about
    value: float | None
    baseline: float | None
    limit: float | None  # of a gate
    refused: bool  # by the gate


def read_step(line: Record) -> StepScore | None:
    """Read a line; None for one that is of no step, or that has no score."""
    adapter, score = line.adapter, line.score
    if adapter is None or (step := adapter.step) is None or score is None:
        return None
    if adapter.origin is None or (learned := adapter.origin.task_id) is None:
        return None
    limit, refused = (step.gate.limit, step.gate.refused) if step.gate else (None, False)
    own, found = (step.sequence, step.number, adapter.id), (score.value, score.baseline)
    return StepScore(*own, learned, line.task.id, *found, limit, refused)


def read_steps(lines: Iterable[Record], name: str) -> list[tuple[str, Matrix]]:
    """Make the matrix of every sequence, with its name, of the lines of `seal eval --on` about its steps.

    Raises BadInput for lines of anything else, and as `make_matrices` does.
    """

    def read(line: Record) -> StepScore:
        if (step := read_step(line)) is None:
            way = "`seal adapt --sequential`, asked about all passages by `seal eval --on`"
            raise BadInput(f"{name}: a line of task {line.task.id} is of no step of a sequence ({way})")
        return step

    return make_matrices(map(read, lines), name)


def make_matrices(steps: Iterable[StepScore], name: str) -> list[tuple[str, Matrix]]:
    """Make the matrix of every sequence, with its name.

    Columns are in the order in which the sequence learned them. What it did not learn is left out, and so is a passage
    before it was learned, as in the paper. Raises BadInput where a cell is missing, or there twice.
    """
    found: dict[int, dict[int, dict[str, StepScore]]] = {}  # by sequence, step, and the task that is asked about
    for step in steps:
        cells = found.setdefault(step.sequence, {}).setdefault(step.number, {})
        is_of_other_run = next(iter(cells.values()), step).adapter != step.adapter
        if is_of_other_run or step.asked in cells:
            what = "is of two runs" if is_of_other_run else f"has answered task {step.asked} twice"
            told = f"step {step.number} of sequence {step.sequence} {what}"
            raise BadInput(f"{name}: {told}; give the lines of each run in a file of their own, each line once")
        cells[step.asked] = step
    if not found:
        raise BadInput(f"{name}: no lines in it; give those of `seal eval --on`, or an official summary")
    return [(f"{name}, sequence {number}", _order_steps(own, name)) for number, own in sorted(found.items())]


def _order_steps(steps: Mapping[int, Mapping[str, StepScore]], name: str) -> Matrix:
    """The matrix of one sequence. The row of a refused step is the kept model's."""
    firsts = [next(iter(steps[number].values())) for number in sorted(steps)]
    order = [step.learned for step in firsts]
    if sorted(steps) != list(range(len(steps))) or len(set(order)) < len(order):
        raise BadInput(f"{name}: the steps must be all of a sequence, each of another passage (found {sorted(steps)})")
    rows = [[_read_share(steps[0], task, name, before=True) for task in order]]
    for number in range(len(order)):
        learned = [_read_share(steps[number], task, name) for task in order[: number + 1]]
        rows.append([*learned, *[None] * (len(order) - number - 1)])
    refused = {step.number + 1: 1 for step in firsts if step.refused}
    about = {} if firsts[0].limit is None else {"--gate": firsts[0].limit}  # runs with other gates have no average
    return Matrix(rows, refused=refused, about=about)


def _read_share(scores: Mapping[str, StepScore], task: str, name: str, *, before: bool = False) -> float | None:
    if task not in scores:
        raise BadInput(f"{name}: a step was not asked about task {task}; give `seal eval --on` all tasks")
    value = scores[task].baseline if before else scores[task].value
    if value is None:
        raise BadInput(f"{name}: an answer to task {task} is unscored; grade it with `seal judge`, or ask again")
    return value


def _read_cells(rows: Any, name: str, path: Path) -> Cells:
    """The measured cells of a matrix that has zeros in the place of the others."""
    width = len(rows[0]) if isinstance(rows, list) and rows and isinstance(rows[0], list) else 0
    whole = width and len(rows) == width + 1 and all(isinstance(row, list) and len(row) == width for row in rows)
    if not whole or not all(type(value) in (int, float) and 0 <= value <= 1 for row in rows for value in row):
        raise BadInput(
            f"{path}: {name} must be a row of shares more than it has columns: before, and after each passage"
        )
    return [
        [value if step == 0 or passage < step else None for passage, value in enumerate(row)]
        for step, row in enumerate(rows)
    ]


def average_runs(runs: Sequence[tuple[str, Matrix]]) -> Matrix:
    """Average runs as the official script does: the mean of their means, the mean of their stds, to four digits.

    The mean of the stds is not the std over all sequences. Raises BadInput for runs that do not belong together.
    """
    name, first = runs[0]
    for other, run in runs[1:]:
        unlike = [key for key in {**first.about, **run.about} if first.about.get(key) != run.about.get(key)]
        if unlike or len(run.means) != len(first.means) or (run.stds is None) != (first.stds is None):
            what = (
                f"{unlike[0]} is {run.about.get(unlike[0])!r} and {first.about.get(unlike[0])!r}" if unlike else "sizes"
            )
            raise BadInput(f"{other} and {name} are not runs of one experiment: {what}")
    stds = [run.stds for _, run in runs if run.stds is not None]
    means = _average([run.means for _, run in runs])
    refused = sum((Counter(run.refused) for _, run in runs), Counter[int]())
    count = sum(run.sequences for _, run in runs)
    return Matrix(means, _average(stds) if stds else None, count, refused, first.about)


def _average(cells: Sequence[Cells]) -> Cells:
    """The mean of each cell over the runs; missing in all or in none."""
    stacked: list[list[float]] = np.round(np.array(cells, dtype=np.float64).mean(0), 4).tolist()  # None becomes NaN
    return [[None if np.isnan(value) else value for value in row] for row in stacked]


def draw_matrix(matrix: Matrix, path: Path) -> None:
    """Draw the matrix, rows as steps and columns as passages, as PNG, PDF or SVG by the file's ending."""
    wide, high = len(matrix.means[0]), len(matrix.means)
    with open_figure(path, (1.6 + 0.75 * wide, 1.4 + 0.5 * high), "--matrix") as figure:
        axes = figure.subplots()
        values = 100 * np.array(matrix.means, dtype=np.float64)  # NaN, which is left white, for None
        image = axes.imshow(values, cmap="viridis", vmin=0, aspect="auto")
        top = float(np.nanmax(values))
        for step, row in enumerate(matrix.means):
            for passage, value in enumerate(row):
                if value is not None:
                    colour = "white" if 100 * value < 0.6 * top else "black"
                    axes.text(passage, step, f"{100 * value:.1f}", ha="center", va="center", color=colour, fontsize=9)
        axes.set_xticks(range(wide), [str(passage + 1) for passage in range(wide)])
        axes.set_yticks(range(high), list(map(matrix.name_step, range(high))))
        axes.set_xlabel("passage")
        axes.set_ylabel("after self-edit")
        axes.set_title(f"accuracy (%), {matrix.sequences} sequence{'' if matrix.sequences == 1 else 's'}", fontsize=10)
        figure.colorbar(image, ax=axes)
