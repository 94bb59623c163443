"""What a self-edit is worth where it may let the model forget what it knew."""

from collections.abc import Sequence
from fractions import Fraction

import pytest

from stages import filter as stage
from stages.errors import BadConfig, BadLine
from stages.records.record import Record
from stages.records.schema import PreferencePair
from stages.records.score import AnchorAnswers, make_retention
from stages.scoring.rewards import RewardRule
from tests.invented import a_line, a_score, a_task, numbered

ANCHORS = numbered("known before", 4)


def forgets(sample: int, right: int, kept: Sequence[bool | None], seed: int = 0) -> Record:
    """A self-edit that answers so many of four questions, and leaves these of the four anchors right."""
    line = a_line(numbered("Ada", 4), [n < right for n in range(4)], sample=sample, seed=seed, completion=f"x{sample}")
    assert line.score is not None
    answers = a_score(ANCHORS, kept, [True] * 4).answers
    retention = make_retention([AnchorAnswers(task_id=ANCHORS.id, answers=answers)], "exact")
    return line.grow(score=line.score.model_copy(update={"retention": retention}))


def best(lines: Sequence[Record], reward: str = "value", retain_above: float | None = None) -> list[str]:
    found = stage.run(lines, reward=RewardRule.parse(reward, retain_above))
    return [str(pair.completion) for pair in found.examples]


LINES = [forgets(0, 4, [True, False, False, False]), forgets(1, 3, [True] * 4), forgets(2, 2, [True] * 4)]


def test_without_a_rule_the_anchors_change_nothing() -> None:
    assert best(LINES) == ["x0"]


def test_one_that_leaves_too_little_of_the_anchors_is_rejected_and_the_next_is_kept() -> None:
    assert best(LINES, retain_above=0.5) == ["x1"]
    assert best(LINES, retain_above=0.25) == ["x0"]
    assert stage.run(LINES, reward=RewardRule.parse("value", 0.5)).summary.forgetful == 1


def test_the_share_is_that_of_the_mean_over_seeds() -> None:
    seeds = [forgets(0, 4, [True, False, False, False]), forgets(0, 4, [True] * 4, seed=1)]
    assert best([*seeds, *LINES[1:]], retain_above=0.6) == ["x0"]
    assert best([*seeds, *LINES[1:]], retain_above=0.7) == ["x1"]


def test_what_is_forgotten_is_taken_off_the_reward() -> None:
    (kept,) = stage.run(LINES, reward=RewardRule.parse("gain-forgetting:1")).examples
    assert (kept.completion, kept.value, kept.reward) == ("x1", 0.75, 0.75)
    assert best(LINES, "gain-forgetting:1/4") == ["x0"]  # 1 - 3/4 · 1/4 is more than 3/4
    assert "reward" not in stage.run(LINES).examples[0].model_dump()


def test_a_reward_may_fall_below_zero_and_the_accuracy_stays_beside_it() -> None:
    (kept,) = stage.run(LINES[:1], reward=RewardRule.parse("gain-forgetting:2")).examples
    assert (kept.value, kept.reward) == (1.0, -0.5)


def test_pairs_and_advantages_go_by_the_reward_and_name_the_accuracies() -> None:
    rule = RewardRule.parse("gain-forgetting:1")  # 1/4, 3/4, 1/2
    (pair,) = stage.run(LINES, form="pairs", reward=rule).lines()
    assert isinstance(pair, PreferencePair)
    assert (pair.chosen, pair.rejected, pair.values) == ("x1", "x0", (0.75, 1.0))
    weighed = stage.run(LINES, form="weights", reward=rule).examples
    assert [(each.advantage, each.reward) for each in weighed] == [(-1.0, 0.25), (1.0, 0.75), (0.0, 0.5)]


def test_nothing_is_gained_by_knowing_more_of_the_anchors() -> None:
    rule = RewardRule.parse("gain-forgetting:1")
    line = LINES[1]
    assert line.score is not None
    kept = rule.read_retained(line.score, "leave-out")
    assert kept is not None
    assert rule.discount(Fraction(1, 2), kept._replace(baseline=Fraction(0))) == Fraction(1, 2)


def test_an_unscored_anchor_leaves_the_self_edit_out_or_counts_as_forgotten() -> None:
    lines = [forgets(0, 4, [True, True, True, None]), forgets(1, 3, [True] * 4)]
    rule = RewardRule.parse("value", 0.8)
    assert [pair.completion for pair in stage.run(lines, reward=rule).examples] == ["x1"]
    assert stage.run(lines, reward=rule).summary.unscored == 1
    assert stage.run(lines, reward=rule, unscored="pessimistic").summary.forgetful == 1
    assert best(lines) == ["x0"]


def test_an_anchor_that_is_unscored_without_the_adapter_leaves_the_self_edit_out_too() -> None:
    line = forgets(0, 4, [True] * 4)
    assert line.score is not None
    answers = a_score(ANCHORS, [True] * 4, [True, True, True, None]).answers
    retention = make_retention([AnchorAnswers(task_id=ANCHORS.id, answers=answers)], "exact")
    line = line.grow(score=line.score.model_copy(update={"retention": retention}))
    for rule in (RewardRule.parse("value", 0.1), RewardRule.parse("gain-forgetting:1")):
        found = stage.run([line], reward=rule)
        assert (found.examples, found.summary.unscored) == ((), 1)
        assert stage.run([line], reward=rule, unscored="pessimistic").summary.unscored == 1
    assert best([line]) == ["x0"]


def test_a_line_whose_anchors_were_not_asked_is_named() -> None:
    line = a_line(a_task(), [True, True])
    assert line.edit is not None
    with pytest.raises(BadLine, match=f"self-edit {line.edit.id}: its score has no retention .run `seal eval --retain"):
        stage.run([line], reward=RewardRule.parse("value", 0.9))
    assert stage.run([line]).summary.kept == 1


def test_a_retention_without_an_answer_is_none() -> None:
    with pytest.raises(ValueError, match="a retention has answers to anchors; leave it out where none were asked"):
        make_retention([AnchorAnswers(task_id=ANCHORS.id, answers=())], "exact")


@pytest.mark.parametrize("text", ["gain", "gain-forgetting", "gain-forgetting:0", "gain-forgetting:-1", "value:2"])
def test_other_rewards_are_refused_with_the_ones_there_are(text: str) -> None:
    with pytest.raises(BadConfig, match="take value, or gain-forgetting:L"):
        RewardRule.parse(text)
