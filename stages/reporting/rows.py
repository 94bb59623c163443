"""Rows of a report: means with intervals, and paired comparisons.

The task is the unit of sampling: a task's answers share a passage, so intervals resample tasks, not questions.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.errors import BadInput
from stages.records.record import Record
from stages.records.score import Score, compute_accuracy, compute_bounds

Floats = NDArray[np.float64]
AT_ONCE, ROUNDS = 500, 20  # 10,000 resamples, a few at a time: memory stays small for many tasks
_LEVEL = 0.95


@dataclass(frozen=True)
class TaskScores:
    """One run of one row: per task the mean over its lines of the share of right among scored answers.

    Answers without a verdict move no mean; `least` and `most` are the mean over all tasks with them wrong, and right.
    """

    by_task: Mapping[str, float]
    right: int
    scored: int  # answers
    unscored: int  # answers; a line that names none counts as one
    least: float
    most: float
    kind: str = "accuracy"  # of its values: what they measure


@dataclass(frozen=True)
class ReportRow:
    """A line of the table. Values are 0..1; low and high bound the 95 % interval of `mean`."""

    label: str
    mean: float | None  # over tasks (macro); None where no answer is scored
    low: float | None
    high: float | None
    by_question: float | None  # over questions (micro)
    tasks: int
    answers: int  # scored
    unscored: int  # answers without a verdict
    least: float  # the mean if all unscored answers are wrong
    most: float  # and if all are right
    runs: int
    run_error: float | None  # standard error of the mean over runs, where the row has several files
    gain: float | None  # paired difference to the chosen row, over the tasks that both have
    gain_low: float | None
    gain_high: float | None
    p_value: float | None  # two-sided sign-flip test of the paired difference
    kind: str  # what the values are: accuracy, or the likelihood or the rating of whom


def read_scores(label: str, records: Iterable[Record]) -> TaskScores | None:
    """Means per task over scored answers; None where there is no line."""
    values: dict[str, list[float]] = {}
    ends: dict[str, list[tuple[float, float]]] = {}
    right = scored = unscored = 0
    kinds: dict[str, None] = {}
    for record in records:
        score = record.score
        if score is None:
            raise BadInput(f"{label}: task {record.task.id} has no score (run `seal eval` first)")
        kinds[score.measure] = None
        given = [answer.correct for answer in score.answers if answer.correct is not None]
        value = sum(given) / len(given) if given and score.value is None else score.value
        if value is not None:
            values.setdefault(record.task.id, []).append(value)
        ends.setdefault(record.task.id, []).append(_get_bounds(score))
        right, scored = right + sum(given), scored + len(given)
        unscored += len(score.answers) - len(given) if score.answers else score.value is None
    if not ends:
        return None
    check_kinds(kinds)
    means = {task: float(np.mean(shares)) for task, shares in values.items()}
    low, high = np.mean([np.mean(pairs, axis=0) for pairs in ends.values()], axis=0)
    return TaskScores(means, right, scored, unscored, float(low), float(high), *kinds)


def check_kinds(kinds: Collection[str]) -> None:
    """Raise BadInput where values are of more than one kind: a likelihood is no accuracy."""
    if len(kinds) > 1:
        raise BadInput(f"values of different kinds ({' and '.join(kinds)}) are not to be compared; report them apart")


def add_baseline(
    name: str | None, files: Iterable[tuple[str, Iterable[Record]]]
) -> Iterator[tuple[str, Iterable[Record]]]:
    """Yield the files, and before the first one a row `name` of its answers without the adapter, each task once.

    None: only the files. Raises BadInput where the model without the adapter was not measured.
    """
    for number, (label, records) in enumerate(files):
        if name is not None and number == 0:
            kept = list(records)
            firsts = {record.task.id: record for record in reversed(kept)}
            plain = [_drop_adapter(record) for record in kept if firsts[record.task.id] is record]
            if kept and all(record.score is None or record.score.value is None for record in plain):
                raise BadInput(f"{label}: --before {name}: its lines do not say how the model does without the adapter")
            yield name, plain
            yield label, kept
        else:
            yield label, records


def _drop_adapter(record: Record) -> Record:
    """The line of the model without the adapter."""
    if record.score is None:
        return record
    answers = tuple(
        answer.model_copy(update={"prediction": answer.baseline_prediction, "correct": answer.baseline_correct})
        for answer in record.score.answers
    )
    verdicts = [answer.correct for answer in answers]
    value = compute_accuracy(verdicts) if answers else record.score.baseline
    update = {"answers": answers, "value": value, "bounds": compute_bounds(verdicts)}
    return record.grow(score=record.score.model_copy(update=update))


def _get_bounds(score: Score) -> tuple[float, float]:
    """The bounds of a score's value."""
    if score.value is not None:
        return score.value, score.value
    return compute_bounds([answer.correct for answer in score.answers]) or score.bounds or (0.0, 1.0)


