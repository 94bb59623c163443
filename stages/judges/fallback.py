"""A judge that goes on without its service: what cannot be graded stays unscored, and what was answered is kept."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from stages.errors import Denied, SealError, Unavailable
from stages.judges.base import Case, Judge, Verdict, grade_in_order, grade_pairs


class FallbackJudge:
    """Grades as `judge` does until its service is gone or refuses us; from there on every answer is unscored.

    For a stage whose answers cost more than their verdicts, which can be had later. `say` is told once.
    """

    def __init__(self, judge: Judge, say: Callable[[str], None]) -> None:
        self.name, self.judge, self.say = judge.name, judge, say
        self.lost: Verdict | None = None  # the verdict on everything, once the service is gone

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """One verdict per case, in order."""
        return grade_in_order(self, cases)

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """The verdict on each case, as they come."""
        source = Source(cases)
        try:
            for case, verdict in () if self.lost else grade_pairs(self.judge, source):
                source.taken[case] -= 1
                yield case, verdict
        except (Unavailable, Denied) as error:
            self._give_up(error, source)
        if self.lost:
            yield from [(case, self.lost) for case in source.taken.elements()]
            yield from ((case, self.lost) for case in source)

    def _give_up(self, error: SealError, source: "Source") -> None:
        """Raises the error again where it is not the judge's."""
        if source.failed:
            raise error
        self.lost = Verdict(None, f"api_error: {str(error)[:200]}")
        self.say(f"the judge {self.name} is out of reach, and answers stay unscored from here on: {error}")


class Source:
    """Cases, each counted as it is taken. `failed`: the error came from whoever makes them."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self.cases, self.failed = iter(cases), False
        self.taken: Counter[Case] = Counter()

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> Case:
        try:
            case = next(self.cases)
        except StopIteration:
            raise
        except BaseException:
            self.failed = True
            raise
        self.taken[case] += 1
        return case
