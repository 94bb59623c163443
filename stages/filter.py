"""score → sft line: keep the best self-edits and report how far the reward can be trusted (ReST-EM, SEAL section 3)."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from stages.errors import BadConfig
from stages.files import add_filename
from stages.interfaces import Ties, UnscoredPolicy
from stages.records.frozen import derive_seed
from stages.records.record import Record, SelfEdit
from stages.records.schema import SftExample
from stages.records.thoughts import get_learnable_text
from stages.scoring.candidates import Candidate, collect_candidates, compute_reliability, pick_best
from stages.scoring.rewards import PLAIN_REWARD, RewardRule
from stages.sources.training_pairs import LEARNED

_NOTHING = -1  # the place of a text that says nothing


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

    chosen: tuple[Candidate, ...]
    texts: "EditTexts"
    summary: FilterSummary
    reward: RewardRule = PLAIN_REWARD

    def pairs(self) -> Iterator[SftExample]:
        """Yield their training pairs, one after the other."""
        told = (self.texts.example(candidate) for candidate in self.chosen)
        if not self.reward.forgetting:
            return told
        rewards = (float(candidate.value) for candidate in self.chosen)
        return (pair.model_copy(update={"reward": reward}) for pair, reward in zip(told, rewards, strict=True))

    @property
    def examples(self) -> tuple[SftExample, ...]:
        """All kept examples."""
        return tuple(self.pairs())


def run(
    records: Iterable[Record],
    *,
    keep: KeepRule = KeepRule(),
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
    """
    texts = EditTexts()
    candidates = collect_candidates(records, unscored, keep=texts.add, check=check, rule=reward)
    contexts: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if not candidate.unscored or (unscored == "pessimistic" and candidate.graded):
            contexts.setdefault(candidate.task_id, []).append(candidate)
    sound = [[each for each in group if reward.accepts(each.retained)] for group in contexts.values()]
    taught = [[each for each in group if each.kept != _NOTHING] for group in sound]
    chosen = [kept for group in taught if group for kept in _choose(group, keep, ties, seed)]
    summary = FilterSummary(
        contexts=len({candidate.task_id for candidate in candidates}),
        edits=len(candidates),
        kept=len(chosen),
        unscored=sum(candidate.unscored for candidate in candidates),
        empty=sum(candidate.kept == _NOTHING for candidate in candidates),
        ties=sum(len(pick_best(group)) > 1 for group in contexts.values()),
        below_baseline=sum(_loses(group) for group in contexts.values()),
        reliability=compute_reliability(list(contexts.values())),
        forgetful=None if reward.retain_above is None else sum(map(len, contexts.values())) - sum(map(len, sound)),
    )
    return FilterResult(tuple(chosen), texts, summary, reward)


def _loses(group: Sequence[Candidate]) -> bool:
    """True if the best self-edits of a context all fail to beat a baseline that is known."""
    best = pick_best(group)
    return any(c.baseline is not None for c in best) and not any(c.gains for c in best)


def _choose(group: Sequence[Candidate], keep: KeepRule, ties: Ties, seed: int) -> list[Candidate]:
    if keep.rule == "random":
        return [min(group, key=lambda c: derive_seed(seed, c.content))]
    if keep.rule == "above":
        return [candidate for candidate in group if candidate.value > keep.threshold]
    order: Callable[[Candidate], int] = {
        "first": lambda c: c.sample,
        "random": lambda c: derive_seed(seed, c.content),
        "shortest": lambda c: c.length,
    }[ties]
    ranked = sorted(group, key=lambda c: (-c.value, order(c), c.sample, c.edit_id))
    if keep.rule == "gain":
        return [best for best in ranked[:1] if best.gains]
    return ranked[: keep.count]


class EditTexts:
    """Prompts and completions of self-edits in a temporary file, each found by its place there."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.end = 0

    def add(self, edit: SelfEdit) -> int:
        """Store one and return its place, or NOTHING. Raises OSError if the disk is full."""
        said = get_learnable_text(edit.completion)
        if not said.strip():
            return _NOTHING
        pair: dict[str, object] = {"prompt": edit.prompt, "completion": said}
        if not isinstance(edit.prompt, str):  # trl takes messages behind messages alone
            turn = {"role": LEARNED, "content": said}
            pair = {"prompt": [vars(message) for message in edit.prompt], "completion": [turn]}
        line = json.dumps(pair).encode() + b"\n"
        place, self.end = self.end, self.end + len(line)
        with _named_folder():
            self.file.write(line)
        return place

    def example(self, candidate: Candidate) -> SftExample:
        """Return the training pair of a candidate, with its text."""
        with _named_folder():
            self.file.seek(candidate.kept)
            told = json.loads(self.file.readline())
        return SftExample(
            **told,
            task_id=candidate.task_id,
            edit_id=candidate.edit_id,
            value=float(candidate.accuracy),
            baseline=None if candidate.baseline is None else float(candidate.baseline),
            meta=candidate.meta,
        )


@contextmanager
def _named_folder() -> Iterator[None]:
    """Name the folder in an error of the temporary file: the file itself has no name."""
    try:
        yield
    except OSError as error:
        raise add_filename(error, Path(tempfile.gettempdir())) from None
