"""Published numbers beside ours: the tables of SEAL (arXiv 2506.10943, versions 1 and 2) and of its official files.

A row has the name that the label of our file has. What no stage of ours runs is printed as published, and marked so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stages.errors import BadConfig, BadInput
from stages.records.record import Record
from stages.reporting.matrix import Matrix
from stages.reporting.rows import AT_ONCE, ROUNDS, ReportRow, make_generator, make_interval

MeanOver = Literal["tasks", "questions"]
_NOT_RUN = "not run here, as published"
_FEW_SHOT = "table-1"  # of puzzles; all others are of passages


@dataclass(frozen=True)
class PublishedRow:
    """A published accuracy in per cent; None where the paper gives no number."""

    name: str
    percent: float | None
    source: str
    over: MeanOver = "tasks"
    remark: str = ""


@dataclass(frozen=True)
class ComparedRow:
    """A published number and ours. Accuracies are 0..1; `low` and `high` bound the 95 % interval of ours."""

    row: str
    published: float | None
    ours: float | None  # None: no file has this label
    low: float | None
    high: float | None
    difference: float | None  # ours - published
    inside: bool | None  # whether the published number lies in our interval
    over: MeanOver  # what both are means over
    source: str
    remark: str


def _rows(source: str, percents: str, over: MeanOver = "tasks") -> tuple[PublishedRow, ...]:
    """The rows of `name percent, name percent`."""
    pairs = (each.rsplit(" ", 1) for each in percents.split(", "))
    return tuple(PublishedRow(name, float(percent), source, over) for name, percent in pairs)


_ROUND_1 = PublishedRow("round-1", 43.7, "v1, figure 4", remark="42.7 in the official eval/iter1.json")
_PROMPTS = (
    "implications 39.7 43.7 47.0, implications-long 49.3 52.4 54.4, implications-very-long 45.0 51.5 52.1, "
    "rewrite 49.4 55.3 55.6, self-qa 37.3 42.8 48.7"
)


def _prompt_rows() -> Iterator[PublishedRow]:
    """The ablation of prompts: NAME-0 are the base model's self-edits, NAME-1 and NAME-2 those of two rounds."""
    for name, *percents in (line.split(" ") for line in _PROMPTS.split(", ")):
        for number, percent in enumerate(percents):
            remark = _ROUND_1.remark if (name, number) == ("implications", 1) else ""
            yield PublishedRow(f"{name}-{number}", float(percent), "v2, prompts", remark=remark)


PUBLISHED: Mapping[str, Sequence[PublishedRow]] = {
    _FEW_SHOT: _rows("v1, table 1", "in-context 0, self 20, round-1 72.5, oracle 100"),
    "table-2": (
        *_rows("v1, table 2, n = 1", "none 32.7, passage 33.5, self 39.7, gpt-4.1 46.3, round-2 47.0"),
        PublishedRow("in-context", 89.8, "third party", remark="not the paper's"),
        PublishedRow("generative-adapter", 66.8, "v2, table 2, n = 1", remark=f"{_NOT_RUN}; its base model has 24.4"),
        PublishedRow("ppo", None, "v1, section 3", remark=f"{_NOT_RUN}: called unstable, without a number"),
    ),
    "3b": _rows("v2, Qwen2.5-3B, n = 1", "none 25.1, self 31.9, round-2 37.0"),
    "cpt-lora": _rows(
        "v1, table 2, n = 200", "none 32.7, passage 32.2, self 41.0, gpt-4.1 39.4, round-2 43.8", "questions"
    ),
    "cpt-full": _rows(
        "v2, table 2, n = 200", "none 32.7, passage 36.0, self 50.6, gpt-4.1 59.4, round-2 58.2", "questions"
    ),
    "cpt-full-2067": _rows(
        "v2, table 2, n = 2067", "none 29.0, passage 31.2, self 43.4, gpt-4.1 49.2, round-2 46.4", "questions"
    ),
    "gpt-4.1": _rows("v1, table 2, n = 1", "none 32.7, passage 33.5, gpt-4.1 46.3"),
    "rounds": (*_rows("v1, figure 4", "self 39.7"), _ROUND_1, *_rows("v1, figure 4", "round-2 47.0")),
    "prompts": tuple(_prompt_rows()),
    "proxy": _rows("v2, proxy reward", "self 39.7, proxy 45.6, round-2 47.0"),
    "continual": _rows(  # of the means of the official matrix
        "overall_results.json",
        "step-0 30.75, step-1 38.25, step-2 43.145, step-3 38.94, step-4 36.075, step-5 30.82, step-6 30.47, "
        "step-7 27.16, step-8 24.74, forgetting 19.11, backward-transfer -19.11",
    ),
}


