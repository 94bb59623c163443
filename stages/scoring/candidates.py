"""Self-edits as candidates: which are repeats, their exact rewards over the seeds, and how reliable these are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from stages.errors import BadLine
from stages.records.arc import ArcChoice
from stages.records.frozen import Meta
from stages.records.record import Record, SelfEdit
from stages.records.score import Score, compute_lower_bound, compute_mean, compute_upper_bound
from stages.records.thoughts import explain_no_answer
from stages.scoring.rewards import PLAIN_REWARD, Retained, RewardRule
from stages.settings import UnscoredPolicy
from stages.sources.repeats import UniqueLines

_MOST_VERDICTS = 10_000  # that a mean without its answers is taken for a share of
_ROUNDING = Fraction(1, 10**12)  # by which such a mean may be off


@dataclass(slots=True)
class Candidate:
    """A self-edit with one exact accuracy per seed. Its text is not here: there may be hundreds of thousands."""

    task_id: str
    edit_id: str
    sample: int
    content: str  # a digest of what it says: what `derive_seed` takes
    length: int  # characters, without thoughts
    kept: int  # what `keep` returned for it
    meta: Meta | None
    asked: int = 0  # a hash of its prompt
    said: int = 0  # a hash of its text, without thoughts
    values: list[Fraction] = field(default_factory=list)  # of the seeds that are scored, or their lower bounds
    baselines: list[Fraction] = field(default_factory=list)
    unscored: bool = False  # one of its answers has no verdict
    graded: bool = False  # one of them has
    accuracies: list[Fraction] = field(default_factory=list)  # the values before forgetting is discounted
    retained: list[Retained] = field(default_factory=list)  # of the seeds whose anchors count

    def add(self, score: Score, unscored: UnscoredPolicy, rule: RewardRule = PLAIN_REWARD) -> None:
        """Add the score of one more seed."""
        value, baseline = _read_value(score, unscored), _read_baseline(score, unscored)
        kept = rule.read_retained(score, unscored)
        if rule.asks_anchors and kept is None:
            self.unscored, value = True, None
        elif kept:
            self.retained.append(kept)
        self.accuracies += [] if value is None else [_share(value)]
        self.values += [] if value is None else [_share(rule.discount(value, kept))]
        self.baselines += [] if baseline is None else [_share(baseline)]
        self.unscored = self.unscored or score.value is None or rule.leaves_open(score)
        self.graded = self.graded or score.value is not None or _is_partly_known(score)

    @property
    def value(self) -> Fraction:
        """The reward: the accuracy, less what is forgotten. Mean over seeds, exact: equal rewards are equal."""
        return _compute_mean(self.values)

    @property
    def accuracy(self) -> Fraction:
        """Mean accuracy over seeds, exact."""
        return _compute_mean(self.accuracies)

    @property
    def baseline(self) -> Fraction | None:
        """Mean accuracy of the unadapted model, exact; None where it was not measured."""
        return _compute_mean(self.baselines) if self.baselines else None

    @property
    def gains(self) -> bool:
        """True if it beats the unadapted model. Without a baseline it cannot be said to."""
        return self.baseline is not None and self.value > self.baseline


def _compute_mean(values: Sequence[Fraction]) -> Fraction:
    return _share(values[0] if len(values) == 1 else sum(values, Fraction(0)) / len(values))


@lru_cache(maxsize=4096)
def _share(value: Fraction) -> Fraction:
    """The same number, and the same object for equal ones: there are few different shares."""
    return value


def _find_contradiction(record: Record) -> str | None:
    """A contradiction to the line's value, which is None for our failures and 0 for the model's; else None."""
    edit, adapter, value = record.edit, record.adapter, record.score.value if record.score else None
    graded = record.score is not None and any(answer.correct is not None for answer in record.score.answers)
    if (value is not None or graded) and edit and edit.text is None:
        has = "verdicts" if value is None else f"the value {value:g}"
        return f"it was never written ({edit.error or explain_no_answer(edit.finish)}), but has {has}"
    if value is not None and adapter and adapter.fault == "training":
        return f"its training failed ({adapter.error}), but it has the value {value:g}"
    error = (edit and edit.error) or (adapter and adapter.fault == "edit" and adapter.error)
    return f"it cannot be used ({error}), but has the value {value:g}" if value and error else None


class CandidateCheck:
    """Checks one line after another: raises BadLine for one that is no candidate, or comes twice.

    `learns_prompts`: what is kept is learned behind the prompt that asked for it, so there must be one.
    """

    def __init__(self, *, learns_prompts: bool = True) -> None:
        self.learns_prompts = learns_prompts
        self.distinct = UniqueLines()
        self.edits: dict[tuple[str, str], int] = {}  # a hash of what each self-edit says by its names
        self.measure: str | None = None  # what all values are

    def __call__(self, record: Record) -> None:
        edit, adapter = _require_edit(record), record.adapter.id if record.adapter else ""
        if record.score is None:
            raise BadLine(f"task {record.task.id} has no score (run `seal eval` first)")
        self.measure = self.measure or record.score.measure
        if record.score.measure != self.measure:
            told = f"its value is of another kind ({record.score.measure}) than those before ({self.measure})"
            raise BadLine(f"self-edit {edit.id}: {told}; filter the two apart")
        if contradiction := _find_contradiction(record):
            raise BadLine(f"self-edit {edit.id}: {contradiction}; score it again with `seal eval`, or leave it out")
        if edit.calls and self.learns_prompts:
            raise BadLine(
                f"self-edit {edit.id} took {len(edit.calls)} calls ({edit.template}): no prompt alone has its text, "
                "so `seal sft` has nothing to learn from it; `seal report` and `seal eval` take it"
            )
        if not edit.prompt and self.learns_prompts:
            raise BadLine(
                f"self-edit {edit.id} has no prompt to learn from ({edit.template}); give it one: edit.prompt"
            )
        name, says = (record.task.id, edit.id), hash((edit.prompt, edit.completion))
        if self.edits.get(name, says) != says:  # else they would pass for seeds of one
            raise BadLine(f"two different self-edits of task {record.task.id} have the id {edit.id}; give each its own")
        key = (*name, adapter)
        self.distinct.add(record.task, key, f"self-edit {edit.id}, adapter {adapter or 'none'}: scored twice")
        self.edits[name] = says


def _require_edit(record: Record) -> SelfEdit:
    """The line's self-edit. Raises BadLine where there is none."""
    if record.edit is None:
        raise BadLine(f"task {record.task.id} has no edit (run `seal generate` first)")
    return record.edit


