"""What a page tells of score lines: what each row took, how it did on each task, and the lines, as a reader opens them.

A task is opened to its passage, a self-edit to its text and training sequences, a seed to its answers: what lines have
in common is told once, above them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from stages.domains.views import Row, make_view, name_sample
from stages.errors import BadInput
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.reporting.matrix import Matrix, StepScore, average_runs, make_matrices, read_step
from stages.scoring.candidates import Candidate, compute_reliability


@dataclass
class RowCost:
    """What the lines of a row took."""

    lines: int = 0
    written: int = 0  # tokens of self-edits, where they are known
    trained: int = 0  # tokens, of all epochs
    steps: int = 0  # of the optimizer
    failed: int = 0  # lines whose self-edit or training came to nothing
    edits: dict[tuple[str, str], Candidate] = field(default_factory=dict)  # by task and self-edit
    adapters: set[str] = field(default_factory=set)  # lines of a pool, or about other tasks, share theirs

    @property
    def reliability(self) -> float | None:
        """The share of the rewards' variance that is no noise of the seeds; None where it cannot be known."""
        contexts: dict[str, list[Candidate]] = {}
        for candidate in self.edits.values():
            if candidate.values:
                contexts.setdefault(candidate.task_id, []).append(candidate)
        return compute_reliability(list(contexts.values()))

    def add(self, line: Record) -> None:
        """Add what a line took; what several lines share was written, and trained, once."""
        edit, adapter = line.edit, line.adapter
        self.lines += 1
        if edit:
            name = line.task.id, edit.id
            self.written += 0 if name in self.edits else edit.tokens or 0
            candidate = self.edits.setdefault(name, Candidate(*name, edit.sample, "", 0, 0, None))
            if line.score:
                candidate.add(line.score, "leave-out")
        if adapter and adapter.train and adapter.id not in self.adapters:
            self.adapters.add(adapter.id)
            self.steps += adapter.train.steps
            self.trained += adapter.train.tokens * int(adapter.fit.get("epochs", 1))
        self.failed += bool((edit and edit.error) or (adapter and adapter.error))


@dataclass(frozen=True)
class Fold:
    """What is opened by its title: rows of text and grids, and below them what else is opened."""

    title: str
    rows: Sequence[Row]
    folds: "Sequence[Fold]" = ()


@dataclass
class TaskEntry:
    """What the page tells of a task: how each row did on it, and its lines."""

    name: str
    values: dict[str, list[float]] = field(default_factory=dict)  # by label, of its scored lines
    lines: list[tuple[str, Record]] = field(default_factory=list)

    def mean(self, label: str) -> float | None:
        values = self.values.get(label)
        return fmean(values) if values else None

    def fold(self, title: str) -> Fold:
        """Fold the lines: by label and self-edit, the best first, their seeds below."""
        task = make_view(Record(task=self.lines[0][1].task))[1:]
        views = [make_view(line)[1:] for _, line in self.lines]
        shared = _count_shared([task, *views])
        groups: dict[tuple[str, str], list[tuple[Record, list[Row]]]] = {}
        for (label, line), rows in zip(self.lines, views, strict=True):
            owner = line.edit.id if line.edit else line.adapter.id if line.adapter else ""
            groups.setdefault((label, owner), []).append((line, rows[shared:]))
        labels = list(dict.fromkeys(label for label, _ in self.lines))
        ranked = sorted(groups.items(), key=lambda each: (labels.index(each[0][0]), _rank(each[1])))
        return Fold(title, task[:shared], [_fold_group(label, lines) for (label, _), lines in ranked])


def _fold_group(label: str, lines: Sequence[tuple[Record, list[Row]]]) -> Fold:
    """The lines of one self-edit: what they share, then seed by seed."""
    if len(lines) == 1:
        line, rows = lines[0]
        return Fold(f"{label}: {name_sample(line) or 'without a self-edit'}: {_tell_value([line])}", rows)
    shared = _count_shared([rows for _, rows in lines])
    seeds = [Fold(f"{name_sample(line)}: {_tell_value([line])}", rows[shared:]) for line, rows in lines]
    edit = lines[0][0].edit
    title = f"{label}: {f'self-edit {edit.sample}' if edit else 'runs'}: {_tell_value([line for line, _ in lines])}"
    return Fold(title, lines[0][1][:shared], seeds)


def _count_shared(views: Sequence[Sequence[Row]]) -> int:
    """How many rows all of them begin with; what stands under a heading is not divided."""
    for place, rows in enumerate(zip(*views, strict=False)):
        if len(set(rows)) > 1 or rows[0].style == "heading":
            return place
    return min(map(len, views))


def _rank(lines: Iterable[tuple[Record, object]]) -> float:
    """The best values first, what is unscored last."""
    values = [line.score.value for line, _ in lines if line.score and line.score.value is not None]
    return -fmean(values) if values else 1.0


def _tell_value(lines: Sequence[Record]) -> str:
    """Say the mean value of some lines of one self-edit, and what the model without an adapter has."""
    scores = [line.score for line in lines if line.score]
    values = [score.value for score in scores if score.value is not None]
    if not values:
        return "unscored" if scores else "not scored"
    before = scores[0].baseline
    told = f"{100 * fmean(values):.1f} %" + (f" over {len(values)} seeds" if len(lines) > 1 else "")
    return told if before is None else f"{100 * before:.1f} → {told}"


class PageLines:
    """Collects lines while another reader goes through them; of more than a page holds, the values alone.

    `before`: the label of the row that the first file's baselines make.
    """

    def __init__(self, most: int, before: str | None = None) -> None:
        self.tasks: dict[str, TaskEntry] = {}
        self.costs: dict[str, RowCost] = {}
        self.steps: dict[str, list[StepScore]] = {}  # by label, of the lines of sequences
        self.most, self.held = most, 0  # characters of the lines that are kept
        self.before = before

    def watch(self, label: str, records: Iterable[Record]) -> Iterator[Record]:
        """Pass the records on, and note them."""
        first = not self.costs
        cost = self.costs.setdefault(label, RowCost())
        for record in records:
            entry = self.tasks.setdefault(record.task.id, TaskEntry(record.task.name))
            cost.add(record)
            if record.score and record.score.value is not None:
                entry.values.setdefault(label, []).append(record.score.value)
            if self.before and first and record.score and record.score.baseline is not None:
                entry.values.setdefault(self.before, [record.score.baseline])
            if step := read_step(record):
                self.steps.setdefault(label, []).append(step)
            if self.held <= self.most:
                self.held += len(to_json(record))
                entry.lines.append((label, record))
            yield record

    def make_matrices(self) -> Iterator[tuple[str, Matrix | None, str]]:
        """Yield (label, matrix, why there is none) of each file with the steps of a sequence, asked about all tasks."""
        for label, steps in self.steps.items():
            try:
                yield label, average_runs(make_matrices(steps, label)), ""
            except BadInput as error:
                yield label, None, str(error)
