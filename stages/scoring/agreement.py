"""Measure how far two judges agree on the same answers, and how that changes the choice of self-edits."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from stages.errors import BadInput
from stages.records.record import Record
from stages.records.score import Answer
from stages.scoring.candidates import Candidate, CandidateCheck, collect_candidates

_Name = tuple[str, str | None, str | None]
_Pair = tuple[Candidate, Candidate]  # one self-edit by either judge


@dataclass(frozen=True)
class Agreement:
    """Counts of answers by both verdicts (baselines once per task), and of contexts by which self-edits win."""

    both_right: int
    both_wrong: int
    only_first: int  # right for the first judge alone
    only_second: int
    unscored_first: int  # answers that one of them left unscored count nowhere else
    unscored_second: int
    contexts: int  # with two self-edits or more that both judges have wholly scored
    changed: int  # of these, those in which the best self-edit (ties: the first) is another
    loss: Fraction | None  # mean reward, by the first judge, that the second's choice forgoes over these contexts

    @property
    def answers(self) -> int:
        """Number of answers that both judges scored."""
        return self.both_right + self.both_wrong + self.only_first + self.only_second

    @property
    def overall(self) -> float | None:
        """Share of answers with the same verdict."""
        return _share(self.both_right + self.both_wrong, self.answers)

    @property
    def on_right(self) -> float | None:
        """Share of the first judge's right answers that are right for the second, too."""
        return _share(self.both_right, self.both_right + self.only_first)

    @property
    def on_wrong(self) -> float | None:
        """Share of the first judge's wrong answers that are wrong for the second, too."""
        return _share(self.both_wrong, self.both_wrong + self.only_second)

    @property
    def kappa(self) -> float | None:
        """Cohen's κ: agreement beyond chance. None where chance alone would agree on all."""
        if not self.answers:
            return None
        same = Fraction(self.both_right + self.both_wrong, self.answers)
        first = Fraction(self.both_right + self.only_first, self.answers)
        second = Fraction(self.both_right + self.only_second, self.answers)
        chance = first * second + (1 - first) * (1 - second)
        return None if chance == 1 else float((same - chance) / (1 - chance))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def compare_judges(first: Iterable[Record], second: Iterable[Record]) -> Agreement:
    """Compare two judges on the same lines. Raises BadInput for lines that differ."""
    before, after = ({_name(line): line for line in lines} for lines in (first, second))
    if before.keys() != after.keys():
        raise BadInput("the two judges have not graded the same lines")
    answers: list[tuple[Answer, Answer]] = []
    plain: dict[str, list[tuple[Answer, Answer]]] = {}  # the plain model's, which every line of a task repeats
    for name, line in before.items():
        pairs = _pair_answers(line, after[name])
        answers += [(old, new) for old, new in pairs if old.prediction is not None]
        plain.setdefault(line.task.id, [(old, new) for old, new in pairs if old.baseline_prediction is not None])
    counts = Counter((old.correct, new.correct) for old, new in answers)
    counts += Counter((old.baseline_correct, new.baseline_correct) for pairs in plain.values() for old, new in pairs)
    choices = [(_choose(group, 0), _choose(group, 1)) for group in _pair_candidates(before, after)]
    lost = [by_first[0].value - by_second[0].value for by_first, by_second in choices]
    return Agreement(
        both_right=counts[True, True],
        both_wrong=counts[False, False],
        only_first=counts[True, False],
        only_second=counts[False, True],
        unscored_first=sum(count for (old, _), count in counts.items() if old is None),
        unscored_second=sum(count for (_, new), count in counts.items() if new is None),
        contexts=len(choices),
        changed=sum(by_first is not by_second for by_first, by_second in choices),
        loss=sum(lost, Fraction(0)) / len(lost) if lost else None,
    )


def _name(line: Record) -> _Name:
    """The ids of a line; by hand it need have no adapter."""
    return line.task.id, line.edit.id if line.edit else None, line.adapter.id if line.adapter else None


def _pair_answers(old: Record, new: Record) -> list[tuple[Answer, Answer]]:
    if old.score is None or new.score is None:
        return []
    return list(zip(old.score.answers, new.score.answers, strict=True))


def _pair_candidates(before: Mapping[_Name, Record], after: Mapping[_Name, Record]) -> list[list[_Pair]]:
    """Per context its self-edits by either judge: those that both have wholly scored, at least two of them."""

    def collect(lines: Iterable[Record]) -> dict[tuple[str, str], Candidate]:
        """Nothing is learned from them here, so a self-edit without a prompt, or of several calls, is one, too."""
        found = collect_candidates((line for line in lines if line.edit), check=CandidateCheck(learns_prompts=False))
        return {(each.task_id, each.edit_id): each for each in found}

    old, new = collect(before.values()), collect(after[name] for name in before)
    groups: dict[str, list[_Pair]] = {}
    for name, candidate in old.items():
        if not candidate.unscored and not new[name].unscored:
            groups.setdefault(candidate.task_id, []).append((candidate, new[name]))
    return [group for group in groups.values() if len(group) > 1]


def _choose(group: Sequence[_Pair], judge: int) -> _Pair:
    """The best self-edit by the first judge (0) or the second (1)."""
    return min(group, key=lambda pair: (-pair[judge].value, pair[judge].sample, pair[judge].edit_id))