def collect_candidates(
    records: Iterable[Record],
    unscored: UnscoredPolicy = "leave-out",
    *,
    keep: Callable[[Record, SelfEdit], int] = lambda record, edit: 0,
    check: Callable[[Record], object] | None = None,
    rule: RewardRule = PLAIN_REWARD,
) -> list[Candidate]:
    """Collect one candidate per self-edit, with all its seeds. No record is held.

    `keep` is told each self-edit once, with its first line, and returns its place. `check` (default: CandidateCheck)
    raises BadLine for a line that is no candidate, or comes twice.
    """
    found: dict[tuple[str, str], Candidate] = {}  # ids of edits need not differ from task to task
    check = check or CandidateCheck()
    for record in records:
        rule.check(record)
        check(record)
        edit = _require_edit(record)
        name = (record.task.id, edit.id)
        if name not in found:
            content = edit.get_content_id(record.task.id)
            text, asked = edit.text or "", hash(edit.prompt)
            place = keep(record, edit)
            found[name] = Candidate(*name, edit.sample, content, len(text), place, record.meta, asked, hash(text))
        if record.score:
            found[name].add(record.score, unscored, rule)
    return list(found.values())


def _is_partly_known(score: Score) -> bool:
    """True if one of the things that the value is a mean of is known."""
    return any(a.correct is not None for a in score.answers) or any(
        each.value is not None for each in score.likelihoods
    )


def _read_value(score: Score, unscored: UnscoredPolicy) -> Fraction | None:
    """The accuracy as a fraction of the answers; the mean, or its lower bound, where there are no answers."""
    if score.value is None and unscored == "leave-out":
        return None
    if score.answers:
        return compute_lower_bound([answer.correct for answer in score.answers])
    known = score.value if score.value is not None or score.bounds is None else score.bounds[0]
    return None if known is None else _read_mean(known, score)


