"""How far two judges agree on the same answers, and what that does to the choice of self-edits."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from stages.errors import BadInput
from stages.records.record import Answer, Record
from stages.scoring.candidates import Candidate, collect_candidates
from stages.scoring.grading import get_owner_id


@dataclass(frozen=True)
class Agreement:
    """Answers by both verdicts, the plain model's once per task, and contexts by what is chosen in them."""

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
        """Scored by both."""
        return self.both_right + self.both_wrong + self.only_first + self.only_second

    @property
    def overall(self) -> float | None:
        """Share of answers with the same verdict."""
        return _share(self.both_right + self.both_wrong, self.answers)

    @property
    def on_right(self) -> float | None:
        """Share of what is right for the first judge that is right for the second, too."""
        return _share(self.both_right, self.both_right + self.only_first)

    @property
    def on_wrong(self) -> float | None:
        """Share of what is wrong for the first judge that is wrong for the second, too."""
        return _share(self.both_wrong, self.both_wrong + self.only_second)

    @property
    def kappa(self) -> float | None:
        """Cohen's κ: agreement beyond chance. None where chance alone agrees on all."""
        if not self.answers:
            return None
        first = Fraction(self.both_right + self.only_first, self.answers)
        second = Fraction(self.both_right + self.only_second, self.answers)
        chance = first * second + (1 - first) * (1 - second)
        return None if chance == 1 else float((Fraction(self.overall_exact) - chance) / (1 - chance))

    @property
    def overall_exact(self) -> Fraction:
        return Fraction(self.both_right + self.both_wrong, self.answers)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def compare_judges(first: Iterable[Record], second: Iterable[Record]) -> Agreement:
    """The same lines, graded by two judges. Raises BadInput for lines that are not the same."""
    before, after = ({get_owner_id(line): line for line in lines} for lines in (first, second))
    if before.keys() != after.keys():
        raise BadInput("the two judges have not graded the same lines")
    lines = [(line, after[owner]) for owner, line in before.items()]
    counts = Counter(pair for old, new in lines for pair in _own(old, new))
    counts += Counter(pair for pairs in _plain(lines).values() for pair in pairs)
    contexts = _contexts([old for old, _ in lines], [new for _, new in lines])
    choices = [(_chosen(old), _chosen(new)) for old, new in contexts]
    lost = [old.value - _same(new, group).value for (old, new), (group, _) in zip(choices, contexts, strict=True)]
    return Agreement(
        both_right=counts[True, True],
        both_wrong=counts[False, False],
        only_first=counts[True, False],
        only_second=counts[False, True],
        unscored_first=sum(count for (old, _), count in counts.items() if old is None),
        unscored_second=sum(count for (_, new), count in counts.items() if new is None),
        contexts=len(contexts),
        changed=sum(old.edit_id != new.edit_id for old, new in choices),
        loss=sum(lost, Fraction(0)) / len(lost) if lost else None,
    )


Pair = tuple[bool | None, bool | None]


def _answers(old: Record, new: Record) -> list[tuple[Answer, Answer]]:
    if old.score is None or new.score is None:
        return []
    return list(zip(old.score.answers, new.score.answers, strict=True))


def _own(old: Record, new: Record) -> list[Pair]:
    return [(a.correct, b.correct) for a, b in _answers(old, new) if a.prediction is not None]


def _plain(lines: Iterable[tuple[Record, Record]]) -> dict[str, list[Pair]]:
    """The plain model's verdicts, which every line of a task repeats, once per task."""
    found: dict[str, list[Pair]] = {}
    for old, new in lines:
        pairs = [
            (a.baseline_correct, b.baseline_correct) for a, b in _answers(old, new) if a.baseline_prediction is not None
        ]
        found.setdefault(old.task.id, pairs)
    return found


def _contexts(first: Sequence[Record], second: Sequence[Record]) -> list[tuple[list[Candidate], list[Candidate]]]:
    """Per context its self-edits by either judge: those that both have wholly scored, at least two of them."""
    old, new = (
        {(found.task_id, found.edit_id): found for found in collect_candidates(line for line in lines if line.edit)}
        for lines in (first, second)
    )
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in old:
        if not old[name].unscored and not new[name].unscored:
            groups.setdefault(old[name].task_id, []).append(name)
    return [([old[n] for n in names], [new[n] for n in names]) for names in groups.values() if len(names) > 1]


def _chosen(group: Sequence[Candidate]) -> Candidate:
    return min(group, key=lambda candidate: (-candidate.value, candidate.sample, candidate.edit_id))


def _same(candidate: Candidate, group: Sequence[Candidate]) -> Candidate:
    return next(each for each in group if each.edit_id == candidate.edit_id)