def find_published(name: str) -> Sequence[PublishedRow]:
    """Return the rows of a table. Raises BadConfig for one that is not there."""
    if name not in PUBLISHED:
        raise BadConfig(f"--expect {name}: no such table; there are {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def check_labels(table: str, labels: Iterable[str]) -> None:
    """Raise BadConfig for a label that no published row has, and for two that have the same."""
    names, known = [row.name for row in find_published(table)], dict[str, str]()
    for label in dict.fromkeys(labels):
        other = known.setdefault(_normalize(label), label)
        if other != label:
            raise BadConfig(f"--expect {table}: {other!r} and {label!r} are the same row; give them the same label")
        if _normalize(label) not in names:
            raise BadConfig(
                f"--expect {table}: no row is called {label!r}; there are {', '.join(names)}. Name the file: ROW=FILE"
            )


def _normalize(label: str) -> str:
    return label.strip().lower().replace(" ", "-").replace("_", "-")


@dataclass
class QuestionCounts:
    """Right and scored answers by row and task: what a mean over questions and its interval are made of.

    `table`: the published one that they are compared with, if any.
    """

    table: str = ""
    right: dict[str, Counter[str]] = field(default_factory=dict)
    scored: dict[str, Counter[str]] = field(default_factory=dict)

    def watch(self, label: str, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records, and count their answers. Raises BadInput for what cannot be compared with the table."""
        right, scored = self.right.setdefault(label, Counter()), self.scored.setdefault(label, Counter())
        for record in records:
            self._check(label, record)
            for answer in record.score.answers if record.score else ():
                scored[record.task.id] += answer.correct is not None
                right[record.task.id] += answer.correct is True
            yield record

    def _check(self, label: str, record: Record) -> None:
        domain, kind = "arc" if self.table == _FEW_SHOT else "qa", record.score.kind if record.score else "accuracy"
        if self.table and record.task.domain != domain:
            raise BadInput(
                f"{label}: task {record.task.name!r} is of the domain {record.task.domain}; --expect {self.table} is "
                f"published for {domain}"
            )
        if self.table and kind != "accuracy":
            raise BadInput(f"{label}: its values are no accuracies ({kind}), as those of --expect {self.table} are")

    def bootstrap(self, label: str, seed: int) -> tuple[float, float] | None:
        """Return the 95 % interval of the mean over questions, from resampled tasks; None without answers."""
        tasks = [task for task, count in self.scored.get(label, {}).items() if count]
        if not tasks:
            return None
        pairs = np.array([(self.right[label][task], self.scored[label][task]) for task in tasks])
        generator = make_generator(seed)
        shares = []
        for _ in range(ROUNDS):
            sums = pairs[generator.integers(0, len(tasks), (AT_ONCE, len(tasks)))].sum(1)  # (AT_ONCE, 2)
            shares.append(sums[:, 0] / sums[:, 1])
        return make_interval(np.concatenate(shares))


def compare_rows(table: str, rows: Iterable[ReportRow], counts: QuestionCounts, seed: int = 0) -> list[ComparedRow]:
    """Return each published row of a table beside ours of the same name, if there is one."""
    ours = {_normalize(row.label): row for row in rows}
    compared = []
    for published in find_published(table):
        row = ours.get(published.name)
        mean, low, high = (row.mean, row.low, row.high) if row else (None, None, None)
        if row and published.over == "questions":
            low, high = counts.bootstrap(row.label, seed) or (low, high)
            mean = row.by_question
        compared.append(_compare(published, mean, low, high))
    return compared


def compare_matrix(table: str, matrix: Matrix) -> list[ComparedRow]:
    """Return the numbers of a continual run beside the published ones. A summary has no interval of its means."""
    ours: dict[str, float | None] = {f"step-{step}": mean for step, mean in enumerate(matrix.accuracies)}
    ours |= {"forgetting": matrix.forgetting, "backward-transfer": matrix.backward_transfer}
    known = find_published(table)
    if not {row.name for row in known} & ours.keys():
        raise BadConfig(f"--expect {table}: not a table of a continual run; --expect continual is")
    return [_compare(row, ours.get(row.name), None, None) for row in known]


def _compare(row: PublishedRow, mean: float | None, low: float | None, high: float | None) -> ComparedRow:
    published = None if row.percent is None else round(row.percent / 100, 6)
    inside = low <= published <= high if None not in (published, low, high) else None  # type: ignore[operator]
    difference = None if mean is None or published is None else mean - published
    return ComparedRow(row.name, published, mean, low, high, difference, inside, row.over, row.source, row.remark)
