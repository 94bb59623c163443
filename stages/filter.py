"""score → sft line: keep the best self-edits and report how far the reward can be trusted (ReST-EM, SEAL section 3).

Or the kept self-edits as edit lines, to be trained on together; or a line for other outer losses: the best against the
worst of a context (DPO), or each with its advantage (GRPO).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Literal

from stages.errors import BadConfig
from stages.records.frozen import derive_seed
from stages.records.record import Record
from stages.records.schema import FilterLine, SftExample
from stages.scoring.candidates import Candidate, CandidateCheck, collect_candidates, compute_reliability, pick_best
from stages.scoring.edit_texts import NOTHING, Choice, EditTexts
from stages.scoring.rewards import PLAIN_REWARD, RewardRule
from stages.settings import Ties, UnscoredPolicy

LineForm = Literal["sft", "edits", "pairs", "weights"]  # kept, for sft or adapt; all others compare


@dataclass(frozen=True)
class KeepRule:
    """Which self-edits of a context to keep: the `count` best, all above a threshold, the best if it gains, any one."""

    rule: Literal["best", "above", "gain", "random"] = "best"
    count: int = 1
    threshold: Fraction = Fraction(0)

    @classmethod
    def parse(cls, text: str) -> "KeepRule":
        """Parse `best`, `best:N`, `above:X`, `gain` or `random`. Raises BadConfig for anything else."""
        rule, _, argument = text.partition(":")
        with suppress(ValueError, ZeroDivisionError):
            if rule == "best" and int(argument or 1) > 0:
                return cls("best", count=int(argument or 1))
            if rule == "above" and 0 <= Fraction(argument) < 1:
                return cls("above", threshold=Fraction(argument))
        if text == "gain":
            return cls("gain")
        if text == "random":
            return cls("random")
        raise BadConfig(f"--keep {text}: take best, best:N (N ≥ 1), above:X (0 ≤ X < 1), gain or random")


def check_form(form: LineForm, keep: KeepRule, ties: Ties, unscored: UnscoredPolicy) -> None:
    """Raise BadConfig for rules that say nothing of lines of this form, or would punish an answer without a verdict."""
    if form in ("sft", "edits"):
        return
    if keep != KeepRule():
        raise BadConfig(f"--keep: --{form} takes the self-edits of each context by a rule of its own; leave --keep out")
    if unscored == "pessimistic":
        raise BadConfig(f"--unscored pessimistic: with --{form} it would punish what has no verdict; leave it out")
    if form == "weights" and ties != "first":
        raise BadConfig(f"--ties {ties}: --weights takes every self-edit, so that nothing ties; leave it out")


class LineCheck:
    """Check that a line can be compared with those before it, and has what the reward asks for. Raises BadLine."""

    def __init__(self, reward: RewardRule, form: LineForm = "sft") -> None:
        self.comparable, self.reward = CandidateCheck(learns_prompts=form != "edits"), reward
        self.judges: set[str] = set()  # who graded the lines

    def __call__(self, line: Record) -> None:
        self.comparable(line)
        self.reward.check(line)
        self.judges.update([line.score.judge] if line.score else [])


@dataclass(frozen=True)
class FilterSummary:
    """What was kept, and how far the rewards can be trusted."""

    contexts: int
    edits: int
    kept: int
    unscored: int  # self-edits of which an answer has no verdict: left out, or taken at their lower bound
    empty: int  # self-edits that say nothing to learn: never kept
    ties: int  # contexts in which several self-edits share the best value
    below_baseline: int  # contexts whose best self-edit does not beat the unadapted model
    reliability: float | None  # share of the between-edit variance that is not seed noise, 0..1
    forgetful: int | None = None  # self-edits that were rejected for what they let the model forget; None: none can be

    def describe(self, keep: str, unscored: UnscoredPolicy) -> str:
        """Describe all of it in a line, for these rules."""
        reliable = "unknown (it takes two seeds)" if self.reliability is None else f"{self.reliability:.2f}"
        return (
            f"{self.contexts} contexts, {self.edits} self-edits, {self.kept} kept ({keep}); "
            f"{f'{self.empty} say nothing to learn; ' if self.empty else ''}"
            f"{f'{self.forgetful} forget too much; ' if self.forgetful is not None else ''}"
            f"{f'{self.unscored} with unscored answers ({unscored}); ' if self.unscored else ''}"
            f"{self.ties} contexts tie for the best, in {self.below_baseline} the best does not beat the baseline; "
            f"reliability of the reward {reliable}"
        )


@dataclass(frozen=True)
class FilterResult:
    """The kept self-edits, in the order of their contexts, and the summary."""

    chosen: tuple[Choice, ...]
    texts: EditTexts
    summary: FilterSummary
    reward: RewardRule = PLAIN_REWARD
    level: int = 0  # contexts (of several prompts: each) of which no self-edit is better than another

    def lines(self) -> Iterator[FilterLine]:
        """Yield the line of each, one after the other."""
        for choice in self.chosen:
            line = self.texts.line(choice)
            if self.reward.forgetting and isinstance(line, SftExample):
                line = line.model_copy(update={"reward": float(choice.edit.value)})
            yield line

    @property
    def examples(self) -> tuple[SftExample, ...]:
        """All kept examples that are no pairs, and no edit lines."""
        return tuple(line for line in self.lines() if isinstance(line, SftExample))


def run(
    records: Iterable[Record],
    *,
    keep: KeepRule = KeepRule(),
    form: LineForm = "sft",
    ties: Ties = "first",
    unscored: UnscoredPolicy = "leave-out",
    seed: int = 0,
    check: Callable[[Record], object] | None = None,
    reward: RewardRule = PLAIN_REWARD,
) -> FilterResult:
    """Return the kept self-edits in the order of their contexts. Reads everything first: a ranking needs all rewards.

    Of what it reads it holds the rewards alone; the texts wait in a temporary file.

    A self-edit with an unscored answer is left out, or with "pessimistic" worth what it is worth at least; one without
    any verdict is left out either way. One that says nothing is never kept, nor one that the `reward` rejects.
    `check` is called with each line; by default it raises BadLine for one that is no candidate, or comes twice.

    Of the other forms `keep` is not asked. There self-edits are compared with those of their context and prompt: a pair
    for each prompt that a context's were asked with, or a line for each of them; none where all are worth the same.
    """
    check_form(form, keep, ties, unscored)
    texts = EditTexts(whole=form == "edits")
    check = check or LineCheck(PLAIN_REWARD, form)
    candidates = collect_candidates(records, unscored, keep=texts.add, check=check, rule=reward)
    contexts: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if not candidate.unscored or (unscored == "pessimistic" and candidate.graded):
            contexts.setdefault(candidate.task_id, []).append(candidate)
    sound = [[each for each in group if reward.accepts(each.retained)] for group in contexts.values()]
    taught = [[each for each in group if each.kept != NOTHING] for group in sound]
    if form in ("sft", "edits"):
        level, chosen = 0, [Choice(kept) for group in taught if group for kept in _choose(group, keep, ties, seed)]
    else:
        groups = [same for group in taught for same in _split_by_prompt(group)]
        found = [_oppose(group, ties, seed) if form == "pairs" else _weigh(group) for group in groups]
        level, chosen = found.count([]), [choice for choices in found for choice in choices]
    summary = FilterSummary(
        contexts=len({candidate.task_id for candidate in candidates}),
        edits=len(candidates),
        kept=len(chosen),
        unscored=sum(candidate.unscored for candidate in candidates),
        empty=sum(candidate.kept == NOTHING for candidate in candidates),
        ties=sum(len(pick_best(group)) > 1 for group in contexts.values()),
        below_baseline=sum(_loses(group) for group in contexts.values()),
        reliability=compute_reliability(list(contexts.values())),
        forgetful=None if reward.retain_above is None else sum(map(len, contexts.values())) - sum(map(len, sound)),
    )
    return FilterResult(tuple(chosen), texts, summary, reward, level)


def _loses(group: Sequence[Candidate]) -> bool:
    """True if the best self-edits of a context all fail to beat a baseline that is known."""
    best = pick_best(group)
    return any(c.baseline is not None for c in best) and not any(c.gains for c in best)


def _choose(group: Sequence[Candidate], keep: KeepRule, ties: Ties, seed: int) -> list[Candidate]:
    if keep.rule == "random":
        return [min(group, key=lambda c: derive_seed(seed, c.content))]
    if keep.rule == "above":
        return [candidate for candidate in group if candidate.value > keep.threshold]
    ranked = _rank(group, ties, seed)
    if keep.rule == "gain":
        return [best for best in ranked[:1] if best.gains]
    return ranked[: keep.count]


def _rank(group: Sequence[Candidate], ties: Ties, seed: int, *, worst_first: bool = False) -> list[Candidate]:
    order: Callable[[Candidate], int] = {
        "first": lambda c: c.sample,
        "random": lambda c: derive_seed(seed, c.content),
        "shortest": lambda c: c.length,
    }[ties]
    sign = 1 if worst_first else -1
    return sorted(group, key=lambda c: (sign * c.value, order(c), c.sample, c.edit_id))


def _split_by_prompt(group: Sequence[Candidate]) -> list[list[Candidate]]:
    """Split a context's self-edits by what they were asked with."""
    found: dict[int, list[Candidate]] = {}
    for candidate in group:
        found.setdefault(candidate.asked, []).append(candidate)
    return list(found.values())


def _oppose(group: Sequence[Candidate], ties: Ties, seed: int) -> list[Choice]:
    """The best of a group against the worst; nothing where they are worth the same, or say the same."""
    best, worst = _rank(group, ties, seed)[0], _rank(group, ties, seed, worst_first=True)[0]
    return [Choice(best, rejected=worst)] if best.value > worst.value and best.said != worst.said else []


def _weigh(group: Sequence[Candidate]) -> list[Choice]:
    """Each of a group with its advantage, (value - mean) / standard deviation; nothing where that is 0.

    arXiv 2402.03300 section 4.1.2; the deviation over n - 1, as in trl's GRPOTrainer.
    """
    mean = sum((c.value for c in group), Fraction(0)) / len(group)
    squares = sum(((c.value - mean) ** 2 for c in group), Fraction(0))
    if not squares:
        return []
    deviation = sqrt(squares / (len(group) - 1))
    return [Choice(c, advantage=float(c.value - mean) / deviation) for c in group]
