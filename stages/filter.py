"""score → sft line: keeps the best self-edits and says how far the reward can be trusted (ReST-EM, SEAL section 3)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from stages.failures import BadConfig, BadInput
from stages.records import Record, Score, SelfEdit, SftExample, edit_seed

Ties = Literal["first", "random", "shortest"]


@dataclass(frozen=True)
class Candidate:
    """A self-edit with one exact accuracy per seed. Unscored: one of its answers has no verdict."""

    task_id: str
    edit: SelfEdit
    values: tuple[Fraction, ...]
    baselines: tuple[Fraction, ...]
    unscored: bool

    @property
    def value(self) -> Fraction:
        """Mean over seeds, exact: equal rewards are equal."""
        return sum(self.values, Fraction(0)) / len(self.values)

    @property
    def baseline(self) -> Fraction | None:
        """Mean accuracy of the unadapted model, exact; None where it was not measured."""
        return sum(self.baselines, Fraction(0)) / len(self.baselines) if self.baselines else None

    @property
    def gains(self) -> bool:
        """Whether it beats the unadapted model. Without a baseline it cannot be said to."""
        return self.baseline is not None and self.value > self.baseline


@dataclass(frozen=True)
class Keep:
    """Which self-edits of a context stay: the `count` best, all above a threshold, the best if it gains, any one."""

    rule: Literal["best", "above", "gain", "random"] = "best"
    count: int = 1
    threshold: Fraction = Fraction(0)

    @classmethod
    def parse(cls, text: str) -> "Keep":
        """`best`, `best:N`, `above:X`, `gain` or `random`. Raises BadConfig for anything else."""
        rule, _, argument = text.partition(":")
        try:
            if rule == "best" and int(argument or 1) > 0:
                return cls("best", count=int(argument or 1))
            if rule == "above" and 0 <= Fraction(argument) < 1:
                return cls("above", threshold=Fraction(argument))
        except (ValueError, ZeroDivisionError):
            pass
        if text == "gain":
            return cls("gain")
        if text == "random":
            return cls("random")
        raise BadConfig(f"--keep {text}: take best, best:N (N ≥ 1), above:X (0 ≤ X < 1), gain or random")


@dataclass(frozen=True)
class Summary:
    """What was kept, and what the reward is worth."""

    contexts: int
    edits: int
    kept: int
    unscored: int  # self-edits left out because an answer has no verdict
    ties: int  # contexts in which several self-edits share the best value
    below_baseline: int  # contexts whose best self-edit does not beat the unadapted model
    reliability: float | None  # share of the between-edit variance that is not seed noise, 0..1


@dataclass(frozen=True)
class Filtered:
    """The kept pairs, in the order of their contexts, and what is to be said about them."""

    examples: tuple[SftExample, ...]
    summary: Summary


def run(records: Iterable[Record], *, keep: Keep = Keep(), ties: Ties = "first", seed: int = 0) -> Filtered:
    """The kept self-edits in the order of their contexts. Reads everything first: a ranking needs all rewards."""
    candidates = collect(records)
    contexts: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if not candidate.unscored:
            contexts.setdefault(candidate.task_id, []).append(candidate)
    for candidate in candidates:
        if not candidate.edit.prompt:
            raise BadInput(f"self-edit {candidate.edit.id} has no prompt to learn from ({candidate.edit.template})")
    chosen = [kept for group in contexts.values() for kept in _choose(group, keep, ties, seed)]
    summary = Summary(
        contexts=len({candidate.task_id for candidate in candidates}),
        edits=len(candidates),
        kept=len(chosen),
        unscored=sum(candidate.unscored for candidate in candidates),
        ties=sum(len(_best(group)) > 1 for group in contexts.values()),
        below_baseline=sum(_loses(group) for group in contexts.values()),
        reliability=reliability(list(contexts.values())),
    )
    return Filtered(tuple(_example(candidate) for candidate in chosen), summary)


def _loses(group: Sequence[Candidate]) -> bool:
    """Whether the best self-edits of a context all fail to beat a baseline that is known."""
    best = _best(group)
    return any(c.baseline is not None for c in best) and not any(c.gains for c in best)


def collect(records: Iterable[Record]) -> list[Candidate]:
    """One candidate per self-edit, its seeds together. Raises BadInput for a line that comes twice."""
    groups: dict[str, list[Record]] = {}
    seen: set[tuple[str, str]] = set()
    for record in records:
        if record.edit is None or record.score is None:
            missing = "edit (run `seal generate` first)" if record.edit is None else "score (run `seal eval` first)"
            raise BadInput(f"task {record.task.id} has no {missing}")
        key = record.edit.id, record.adapter.id if record.adapter else ""
        if key in seen:
            raise BadInput(f"self-edit {key[0]}, adapter {key[1] or 'none'}: scored twice; each line must be another")
        seen.add(key)
        groups.setdefault(record.edit.id, []).append(record)
    return [_candidate(group) for group in groups.values()]


def _candidate(group: Sequence[Record]) -> Candidate:
    edit = group[0].edit
    scores = [record.score for record in group if record.score is not None]
    if edit is None:
        raise BadInput("a score line without an edit")
    values = [_exact(score, lambda answer: answer.correct, score.value) for score in scores]
    baselines = [_exact(score, lambda answer: answer.baseline_correct, score.baseline) for score in scores]
    return Candidate(
        task_id=group[0].task.id,
        edit=edit,
        values=tuple(value for value in values if value is not None),
        baselines=tuple(baseline for baseline in baselines if baseline is not None),
        unscored=any(value is None for value in values),
    )


def _exact(score: Score, verdict: Callable[..., bool | None], mean: float | None) -> Fraction | None:
    """The accuracy as a fraction of the answers; the imported mean, as written, where there are no answers."""
    if mean is None:
        return None
    if not score.answers:
        return Fraction(str(mean))
    return Fraction(sum(bool(verdict(answer)) for answer in score.answers), len(score.answers))


def _choose(group: Sequence[Candidate], keep: Keep, ties: Ties, seed: int) -> list[Candidate]:
    if keep.rule == "random":
        return [min(group, key=lambda c: edit_seed(seed, c.task_id, c.edit))]
    if keep.rule == "above":
        return [candidate for candidate in group if candidate.value > keep.threshold]
    order = _tie_order(ties, seed)
    ranked = sorted(group, key=lambda c: (-c.value, order(c), c.edit.sample, c.edit.id))
    if keep.rule == "gain":
        return [best for best in ranked[:1] if best.gains]
    return ranked[: keep.count]


def _tie_order(ties: Ties, seed: int) -> Callable[[Candidate], int]:
    """What decides between equal values: the sample's number, a draw from the seed, or the shorter completion."""
    orders: dict[Ties, Callable[[Candidate], int]] = {
        "first": lambda c: c.edit.sample,
        "random": lambda c: edit_seed(seed, c.task_id, c.edit),
        "shortest": lambda c: len(c.edit.completion),
    }
    return orders[ties]


