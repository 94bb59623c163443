"""Scores: graded answers, the share of right ones, and its bounds where some are unscored."""

import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Discriminator, Field, Strict, Tag, model_validator

from stages.records.arc import GridRows, Vote
from stages.records.frozen import Fraction01, FrozenModel, Tuple

Verdicts = Sequence[bool | None]
_ROUNDING = 1e-9  # what a share by hand may be off


class Answer(FrozenModel):
    """One graded answer. `correct` None means unscored, with the reason; it is never the same as wrong."""

    id: str
    """The id of the question; of a test of ARC its place in the task, from 0, as text."""
    prediction: str | None
    """What the adapted model answered, verbatim, thoughts and all; of grids the first attempt as text, empty where
    there is none; null: it gave no answer."""
    correct: bool | None
    """Whether the answer, or one of the attempts, is right; null: unscored, for `reason`, which is never the same as
    wrong."""
    reason: str | None
    """What the judge said, why there is no attempt, or why the answer is unscored; null: nothing."""
    baseline_prediction: str | None
    """What the model answered without the adapter; null: it was not asked."""
    baseline_correct: bool | None
    """Whether that is right; null: unscored or not asked."""
    chunks: Tuple[str] = Field((), exclude_if=operator.not_)
    """The ids of the tasks whose passages stood in the prompt, the best first; left out where none were retrieved."""


class GridAnswer(Answer):
    """The answer to one test input of an ARC task: right if one of two attempts is the solution, cell by cell.

    `votes` has every prediction of the adapted model; those of the plain one are on the line of its own row.
    """

    attempts: Tuple[GridRows]
    """The two grids with the most votes, or fewer."""
    votes: Tuple[Vote]
    """Every prediction of the adapted model."""
    baseline_attempts: Tuple[GridRows]
    """The same of the model without the adapter."""


def _kind(answer: Any) -> str:
    """Which of the two an answer is: only one about grids has votes."""
    return "grids" if (isinstance(answer, dict) and "votes" in answer) or isinstance(answer, GridAnswer) else "text"


AnyAnswer = Annotated[Annotated[GridAnswer, Tag("grids")] | Annotated[Answer, Tag("text")], Discriminator(_kind)]


class Rating(FrozenModel):
    """How a self-edit was rated by a rubric or a program, without training. Made by `seal rate`."""

    text: str | None
    """What the rater wrote, verbatim, or the program's reason; null: nothing."""
    points: float | None
    """The points that it gave; null: none that can be read."""
    value: Fraction01 | None
    """The points between the scale's lowest, 0, and highest, 1, or what the program said; null: unscored, for
    `error`."""
    error: str | None
    """Why it is unscored, or worth 0 without asking; null: neither."""


class AnchorAnswers(FrozenModel):
    """The answers to one anchor: a task that was known before, and has nothing to do with the self-edit."""

    task_id: str
    """The id of the anchor's task."""
    answers: Tuple[AnyAnswer]
    """Every answer to it."""


class Retention(FrozenModel):
    """Accuracy on the anchors, adapted (`value`) and before (`baseline`). Made by `seal eval --retain`.

    An adapter that does not exist, since its self-edit cannot be read, leaves the model as it was.
    """

    value: Fraction01 | None
    """Share of right answers of the adapted model to all anchors' questions, 0 to 1; null: an answer is unscored."""
    baseline: Fraction01 | None
    """The same of the model without the adapter; null: an answer is unscored."""
    judge: str
    """Who graded the answers."""
    anchors: Tuple[AnchorAnswers]
    """The answers to each anchor."""

    @property
    def answers(self) -> list[Answer]:
        """The answers to all anchors, one after the other."""
        return [answer for anchor in self.anchors for answer in anchor.answers]

    @model_validator(mode="after")
    def _shares_are_those_of_the_answers(self) -> "Retention":
        own = compute_accuracy([answer.correct for answer in self.answers])
        plain = compute_accuracy([answer.baseline_correct for answer in self.answers])
        if not self.answers:
            raise ValueError("a retention has answers to anchors; leave it out where none were asked")
        for name, said, found in (("value", self.value, own), ("baseline", self.baseline, plain)):
            if (said is None) != (found is None) or abs((said or 0) - (found or 0)) > _ROUNDING:
                raise ValueError(
                    f"{name} must be the share of right answers to the anchors, null where one is unscored"
                )
        return self


class Likelihood(FrozenModel):
    """How likely a text is that the model did not write: a gold answer, or the passage. Made by `seal eval`.

    Each value is the geometric mean of the probabilities of its tokens, 0 to 1.
    """

    id: str
    """The id of the question; `passage` of the passage."""
    gold: str | None
    """The gold answer, of several the one that is likeliest with the adapter; null: of the passage, or unknown."""
    value: Fraction01 | None
    """How likely it is with the adapter; null: unscored, for `error`."""
    baseline: Fraction01 | None
    """How likely the likeliest one is without the adapter; null: unscored or not measured."""
    error: str | None
    """Why something is unscored, or worth 0 without measuring; null: neither."""


