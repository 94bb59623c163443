"""Verdicts to scores: nothing unscored is right or wrong, and no value leaves its bounds."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import filter as keeping
from stages import report
from stages.records.record import Record
from stages.records.score import Answer, compute_accuracy, compute_bounds, make_score
from stages.scoring.candidates import collect_candidates
from tests.invented import a_line, numbered

VERDICTS = st.lists(st.sampled_from([True, False, None]), max_size=8)


@pytest.mark.parametrize(
    ("verdicts", "share"),
    [([True, False, False], 1 / 3), ([True, None], None), ([None], None), ([], None), ([False], 0.0)],
)
def test_accuracy_is_a_share_or_nothing(verdicts: list[bool | None], share: float | None) -> None:
    assert compute_accuracy(verdicts) == share


@given(VERDICTS, st.randoms())
@settings(deadline=None)
def test_however_the_unscored_are_graded_the_value_is_within_its_bounds(
    verdicts: list[bool | None], draw: random.Random
) -> None:
    whole = [draw.random() < 0.5 if verdict is None else verdict for verdict in verdicts]
    ends, value = compute_bounds(verdicts), compute_accuracy(whole)
    if ends is None or value is None:
        assert verdicts == []
    else:
        assert ends[0] <= value <= ends[1]
        assert (ends[0] == ends[1]) == (None not in verdicts)


@given(VERDICTS)
@settings(deadline=None)
def test_a_score_carries_its_bounds_and_can_be_read_again(verdicts: list[bool | None]) -> None:
    answers = [
        Answer(id=str(n), prediction="x", correct=v, reason=None, baseline_prediction=None, baseline_correct=None)
        for n, v in enumerate(verdicts)
    ]
    score = make_score(answers, model="student", judge="exact")
    assert type(score).model_validate_json(score.model_dump_json()) == score
    assert (score.value, score.bounds) == (compute_accuracy(verdicts), compute_bounds(verdicts))


# ---- a judge that fails now and then


def world(seed: int, contexts: int = 12, edits: int = 4, seeds: int = 2) -> list[Record]:
    """Score lines with the verdicts that a judge without failures gives."""
    draw = random.Random(seed)
    lines = []
    for number in range(contexts):
        task = numbered(f"T{number}", 5)
        before = [draw.random() < 0.2 for _ in range(5)]
        for sample in range(edits):
            skill = draw.random()
            for replica in range(seeds):
                right = [draw.random() < skill for _ in range(5)]
                lines.append(
                    a_line(task, right, sample=sample, seed=replica, completion="x" * (sample + 1), before=before)
                )
    return lines


def with_failures(lines: list[Record], share: float, seed: int) -> list[Record]:
    """The same lines as a judge leaves them that fails on a share of its calls."""
    draw = random.Random(f"{seed}/{share}")

    def lost(verdict: bool | None) -> bool | None:
        return None if draw.random() < share else verdict

    def graded(line: Record) -> Record:
        assert line.score is not None
        answers = [
            answer.model_copy(
                update={"correct": lost(answer.correct), "baseline_correct": lost(answer.baseline_correct)}
            )
            for answer in line.score.answers
        ]
        return line.grow(score=make_score(answers, model="student", judge="exact"))

    return [graded(line) for line in lines]


FAILING = pytest.mark.parametrize(
    ("share", "seed"), [(share, seed) for share in (0.01, 0.05, 0.2, 0.5) for seed in range(5)]
)


@FAILING
def test_failed_calls_move_no_kept_reward_at_all(share: float, seed: int) -> None:
    truth = {candidate.edit_id: candidate for candidate in collect_candidates(world(seed))}
    lines = with_failures(world(seed), share, seed)
    for keep in ("best", "best:3", "above:0.3", "gain", "random"):
        for example in keeping.run(lines, keep=keeping.KeepRule.parse(keep)).examples:
            assert example.value == float(truth[example.edit_id].value)


@FAILING
def test_a_pessimistic_reward_is_the_lower_bound_and_never_more_than_the_truth(share: float, seed: int) -> None:
    truth = {candidate.edit_id: candidate for candidate in collect_candidates(world(seed))}
    lines = with_failures(world(seed), share, seed)
    ends: dict[str, list[float]] = {}
    for line in lines:
        assert line.score is not None and line.edit is not None and line.score.bounds is not None
        ends.setdefault(line.edit.id, []).append(line.score.bounds[0])
    kept = keeping.run(lines, keep=keeping.KeepRule.parse("best:4"), unscored="pessimistic").examples
    assert len(kept) == len(truth)
    for example in kept:
        assert example.value <= float(truth[example.edit_id].value)
        assert example.value == pytest.approx(sum(ends[example.edit_id]) / len(ends[example.edit_id]))
    for candidate in keeping.run(lines, keep=keeping.KeepRule.parse("gain"), unscored="pessimistic").examples:
        assert truth[candidate.edit_id].gains


@FAILING
def test_the_reported_mean_and_the_truth_lie_within_the_reported_bounds(share: float, seed: int) -> None:
    whole, left = report.run([("whole", world(seed)), ("left", with_failures(world(seed), share, seed))])
    assert left.unscored > 0 or share < 0.05
    assert left.least <= left.mean <= left.most
    assert left.least <= whole.mean <= left.most
    assert left.answers + left.unscored == whole.answers


def test_a_wider_failure_widens_the_bounds() -> None:
    widths = []
    for share in (0.0, 0.05, 0.2, 0.5):
        (row,) = report.run([("row", with_failures(world(0), share, 0))])
        widths.append(row.most - row.least)
    assert widths == sorted(widths)
    assert widths[0] == 0.0
