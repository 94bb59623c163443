"""Judges and raters that are programs, written as in a shell and run without one.

A judge reads {"id", "question", "gold", "golds", "prediction"} and writes verdicts {"id", "correct", "reason"}: `golds`
are all gold answers, any of which counts; `gold` is the first; `correct` is true, false or null for an answer that it
leaves unscored. A rater reads {"id", "title", "context", "completion"} and writes {"id", "value", "reason"}: `value` is
0 to 1, or null. One JSON object a line, in any order, `id` as it came (stages/judges/program.py).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages.judges.base import Case, Verdict
from stages.judges.program import MOST_SHOWN, TIMEOUT_S, Terms, ask_program, split_command


class CommandJudge:
    """Grades with a program and its arguments: command:./grade.py --strict"""

    def __init__(self, line: str, *, timeout_s: float | None = None) -> None:
        self.name = f"command:{line}"
        self.timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
        flag = f"--judge {self.name}"
        self.words = split_command(line, flag, "command:./grade.py")
        words = ("verdict", "answers", "graded", "case", "correct")
        self.terms = Terms(flag, *words, _read_verdict, lambda one, other: one.correct is other.correct)

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield one verdict per case, in order. Raises as `ask_program` does."""
        asked = (
            {"question": case.question, "gold": case.gold, "golds": case.golds, "prediction": case.prediction}
            for case in cases
        )
        return ask_program(self.words, asked, self.terms, self.timeout_s)


def _read_verdict(found: Mapping[str, Any]) -> Verdict:
    correct, reason = found.get("correct", ""), found.get("reason")
    if correct is None:
        return Verdict(None, str(reason or "the judge gave no reason")[:MOST_SHOWN])
    if isinstance(correct, bool):
        return Verdict(correct, str(reason)[:MOST_SHOWN] if reason else None)
    return Verdict(None, f"unparsable: correct is {str(correct)[:60]!r}")


@dataclass(frozen=True)
class ProgramRating:
    """What a program says of a self-edit: a value of 0 to 1; None: unscored, for `reason`."""

    value: float | None
    reason: str | None = None


class CommandRater:
    """Rates self-edits with a program and its arguments: --program './rate.py --strict'"""

    def __init__(self, line: str, *, timeout_s: float | None = None) -> None:
        self.name = f"program:{line}"
        self.timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
        flag = f"--program {line}"
        self.words = split_command(line, flag, "--program ./rate.py")
        words = ("rating", "self-edits", "rated", "self-edit", "value")
        self.terms = Terms(flag, *words, _read_rating, lambda one, other: one.value == other.value)

    def rate(self, edits: Iterable[Mapping[str, str]]) -> Iterator[ProgramRating]:
        """Yield one rating per self-edit (title, context, completion), in order. Raises as `ask_program` does."""
        return ask_program(self.words, edits, self.terms, self.timeout_s)


def _read_rating(found: Mapping[str, Any]) -> ProgramRating:
    value, reason = found.get("value", ""), found.get("reason")
    said = str(reason)[:MOST_SHOWN] if reason else None
    if value is None:
        return ProgramRating(None, said or "the program gave no reason")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return ProgramRating(float(value), said)
    return ProgramRating(None, f"unparsable: value is {str(value)[:60]!r}, not 0 to 1 or null")