def _read_baseline(score: Score, unscored: UnscoredPolicy) -> Fraction | None:
    """The plain model's accuracy, or its upper bound; as written where no answer has a verdict. None: not measured."""
    before = [each.baseline for each in score.likelihoods]
    asked = any(answer.baseline_prediction is not None for answer in score.answers) or before.count(None) < len(before)
    if score.baseline is None and (unscored == "leave-out" or not asked):
        return None
    if before and score.baseline is None:
        return _read_mean(compute_mean([1.0 if each is None else each for each in before]) or 0.0, score)
    verdicts = [answer.baseline_correct for answer in score.answers]
    if score.baseline is not None and verdicts.count(None) == len(verdicts):
        return _read_mean(score.baseline, score)
    return compute_upper_bound(verdicts)


@lru_cache(maxsize=4096)
def _find_share(mean: float) -> Fraction:
    """The share that a mean of verdicts is: of means that differ in a float's last digit the same one."""
    exact = Fraction(str(mean))
    share = exact.limit_denominator(_MOST_VERDICTS)
    return share if abs(share - exact) < _ROUNDING else exact


def _read_mean(mean: float, score: Score) -> Fraction:
    """A mean without its answers, exact."""
    return _find_share(mean) if score.kind == "accuracy" else Fraction(str(mean))


def pick_best(group: Sequence[Candidate]) -> list[Candidate]:
    """Return the self-edits that share the best value."""
    best = max(candidate.value for candidate in group)
    return [candidate for candidate in group if candidate.value == best]


def compute_reliability(contexts: Sequence[Sequence[Candidate]]) -> float | None:
    """Return the share of variance between a context's self-edits that is not seed noise, 0..1.

    One-way random effects, pooled over contexts: 1 - (noise variance / seeds) / variance of the edits' means. None
    where no self-edit has two seeds, where seeds differ in number, or where the edits do not differ at all.
    """
    groups = [group for group in contexts if len(group) > 1]
    seeds = {len(candidate.values) for group in groups for candidate in group}
    if len(seeds) != 1 or seeds == {1}:
        return None
    count = seeds.pop()
    between = _pool_variance([[candidate.value for candidate in group] for group in groups])
    within = _pool_variance([candidate.values for group in groups for candidate in group])
    return None if between == 0 else float(max(Fraction(0), 1 - within / count / between))


def _pool_variance(samples: Sequence[Sequence[Fraction]]) -> Fraction:
    """Mean squared deviation from each sample's own mean, over the pooled degrees of freedom."""
    squares, freedom = Fraction(0), 0
    for sample in samples:
        mean = sum(sample, Fraction(0)) / len(sample)
        squares += sum(((value - mean) ** 2 for value in sample), Fraction(0))
        freedom += len(sample) - 1
    return squares / freedom


EditClass = Literal["good", "unreadable", "repeat", "lost"]


class EditTracker:
    """Remembers what the self-edits of each task chose."""

    def __init__(self, known: Iterable[Record] = ()) -> None:
        self.by_task: dict[str, set[ArcChoice | None]] = {}
        self.completions = self.readable = self.repeats = 0  # that came, can be read, and repeat another of their task
        for line in known:
            self.add(line)

    def classify(self, line: Record, *, unique: bool) -> EditClass:
        """Count a self-edit that has just come. It can be a repeat only if self-edits are to be `unique`."""
        if not is_written(line):
            return "lost"
        self.completions += 1
        if line.edit is not None and line.edit.error is not None:
            return "unreadable"  # the model's failure
        self.readable += 1
        choice = _get_choice(line)
        if unique and choice is not None and choice in self.by_task.get(line.task.id, ()):
            self.repeats += 1
            return "repeat"
        return "good"

    def add(self, line: Record) -> Record:
        """Remember a line's choice, which later ones must not repeat. Returns the line."""
        self.by_task.setdefault(line.task.id, set()).add(_get_choice(line))
        return line

    @property
    def summary(self) -> str:
        """Summarise: `41 of 60 completions can be read (68.3 %), 12 repeat another of their task`"""
        share = f" ({100 * self.readable / self.completions:.1f} %)" if self.completions else ""
        repeats = f", {self.repeats} repeat another of their task" if self.repeats else ""
        return f"{self.readable} of {self.completions} completions can be read{share}{repeats}"


def is_written(line: Record) -> bool:
    """True if the editor has answered, even with a refusal."""
    return line.edit is None or line.edit.finish != "failed"


def _get_choice(line: Record) -> ArcChoice | None:
    """Return what was chosen, however it was written; None if the self-edit cannot be read."""
    choice = line.edit.chosen if line.edit else None
    return choice.model_copy(update={"repairs": ()}) if choice else None
