"""What an update did: learned, kept, lost and invented, each with what it would be with unscored answers either way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.records.score import Verdicts, compute_accuracy, compute_lower_bound, compute_upper_bound
from stages.reporting.cards.answers import AnswerSheet, Claim, QuestionKey, has_answer, read_claim
from stages.reporting.rows import bootstrap_interval, compute_p_value

Outcome = Literal["hit", "miss", "out"]  # of a question: counted, not counted, or none of those that could be
_SHOWN = 20  # answers of a kind that a card shows


@dataclass(frozen=True)
class Difference:
    """Accuracy of one row less that of another, in points, over the questions that both have scored.

    `low`, `high`: the 95 % interval over tasks. `least`, `most`: over all questions, with unscored answers either way.
    """

    points: float | None
    low: float | None
    high: float | None
    p_value: float | None
    least: float
    most: float


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one row in per cent, mean over tasks; the interval is over tasks. None: no answer is scored."""

    percent: float | None
    low: float | None
    high: float | None
    least: float
    most: float
    unscored: int  # answers


@dataclass(frozen=True)
class Share:
    """`count` of the `of` questions that could be, in per cent; `asked` are all. `open`: unscored before or after."""

    count: int
    of: int
    asked: int
    open: int
    percent: float | None
    least: float
    most: float


@dataclass(frozen=True)
class ChangedAnswer:
    """An answer that was fine before and is wrong now."""

    task: str
    question: str
    before: str
    after: str


def measure_accuracy(sheet: AnswerSheet, seed: int) -> Accuracy:
    """Measure a row as `seal report` does: the mean over tasks of the share of right among scored answers."""
    groups = list(_group(sheet, sheet.answers).values())
    shares = [
        known.count(True) / len(known) for group in groups if (known := [each for each in group if each is not None])
    ]
    low, high = bootstrap_interval(np.array(shares), seed) if shares else (None, None)
    return Accuracy(
        _percent(float(np.mean(shares))) if shares else None,
        _percent(low),
        _percent(high),
        100 * float(np.mean([float(compute_lower_bound(group)) for group in groups])),
        100 * float(np.mean([float(compute_upper_bound(group)) for group in groups])),
        sum(group.count(None) for group in groups),
    )


def measure_difference(after: AnswerSheet, before: AnswerSheet, seed: int) -> Difference:
    """Compare two rows with the same questions, paired by task."""
    both = [key for key in after.answers if None not in (after.answers[key].correct, before.answers[key].correct)]
    own, plain = (
        {task: compute_accuracy(group) or 0.0 for task, group in _group(sheet, both).items()}
        for sheet in (after, before)
    )
    difference = np.array([own[task] - plain[task] for task in own])
    low, high = bootstrap_interval(difference, seed) if len(difference) else (None, None)
    one, other = _group(after, after.answers), _group(before, after.answers)
    least = np.mean([float(compute_lower_bound(one[task]) - compute_upper_bound(other[task])) for task in one])
    most = np.mean([float(compute_upper_bound(one[task]) - compute_lower_bound(other[task])) for task in one])
    return Difference(
        _percent(float(difference.mean())) if len(difference) else None,
        _percent(low),
        _percent(high),
        compute_p_value(difference, seed) if len(difference) else None,
        100 * float(least),
        100 * float(most),
    )


def _group(sheet: AnswerSheet, keys: Iterable[QuestionKey]) -> dict[str, Verdicts]:
    groups: dict[str, list[bool | None]] = {}
    for key in keys:
        groups.setdefault(key[0], []).append(sheet.answers[key].correct)
    return dict(groups)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def measure_anchors(sheet: AnswerSheet) -> tuple[Share, Share]:
    """Return (kept, lost): the share of anchors that were known before, and are known still, or are not."""
    kept: list[set[Outcome]] = []
    for answer in sheet.anchors.values():
        befores = (True, False) if answer.baseline_correct is None else (answer.baseline_correct,)
        afters = (True, False) if answer.correct is None else (answer.correct,)
        kept.append({("hit" if after else "miss") if before else "out" for before in befores for after in afters})
    turned: dict[Outcome, Outcome] = {"hit": "miss", "miss": "hit", "out": "out"}
    return make_share(kept), make_share([{turned[each] for each in outcomes} for outcomes in kept])


def measure_invented(after: AnswerSheet, before: AnswerSheet, *, answerable: bool | None = None) -> Share:
    """Return the share of probes with a wrong answer among those that had none before: right ones, or no claim.

    `answerable`: only questions that have an answer, or only those that have none.
    """
    keys = [key for key in after.answers if answerable is None or has_answer(after.get_question(key)) == answerable]
    return make_share([_find_outcomes(*_read_claims(after, before, key)) for key in keys])


def _read_claims(after: AnswerSheet, before: AnswerSheet, key: QuestionKey) -> tuple[Claim, Claim]:
    old, new = (sheet.answers[key] for sheet in (before, after))
    return read_claim(old.prediction, old.correct), read_claim(new.prediction, new.correct)


def _find_outcomes(before: Claim, after: Claim) -> set[Outcome]:
    """List what a question may count as: a wrong claim (hit) or not (miss), where it had none before."""
    found: set[Outcome] = {"out"} if before in ("wrong", None) else set()
    if before != "wrong":
        found |= {"hit", "miss"} if after is None else {"hit" if after == "wrong" else "miss"}
    return found


def make_share(questions: Sequence[set[Outcome]]) -> Share:
    """Count questions that each may have one outcome, or several where something is unscored."""
    certain = [next(iter(each)) for each in questions if len(each) == 1]
    hits, misses = certain.count("hit"), certain.count("miss")
    highest = [next(way for way in ("hit", "out", "miss") if way in each) for each in questions]
    lowest = [next(way for way in ("miss", "out", "hit") if way in each) for each in questions]
    return Share(
        hits,
        hits + misses,
        len(questions),
        len(questions) - len(certain),
        100 * hits / (hits + misses) if hits + misses else None,
        _compute_ratio(lowest, 0.0),
        _compute_ratio(highest, 100.0),
    )


def _compute_ratio(outcomes: Sequence[str], otherwise: float) -> float:
    """Per cent of hits; `otherwise` where nothing could be one."""
    of = len(outcomes) - outcomes.count("out")
    return 100 * outcomes.count("hit") / of if of else otherwise


def list_lost(sheet: AnswerSheet) -> list[ChangedAnswer]:
    """List anchors that were known before and are wrong now, as many as a card shows."""
    found = [(key, each) for key, each in sheet.anchors.items() if each.baseline_correct and each.correct is False]
    return [
        ChangedAnswer(key[0], key[1], each.baseline_prediction or "", each.prediction or "")
        for key, each in found[:_SHOWN]
    ]


def list_invented(after: AnswerSheet, before: AnswerSheet) -> list[ChangedAnswer]:
    """List wrong answers to probes that were not wrong before, as many as a card shows."""
    found = [key for key in after.answers if _find_outcomes(*_read_claims(after, before, key)) == {"hit"}]
    listed = []
    for key in found[:_SHOWN]:
        question = after.get_question(key)
        text = question.question if question else key[1]
        old, new = before.answers[key].prediction, after.answers[key].prediction
        listed.append(ChangedAnswer(after.tasks[key[0]].name, text, old or "", new or ""))
    return listed