def _best(group: Sequence[Candidate]) -> list[Candidate]:
    """The self-edits that share the best value."""
    best = max(candidate.value for candidate in group)
    return [candidate for candidate in group if candidate.value == best]


def _example(candidate: Candidate) -> SftExample:
    return SftExample(
        prompt=candidate.edit.prompt,
        completion=candidate.edit.completion,
        task_id=candidate.task_id,
        edit_id=candidate.edit.id,
        value=float(candidate.value),
        baseline=None if candidate.baseline is None else float(candidate.baseline),
    )


def reliability(contexts: Sequence[Sequence[Candidate]]) -> float | None:
    """Share of the variance between the self-edits of a context that is not seed noise, 0..1.

    One-way random effects, pooled over contexts: 1 - (noise variance / seeds) / variance of the edits' means. None
    where no self-edit has two seeds, where seeds differ in number, or where the edits do not differ at all.
    """
    groups = [group for group in contexts if len(group) > 1]
    seeds = {len(candidate.values) for group in groups for candidate in group}
    if len(seeds) != 1 or seeds == {1}:
        return None
    count = seeds.pop()
    between = _pooled_variance([[candidate.value for candidate in group] for group in groups])
    within = _pooled_variance([candidate.values for group in groups for candidate in group])
    return None if between == 0 else float(max(Fraction(0), 1 - within / count / between))


def _pooled_variance(samples: Sequence[Sequence[Fraction]]) -> Fraction:
    """Mean squared deviation from each sample's own mean, over the pooled degrees of freedom."""
    squares, freedom = Fraction(0), 0
    for sample in samples:
        mean = sum(sample, Fraction(0)) / len(sample)
        squares += sum(((value - mean) ** 2 for value in sample), Fraction(0))
        freedom += len(sample) - 1
    return squares / freedom