class Score(FrozenModel):
    """Accuracy of the adapted model (`value`) and of the unadapted one (`baseline`), passage out of sight.

    `value` is None as soon as one answer is unscored; `bounds` say what it could be, with those answers wrong and with
    them right. `answers` is empty where only a mean was imported, and where the value is no accuracy: see `kind`.
    """

    value: Fraction01 | None
    """Share of right answers of the adapted model, 0 to 1; null: an answer is unscored."""
    bounds: Annotated[tuple[Fraction01, Fraction01], Strict(False)] | None = None
    """What the value could be: unscored answers all wrong, all right; null: the line does not say."""
    baseline: Fraction01 | None
    """Share of right answers of the model without the adapter, 0 to 1; null: unscored or not measured."""
    model: str
    """Who answered."""
    judge: str
    """Who graded the answers."""
    answers: Tuple[AnyAnswer]
    """Every answer; empty where only a mean is known."""
    rating: Rating | None = Field(None, exclude_if=operator.not_)
    """The rating that the value is, of a self-edit that was rated and not trained on; left out for any other."""
    retention: Retention | None = Field(None, exclude_if=operator.not_)
    """How well what was known before is still known; left out where no anchors were asked."""
    likelihoods: Tuple[Likelihood] = Field((), exclude_if=operator.not_)
    """What the value and the baseline are means of, where nothing was answered; left out for any other."""
    fingerprint: str | None = Field(None, exclude_if=operator.not_)
    """Of the files of the adapter that was asked; left out where none was, or where they are not here to be read."""

    @property
    def kind(self) -> str:
        """What the value is: accuracy, rating or likelihood. They are not to be compared."""
        return "rating" if self.rating else "likelihood" if self.likelihoods else "accuracy"

    @property
    def measure(self) -> str:
        """The kind; of a rating who gave it, of a likelihood of which texts. Different ones are not to be compared."""
        return self.kind if self.kind == "accuracy" else self.judge

    @model_validator(mode="after")
    def _shares_are_those_of_the_answers(self) -> "Score":
        verdicts = [answer.correct for answer in self.answers]
        share, bounds = compute_accuracy(verdicts), compute_bounds(verdicts)
        if self.rating and (self.answers or self.rating.value != self.value):
            raise ValueError("value must be that of the rating, without answers")
        if self.likelihoods:
            _check_likelihoods(self)
        if verdicts and (self.value is None) != (share is None):
            raise ValueError("value must be null exactly when an answer is unscored")
        if self.value is not None and share is not None and abs(self.value - share) > _ROUNDING:
            raise ValueError("value must be the share of right answers")
        if self.bounds and bounds and any(abs(a - b) > _ROUNDING for a, b in zip(self.bounds, bounds, strict=True)):
            raise ValueError("bounds must be the shares of right answers with the unscored ones wrong, and right")
        before = [answer.baseline_correct for answer in self.answers]
        if self.baseline is not None and before.count(None) < len(before):  # else it is a mean without verdicts
            plain = compute_accuracy(before)
            if plain is None or abs(self.baseline - plain) > _ROUNDING:
                raise ValueError("baseline must be the share of right baseline answers, null where one is unscored")
        return self


def _check_likelihoods(score: Score) -> None:
    """Raise ValueError where value or baseline is not the mean of the likelihoods, null where one of them is."""
    if score.answers or score.rating:
        raise ValueError("a score of likelihoods has no answers and no rating")
    for name in ("value", "baseline"):
        told, mean = getattr(score, name), compute_mean([getattr(each, name) for each in score.likelihoods])
        if (told is None) != (mean is None) or (told is not None and abs(told - (mean or 0.0)) > _ROUNDING):
            raise ValueError(f"{name} must be the mean of the likelihoods, null where one is")


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


def make_retention(anchors: Sequence[AnchorAnswers], judge: str) -> Retention:
    """Make the retention of graded answers: the shares over all anchors' questions."""
    answers = [answer for anchor in anchors for answer in anchor.answers]
    return Retention(
        value=compute_accuracy([answer.correct for answer in answers]),
        baseline=compute_accuracy([answer.baseline_correct for answer in answers]),
        judge=judge,
        anchors=tuple(anchors),
    )


def make_likelihood_score(likelihoods: Sequence[Likelihood], *, model: str, measure: str) -> Score:
    """Make the score of likelihoods: means if each is known, bounds with the unknown ones 0 and 1."""
    values = [each.value for each in likelihoods]
    ends = [compute_mean([end if value is None else value for value in values]) or 0.0 for end in (0.0, 1.0)]
    return Score(
        value=compute_mean(values),
        bounds=(ends[0], ends[1]),
        baseline=compute_mean([each.baseline for each in likelihoods]),
        model=model,
        judge=measure,
        answers=(),
        likelihoods=tuple(likelihoods),
    )


def compute_mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None if a value is unknown or there is none."""
    known = [value for value in values if value is not None]
    return min(1.0, math.fsum(known) / len(known)) if known and len(known) == len(values) else None


def compute_accuracy(verdicts: Verdicts) -> float | None:
    """Return the share of right answers, or None if any is unscored: nothing unscored becomes a reward."""
    return None if not verdicts or None in verdicts else float(compute_lower_bound(verdicts))


def compute_bounds(verdicts: Verdicts) -> tuple[float, float] | None:
    """Return the share of right answers if all unscored ones are wrong, and if all are right; None for no answers."""
    return (float(compute_lower_bound(verdicts)), float(compute_upper_bound(verdicts))) if verdicts else None


def compute_lower_bound(verdicts: Verdicts) -> Fraction:
    """Return the exact share of right answers, counting unscored ones as wrong."""
    return Fraction(verdicts.count(True), len(verdicts))


def compute_upper_bound(verdicts: Verdicts) -> Fraction:
    """Return the exact share of right answers, counting unscored ones as right."""
    return Fraction(len(verdicts) - verdicts.count(False), len(verdicts))
