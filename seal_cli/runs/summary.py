"""Counts for a run's closing line and manifest, and the reasons why lines failed or are worth nothing."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from stages.errors import one_line
from stages.records.frozen import FrozenModel
from stages.records.record import Record

_SHOWN = 3  # reasons that a run tells
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*|\bnan\b|\binf\b|'[^']*'")  # in what otherwise equal reasons differ


@dataclass
class Counts:
    """The lines that went through a stage. failed and unscored are our failures.

    unreadable: self-edits worth 0, the model's failures: they cannot be read, or ask for more steps than are allowed.
    refused: updates of a sequence that its gate did not let through.
    """

    read: int = 0
    written: int = 0
    failed: int = 0
    unscored: int = 0
    unreadable: int = 0
    rejected: int = 0
    refused: int = 0

    def add(self, line: FrozenModel) -> None:
        """Count a line that is written."""
        self.written += 1
        if isinstance(line, Record):
            fault = line.adapter.fault if line.adapter else None
            edit = line.edit if line.adapter is None else None
            lost = edit is not None and edit.text is None
            untried = line.quiz if not (line.edit or line.adapter or line.score) else None
            self.failed += fault == "training" or lost or bool(untried and untried.failure)
            self.unreadable += fault == "edit" or bool(edit and edit.error and not lost)
            self.unscored += bool(line.score and line.score.value is None)
            self.refused += line.score is None and _find_refusal(line) is not None

    def list_facts(self) -> dict[str, int]:
        """Return the counts of a manifest: refused updates only where there are some."""
        return {name: count for name, count in vars(self).items() if count or name != "refused"}

    def describe(self, stage: str, seconds: float) -> str:
        """Write `seal adapt: 250 in, 500 out, 0 failed, 0 unscored, 61.2 s`"""
        rejected = f", {self.rejected} rejected" if self.rejected else ""
        worthless = f", {self.unreadable} self-edits worth 0" if self.unreadable else ""
        worthless += f", {self.refused} update{'s' * (self.refused > 1)} refused" if self.refused else ""
        return (
            f"seal {stage}: {self.read} in, {self.written} out, {self.failed} failed, "
            f"{self.unscored} unscored{rejected}{worthless}, {seconds:.1f} s"
        )


@dataclass
class Reasons:
    """Counts reasons. Those that differ only in numbers or quoted text count as one, shown by the first of them."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    firsts: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, line: FrozenModel) -> None:
        """Note why the line failed, is worth 0, or stayed unscored, if it did."""
        for kind, reason in _reasons_of(line) if isinstance(line, Record) else ():
            key = kind, _NUMBER.sub("…", reason)
            self.firsts.setdefault(key, reason)
            self.counts[key] += 1

    def describe(self) -> Iterator[str]:
        """Write `failed, 30 times: training diverged …`, the commonest first."""
        common = self.counts.most_common()
        for key, count in common[:_SHOWN]:
            yield f"{key[0]}, {_times(count)}: {one_line(self.firsts[key])}"
        if rest := common[_SHOWN:]:
            more = "one more reason" if len(rest) == 1 else f"{len(rest)} more reasons"
            yield f"and {more}, {_times(sum(count for _, count in rest))}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _reasons_of(line: Record) -> Iterator[tuple[str, str]]:
    """(failed, worth 0 or unscored; why) of what is newest on the line."""
    if line.score:
        unscored = {answer.reason or "no reason given" for answer in line.score.answers if answer.correct is None}
        yield from (("unscored", reason) for reason in sorted(unscored))
        kind = "unscored" if line.score.value is None else "worth 0"
        yield from ((kind, reason) for reason in sorted({each.error for each in line.score.likelihoods if each.error}))
        if line.score.rating and line.score.rating.error:
            yield kind, line.score.rating.error
    elif line.adapter:
        if line.adapter.error:
            yield "worth 0" if line.adapter.fault == "edit" else "failed", line.adapter.error
        if refusal := _find_refusal(line):
            yield "refused", refusal
    elif line.edit and line.edit.error:
        yield "failed" if line.edit.text is None else "worth 0", line.edit.error
    elif line.quiz and not line.edit and line.quiz.failure:
        yield "failed", line.quiz.failure


def _find_refusal(line: Record) -> str | None:
    """Return why the line's update was refused; None where it was not."""
    gate = line.adapter.step.gate if line.adapter and line.adapter.step else None
    return gate.refusal if gate else None
