"""A guard around user-supplied judges: reports their errors as theirs, and checks that they return verdicts."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

from stages.judges.base import Case, UnorderedJudge, Verdict, grade_in_order
from stages.plugins import Plugin, PluginInput, format_value

_NEEDS = "a judge has a name and grade(cases), as in stages.judges.base"


class GuardedJudge:
    """Grades with the user's class. Raises BadConfig, with its file and line, if it raises or returns no verdict."""

    def __init__(self, text: str, kind: Any) -> None:
        self.theirs = Plugin("--judge", text, kind)
        self.name = self.theirs.text("name", _NEEDS)
        self.is_unordered = isinstance(self.theirs.made, UnorderedJudge)
        self.method = self.theirs.method("grade_unordered" if self.is_unordered else "grade", _NEEDS)

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield one verdict per case, in order."""
        return grade_in_order(self, cases)

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """Yield each case with its verdict, as they come."""
        waiting: dict[Case, None] = {}  # in the order in which they were taken

        def record() -> Iterator[Case]:
            for case in cases:
                waiting[case] = None
                yield case

        passed = PluginInput(record())
        for given in self.theirs.each(self.method, passed, passed=passed):
            case, verdict = self._split(given, next(iter(waiting), None))
            if case not in waiting:
                raise self.theirs.wrong(f"gave {format_value(given)}, and no case was waiting for that")
            del waiting[case]
            yield case, self._check(verdict)
        if waiting:
            raise self.theirs.wrong(f"gave no verdict on {len(waiting)} of the answers that it took")
        if next(passed, None) is not None:
            raise self.theirs.wrong("ended before it had taken all answers")

    def grade_uncounted(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield verdicts without checking that there is one per case, for callers that count themselves."""
        return (self._check(self._split(given, None)[1]) for given in self.theirs.each(self.method, cases))

    def _split(self, given: Any, first: Case | None) -> tuple[Any, Any]:
        """Return a case and its verdict; a judge that keeps the order gives the verdict alone."""
        if not self.is_unordered:
            return first, given
        return given if isinstance(given, tuple) and len(given) == 2 else (None, given)

    def _check(self, verdict: object) -> Verdict:
        if not _is_verdict(verdict):
            needs = "Verdict(correct, reason) with correct True, False or None (stages.judges.base)"
            raise self.theirs.wrong(f"gave {format_value(verdict)}, which is no {needs}")
        return verdict


def _is_verdict(found: object) -> TypeGuard[Verdict]:
    """Return whether this is a verdict: right, wrong or unscored, with a reason that is text, if any."""
    if not isinstance(found, Verdict):
        return False
    return isinstance(found.correct, bool | None) and isinstance(found.reason, str | None)
