"""The lexical judge's coefficients, fitted to GPT-4.1's verdicts in the paper's result files, and which half of them.

`python -m tests.bench.judge_agreement --fit` prints what `fit_rows` yields.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stages import tasks
from stages.judges.base import Case
from stages.judges.lexical import WEIGHTS, decide_by_rule, measure
from stages.judges.reading.comparison import compare_words

RIDGE = 1.0  # L2 penalty on all coefficients but the constant
FOLDS = 10
DECIMALS = 2  # of the coefficients in the source

Row = dict[str, Any]
Weights = Mapping[str, float]
MEASURES = tuple(WEIGHTS)


@dataclass(frozen=True)
class Graded:
    """One verdict of GPT-4.1, and whose answer it is about."""

    context: str
    title: str
    sample: int  # of the self-edit
    adapted: bool  # False: the unadapted model's answer
    case: Case
    correct: bool


def load(path: Path) -> list[Graded]:
    """All verdicts of a result file, those on the unadapted model's answers too, in the file's order."""
    found = []
    for record in tasks.run(str(path)):
        assert record.score is not None and record.edit is not None
        place = record.task.id, record.task.title, record.edit.sample
        for asked, answer in zip(record.task.questions, record.score.answers, strict=True):
            for adapted, text, correct in (
                (True, answer.prediction, answer.correct),
                (False, answer.baseline_prediction, answer.baseline_correct),
            ):
                case = Case(asked.question, asked.answer, text or "")
                found.append(Graded(*place, adapted, case, bool(correct)))
    return found


def held_out(text: str) -> bool:
    """Which half a question, or a passage's title, belongs to."""
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 1


def unique(rows: Iterable[Graded]) -> list[Graded]:
    """The first of each (question, gold, answer). GPT-4.1 hardly ever judges one of them in two ways."""
    return list({row.case: row for row in reversed(list(rows))}.values())[::-1]


@cache
def decide(case: Case) -> bool | Weights:
    """The verdict where a rule decides; else what is to be weighed."""
    words = compare_words(case)
    ruled = decide_by_rule(words)
    return measure(words) if ruled is None else ruled


def fit(rows: Sequence[Graded], names: Sequence[str] = MEASURES) -> dict[str, float]:
    """The coefficients that make GPT-4.1's verdicts likeliest on the unique triples that no rule decides."""
    known = [(found, row.correct) for row in unique(rows) if not isinstance(found := decide(row.case), bool)]
    weights = logistic(
        np.array([[measured[name] for name in names] for measured, _ in known]),  # (triples, measures)
        np.array([correct for _, correct in known], dtype=float),
    )
    return dict(zip(names, (round(float(weight), DECIMALS) for weight in weights), strict=True))


def logistic(inputs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Newton's method on the penalised likelihood; the first column is the constant. Raises if it does not settle."""
    penalty = RIDGE * np.eye(inputs.shape[1])
    penalty[0, 0] = 0.0
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        curvature = (inputs.T * (chance * (1 - chance))) @ inputs + penalty
        step = np.linalg.solve(curvature, inputs.T @ (wanted - chance) - penalty @ weights)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            return weights
    raise ArithmeticError("the fit does not settle")


def weighed(rows: Iterable[Graded], weights: Weights) -> list[bool]:
    """The lexical judge's verdicts with other coefficients; a measure without one counts nothing."""
    decided = (decide(row.case) for row in rows)
    return [
        found if isinstance(found, bool) else sum(weights.get(name, 0.0) * found[name] for name in found) > 0
        for found in decided
    ]


def cross_validated(rows: Sequence[Graded], names: Sequence[str]) -> float:
    """Agreement on unique triples, each fold's passages judged with coefficients fitted to the others'."""
    triples = unique(rows)
    folds = [hashlib.sha256(row.title.encode()).digest()[1] % FOLDS for row in triples]
    agreed = 0
    for fold in set(folds):
        inside = [row for row, place in zip(triples, folds, strict=True) if place == fold]
        weights = fit([row for row, place in zip(triples, folds, strict=True) if place != fold], names)
        agreed += sum(given == row.correct for given, row in zip(weighed(inside, weights), inside, strict=True))
    return agreed / len(triples)


def fit_rows(rows: Sequence[Graded]) -> Iterator[Row]:
    """The coefficients, and what each is worth: the agreement within the half fitted to, with and without it."""
    half = [row for row in rows if not held_out(row.case.question)]
    yield {"measure": "all", "cross-validated": cross_validated(half, MEASURES)}
    for name, weight in fit(half).items():
        others = tuple(other for other in WEIGHTS if other != name)
        without = cross_validated(half, others) if name != "constant" else None
        yield {"measure": name, "coefficient": weight, "in the source": WEIGHTS[name], "without it": without}
