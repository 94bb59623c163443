"""The reward of a self-edit: how well the student then does, and how much of what it knew before it has forgotten."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from stages.errors import BadConfig, BadLine
from stages.records.record import Record
from stages.records.score import Score, compute_lower_bound, compute_upper_bound
from stages.settings import UnscoredPolicy


class Retained(NamedTuple):
    """Exact accuracy on the anchors with an adapter, and without."""

    value: Fraction
    baseline: Fraction


@dataclass(frozen=True)
class RewardRule:
    """What a score is worth. `forgetting`: points off for each point that the anchors lose; 0: none.

    `retain_above`: the share of the anchors' accuracy that must be left, else a self-edit is rejected; None: any.
    """

    forgetting: Fraction = Fraction(0)
    retain_above: Fraction | None = None

    @classmethod
    def parse(cls, reward: str, retain_above: float | None = None) -> "RewardRule":
        """Parse `value` or `gain-forgetting:L`. Raises BadConfig for anything else."""
        name, _, argument = reward.partition(":")
        least = None if retain_above is None else Fraction(str(retain_above))
        if reward == "value":
            return cls(retain_above=least)
        with suppress(ValueError, ZeroDivisionError):
            if name == "gain-forgetting" and Fraction(argument) > 0:
                return cls(Fraction(argument), least)
        raise BadConfig(f"--reward {reward}: take value, or gain-forgetting:L (L > 0)")

    @property
    def asks_anchors(self) -> bool:
        """True if it depends on what is still known."""
        return bool(self.forgetting) or self.retain_above is not None

    def check(self, record: Record) -> None:
        """Raise BadLine for a line without a retention, where one is needed."""
        if self.asks_anchors and record.score and not record.score.retention:
            edit = f"self-edit {record.edit.id}" if record.edit else f"task {record.task.id}"
            raise BadLine(f"{edit}: its score has no retention (run `seal eval --retain FILE`)")

    def read_retained(self, score: Score, unscored: UnscoredPolicy) -> Retained | None:
        """Return what a score says of the anchors; None where it is not needed, or unscored.

        With "pessimistic" unscored answers are wrong, and right without the adapter.
        """
        found = score.retention if self.asks_anchors else None
        if not found or (unscored == "leave-out" and None in (found.value, found.baseline)):
            return None
        before = [answer.baseline_correct for answer in found.answers]
        return Retained(compute_lower_bound([answer.correct for answer in found.answers]), compute_upper_bound(before))

    def leaves_open(self, score: Score) -> bool:
        """True if an answer to an anchor is unscored, where these count."""
        found = score.retention if self.asks_anchors else None
        return found is not None and None in (found.value, found.baseline)

    def discount(self, value: Fraction, kept: Retained | None) -> Fraction:
        """Return the value less what is forgotten."""
        return value if kept is None else value - self.forgetting * max(Fraction(0), kept.baseline - kept.value)

    def accepts(self, kept: Sequence[Retained]) -> bool:
        """True if, in the mean over seeds, enough of what was known is left."""
        if self.retain_above is None:
            return True
        return sum(each.value for each in kept) >= self.retain_above * sum(each.baseline for each in kept)


PLAIN_REWARD = RewardRule()