def pool_runs(runs: Sequence[TaskScores]) -> dict[str, float]:
    """Mean per task over the runs that have it."""
    tasks = {task for scores in runs for task in scores.by_task}
    return {task: float(np.mean([s.by_task[task] for s in runs if task in s.by_task])) for task in sorted(tasks)}


def make_row(label: str, runs: Sequence[TaskScores], reference: Mapping[str, float], seed: int) -> ReportRow:
    """One row from its runs; compared with the reference's means per task."""
    values = pool_runs(runs)
    low, high = bootstrap_interval(np.array(list(values.values())), seed) if values else (None, None)
    scored = sum(scores.scored for scores in runs)
    means = [mean for scores in runs if (mean := _compute_mean(scores.by_task.values())) is not None]
    gain, gain_low, gain_high, p_value = _compare_rows(values, reference, seed)
    return ReportRow(
        label=label,
        mean=_compute_mean(values.values()),
        low=low,
        high=high,
        by_question=sum(scores.right for scores in runs) / scored if scored else _compute_mean(means),
        tasks=len(values),
        answers=scored,
        unscored=sum(scores.unscored for scores in runs),
        least=float(np.mean([scores.least for scores in runs])),
        most=float(np.mean([scores.most for scores in runs])),
        runs=len(runs),
        run_error=float(np.std(means, ddof=1) / len(means) ** 0.5) if len(means) > 1 else None,
        gain=gain,
        gain_low=gain_low,
        gain_high=gain_high,
        p_value=p_value,
        kind=runs[0].kind,
    )


def _compute_mean(values: Collection[float]) -> float | None:
    return float(np.mean(list(values))) if values else None


def make_generator(seed: int) -> np.random.Generator:
    """Return numpy's generator of any seed; it knows none below 0."""
    return np.random.default_rng(seed % 2**64)


def bootstrap_interval(values: Floats, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over tasks."""
    generator = make_generator(seed)
    means = [values[generator.integers(0, len(values), (AT_ONCE, len(values)))].mean(1) for _ in range(ROUNDS)]
    return make_interval(np.concatenate(means))


def make_interval(means: Floats) -> tuple[float, float]:
    """Return the bounds between which 95 % of the resampled means lie."""
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _compare_rows(
    values: Mapping[str, float], reference: Mapping[str, float], seed: int
) -> tuple[float | None, float | None, float | None, float | None]:
    """(mean difference, low, high, p) over the tasks that both rows have; all None where they share none."""
    shared = sorted(values.keys() & reference.keys())
    if not shared:
        return None, None, None, None
    difference = np.array([values[task] - reference[task] for task in shared])
    low, high = bootstrap_interval(difference, seed)
    return float(difference.mean()), low, high, compute_p_value(difference, seed)


def compute_p_value(difference: Floats, seed: int) -> float:
    """Two-sided p-value of the mean difference when each task's sign is a coin toss; never 0 (Phipson & Smyth 2010)."""
    generator = make_generator(seed)
    extreme = 0
    for _ in range(ROUNDS):
        signs = generator.choice([-1.0, 1.0], (AT_ONCE, len(difference)))
        extreme += int((np.abs((signs * difference).mean(1)) >= abs(difference.mean()) - 1e-12).sum())
    return (extreme + 1) / (AT_ONCE * ROUNDS + 1)
