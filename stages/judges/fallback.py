"""A judge that goes on without its service: answers then stay unscored, and earlier verdicts are kept."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from stages.errors import Denied, Unavailable
from stages.judges.base import Case, Judge, Verdict, grade_in_order, grade_pairs
from stages.plugins import PluginInput


class FallbackJudge:
    """Grades with `judge` until its service is gone or refuses us; every later answer is unscored.

    For a stage whose answers cost more than their verdicts, which can be had later. `say` is called once, then.
    """

    def __init__(self, judge: Judge, say: Callable[[str], None]) -> None:
        self.name, self.judge, self.say = judge.name, judge, say
        self.lost: Verdict | None = None  # the verdict on everything, once the service is gone

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield one verdict per case, in order."""
        return grade_in_order(self, cases)

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """Yield each case with its verdict, as they come. Errors of the iterator of cases are raised."""
        passed = PluginInput(cases)
        ungraded: Counter[Case] = Counter()  # of those that the judge has taken

        def count() -> Iterator[Case]:
            for case in passed:
                ungraded[case] += 1
                yield case

        try:
            for case, verdict in () if self.lost else grade_pairs(self.judge, count()):
                ungraded[case] -= 1
                yield case, verdict
        except (Unavailable, Denied) as error:
            if passed.error is not None:
                raise
            self.lost = Verdict(None, f"api_error: {str(error)[:200]}")
            self.say(f"the judge {self.name} is out of reach, and answers stay unscored from here on: {error}")
        if self.lost:
            yield from [(case, self.lost) for case in ungraded.elements()]
            yield from ((case, self.lost) for case in passed)
