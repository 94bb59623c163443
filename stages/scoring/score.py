"""From verdicts to a score: the share of right answers if all are scored, and its bounds if some are not."""

from collections.abc import Sequence
from fractions import Fraction

from stages.records.record import Answer, Score

Verdicts = Sequence[bool | None]


def make_score(answers: Sequence[Answer], *, model: str, judge: str) -> Score:
    """Make the score of graded answers: value and baseline if every answer is scored, bounds in any case."""
    verdicts = [answer.correct for answer in answers]
    return Score(
        value=compute_accuracy(verdicts),
        bounds=compute_bounds(verdicts),
        baseline=compute_accuracy([answer.baseline_correct for answer in answers]),
        model=model,
        judge=judge,
        answers=tuple(answers),
    )


def compute_accuracy(verdicts: Verdicts) -> float | None:
    """Return the share of right answers, or None if any is unscored: nothing unscored becomes a reward."""
    if not verdicts or any(verdict is None for verdict in verdicts):
        return None
    return float(compute_lower_bound(verdicts))


def compute_bounds(verdicts: Verdicts) -> tuple[float, float] | None:
    """Return the share of right answers if all unscored ones are wrong, and if all are right; None for no answers."""
    return (float(compute_lower_bound(verdicts)), float(compute_upper_bound(verdicts))) if verdicts else None


def compute_lower_bound(verdicts: Verdicts) -> Fraction:
    """Return the exact share of right answers, counting unscored ones as wrong."""
    return Fraction(sum(verdict is True for verdict in verdicts), len(verdicts))


def compute_upper_bound(verdicts: Verdicts) -> Fraction:
    """Return the exact share of right answers, counting unscored ones as right."""
    return Fraction(sum(verdict is not False for verdict in verdicts), len(verdicts))
