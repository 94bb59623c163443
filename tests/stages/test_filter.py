"""score → sft line: the best self-edits, exactly."""

import json
import random
import re
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import filter as stage
from stages import tasks
from stages.errors import BadConfig, BadInput, BadLine
from stages.filter import FilterResult, KeepRule
from stages.interfaces import Example
from stages.records.jsonl import to_json
from stages.records.record import Message, Record
from stages.records.schema import SftExample
from stages.records.score import Score
from stages.settings import Ties
from stages.sources.training_pairs import read_pair
from tests.conftest import paper_file
from tests.invented import a_line, a_task, an_edit, numbered

PAIRS = {
    "rank_iter0.json": "sft_best1of5_iter0.jsonl",
    "rank_iter0_prompt-self-qa.json": "sft_best1of5_iter0_prompt-self-qa.jsonl",
}


def verdicts(right: int, of: int) -> list[bool]:
    return [place < right for place in range(of)]


def context(title: str, rights: list[list[int]], of: int, before: int = 0) -> list[Record]:
    """Score lines of one context: per self-edit the right answers of each seed."""
    task = numbered(title, of)
    return [
        a_line(
            task, verdicts(right, of), sample=n, seed=seed, completion="x" * (3 + n % 2), before=verdicts(before, of)
        )
        for n, seeds in enumerate(rights)
        for seed, right in enumerate(seeds)
    ]


@st.composite
def contexts(draw: st.DrawFn) -> list[Record]:
    """Up to four contexts of up to five self-edits: few questions, so that ties are common."""
    lines = []
    for title in ("Ada", "Bo", "Cy", "Di")[: draw(st.integers(1, 4))]:
        of, seeds = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        right = st.lists(st.integers(0, of), min_size=seeds, max_size=seeds)
        lines += context(title, draw(st.lists(right, min_size=1, max_size=5)), of, draw(st.integers(0, of)))
    return lines


def exact(lines: list[Record]) -> dict[str, dict[str, Fraction]]:
    """Per context the exact mean of each self-edit, by hand."""
    found: dict[str, dict[str, list[Fraction]]] = {}
    for line in lines:
        assert line.score is not None and line.edit is not None
        right = Fraction(sum(bool(answer.correct) for answer in line.score.answers), len(line.score.answers))
        found.setdefault(line.task.id, {}).setdefault(line.edit.id, []).append(right)
    return {task: {edit: sum(v) / Fraction(len(v)) for edit, v in edits.items()} for task, edits in found.items()}


TIES = st.sampled_from(["first", "random", "shortest"])
KEEPS = st.sampled_from(
    [KeepRule(), KeepRule("best", count=2), KeepRule("above", threshold=Fraction(1, 3)), KeepRule("gain")]
)


@given(contexts(), TIES, st.integers(0, 9))
@settings(deadline=None)
def test_the_kept_self_edit_has_the_top_exact_value(lines: list[Record], ties: Ties, seed: int) -> None:
    filtered = stage.run(lines, ties=ties, seed=seed)
    values = exact(lines)
    assert [example.task_id for example in filtered.examples] == list(values)
    for example in filtered.examples:
        best = max(values[example.task_id].values())
        assert values[example.task_id][example.edit_id] == best
        assert example.value == float(best)
    tied = [list(edits.values()).count(max(edits.values())) > 1 for edits in values.values()]
    assert filtered.summary.ties == sum(tied)


@given(contexts(), KEEPS, TIES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_lines_changes_nothing_but_the_order(
    lines: list[Record], keep: KeepRule, ties: Ties, shuffle: random.Random
) -> None:
    shuffled = list(lines)
    shuffle.shuffle(shuffled)
    one, other = stage.run(lines, keep=keep, ties=ties), stage.run(shuffled, keep=keep, ties=ties)
    assert one.summary == other.summary
    assert by_id(one) == by_id(other)


def by_id(filtered: FilterResult) -> list[SftExample]:
    return sorted(filtered.examples, key=lambda example: (example.task_id, example.edit_id))


def kept(lines: list[Record], keep: str = "best", ties: Ties = "first", seed: int = 0) -> list[int]:
    """The sample numbers of the kept self-edits."""
    numbers = {line.edit.id: line.edit.sample for line in lines if line.edit}
    return [
        numbers[example.edit_id]
        for example in stage.run(lines, keep=KeepRule.parse(keep), ties=ties, seed=seed).examples
    ]


@pytest.mark.parametrize("empty", ["", " \n", "<think>hm</think>\n"])
def test_a_self_edit_that_says_nothing_is_never_kept(empty: str) -> None:
    task = numbered("Ada", 2)
    lines = [a_line(task, verdicts(2, 2), sample=0, completion=empty), a_line(task, verdicts(1, 2), sample=1)]
    for rule in ("best", "above:0", "gain", "random"):
        filtered = stage.run(lines, keep=KeepRule.parse(rule))
        assert {example.completion for example in filtered.examples} <= {"A line."}
        assert filtered.summary.empty == 1
    assert kept(lines) == [1]
    assert kept(lines[:1]) == []


def test_a_self_edit_asked_for_in_messages_is_learned_as_a_message() -> None:
    line = a_line(numbered("Ada", 1), [True])
    assert line.edit is not None
    asked = (Message(role="user", content="Read."),)
    (example,) = stage.run([line.grow(edit=line.edit.model_copy(update={"prompt": asked}))]).examples
    assert example.completion == (Message(role="assistant", content="A line."),)
    pair = read_pair(json.loads(to_json(example)))
    assert list(pair.examples) == [Example([{"role": "user", "content": "Read."}], "A line.")]


def test_better_edit_wins() -> None:
    assert kept(context("Ada", [[1, 1], [2, 1], [0, 2]], 4)) == [1]


def test_equal_sums_of_different_seeds_tie_exactly() -> None:
    lines = context("Ada", [[1, 2, 3], [3, 2, 1]], 10)
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    assert stage.run(lines).summary.ties == 1
    assert kept(lines[3:] + lines[:3]) == [0]


def test_equal_means_without_their_answers_tie_whatever_their_last_digit() -> None:
    means = [mean_line(sample, mean) for sample, mean in enumerate([0.3, 0.1 + 0.2, 0.29999999])]
    found = stage.run(means)
    assert ([example.completion for example in found.examples], found.summary.ties) == (["x0"], 1)
    assert stage.run(means, keep=KeepRule.parse("above:0.3")).examples == ()
    beaten = mean_line(0, 0.3, baseline=0.1 + 0.2)
    assert stage.run([beaten], keep=KeepRule.parse("gain")).examples == ()


def mean_line(sample: int, value: float, baseline: float | None = None) -> Record:
    """A line of which only the mean is known."""
    task = a_task()
    score = Score(value=value, baseline=baseline, model="student", judge="gpt-4.1", answers=())
    return Record(task=task, edit=an_edit(task, sample, f"x{sample}"), score=score)


def test_ties_go_to_the_first_to_the_shortest_or_by_the_seed() -> None:
    lines = context("Ada", [[0], [2], [2], [2]], 3)
    assert kept(lines, ties="first") == [1]
    assert kept(lines, ties="shortest") == [2]
    assert {kept(lines, ties="random", seed=seed)[0] for seed in range(20)} == {1, 2, 3}


def test_equally_short_ties_go_to_the_first_sample_whatever_the_order() -> None:
    lines = context("Ada", [[2], [0], [2], [0], [2]], 3)
    assert kept(lines, ties="shortest") == kept(lines[::-1], ties="shortest") == [0]


def test_the_rules_keep_what_they_say() -> None:
    lines = context("Ada", [[1], [3], [2], [2]], 4, before=2)
    assert kept(lines, "best:2") == [1, 2]
    assert kept(lines, "best:9") == [1, 2, 3, 0]
    assert kept(lines, "above:0.25") == [1, 2, 3]
    assert kept(lines, "gain") == [1]
    assert kept(context("Ada", [[1], [2]], 4, before=2), "gain") == []
    assert {kept(lines, "random", seed=seed)[0] for seed in range(30)} == {0, 1, 2, 3}


def test_above_is_exact_at_the_threshold() -> None:
    assert kept(context("Ada", [[1], [3]], 10), "above:0.3") == []
    assert kept(context("Ada", [[1], [3]], 10), "above:0.1") == [1]


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("best", KeepRule()),
        ("best:3", KeepRule("best", count=3)),
        ("above:0.3", KeepRule("above", threshold=Fraction(3, 10))),
        ("above:0", KeepRule("above", threshold=Fraction(0))),
        ("gain", KeepRule("gain")),
        ("random", KeepRule("random")),
    ],
)
def test_a_rule_is_read(text: str, keep: KeepRule) -> None:
    assert KeepRule.parse(text) == keep


@pytest.mark.parametrize(
    "text", ["", "bests", "best:0", "best:x", "above", "above:1", "above:1/0", "gain:1", "random:2"]
)
def test_another_rule_is_refused_with_those_that_exist(text: str) -> None:
    with pytest.raises(BadConfig) as caught:
        KeepRule.parse(text)
    assert str(caught.value) == (f"--keep {text}: take best, best:N (N ≥ 1), above:X (0 ≤ X < 1), gain or random")


def test_a_pair_is_the_prompt_and_the_completion_verbatim_with_its_means() -> None:
    task = a_task()
    lines = [a_line(task, [True, seed == 0], seed=seed, completion=" a\n\n", before=[True, False]) for seed in (0, 1)]
    (example,) = stage.run(lines).examples
    edit = an_edit(task, 0, " a\n\n")
    assert (example.prompt, example.completion) == (edit.prompt, " a\n\n")
    assert (example.task_id, example.edit_id, example.value, example.baseline) == (task.id, edit.id, 0.75, 0.5)


def test_an_unscored_seed_leaves_its_self_edit_out_neither_rewarded_nor_punished() -> None:
    task = a_task()
    lines = [
        a_line(task, [True, True], sample=0, seed=0),
        a_line(task, [True, None], sample=0, seed=1),
        a_line(task, [False, False], sample=1, seed=0),
    ]
    filtered = stage.run(lines)
    assert [example.value for example in filtered.examples] == [0.0]
    assert (filtered.summary.edits, filtered.summary.unscored, filtered.summary.kept) == (2, 1, 1)


def test_a_context_without_any_scored_edit_is_counted_and_keeps_nothing() -> None:
    filtered = stage.run([a_line(a_task(), [None, None]), *context("Bo", [[1]], 2)])
    assert (filtered.summary.contexts, len(filtered.examples)) == (2, 1)


def test_a_best_edit_that_does_not_beat_the_unadapted_model_is_counted() -> None:
    lines = context("Ada", [[1], [2]], 4, before=2) + context("Bo", [[3]], 4, before=2)
    assert stage.run(lines).summary.below_baseline == 1


def test_lines_that_cannot_be_ranked_or_come_twice_are_refused() -> None:
    line = a_line(a_task(), [True, True])
    assert line.edit is not None and line.adapter is not None
    other = a_line(a_task(), [True, True], seed=1).grow(edit=line.edit.model_copy(update={"completion": "Another."}))
    for lines, words in (
        ([line, other], f"two different self-edits of task {line.task.id} have the id {line.edit.id}; give each its"),
        ([line.grow(edit=None)], f"task {line.task.id} has no edit (run `seal generate` first)"),
        ([line.grow(score=None)], f"task {line.task.id} has no score (run `seal eval` first)"),
        (
            [line, line],
            f"self-edit {line.edit.id}, adapter {line.adapter.id}: scored twice; each line must be another",
        ),
        ([line.grow(adapter=None)] * 2, f"self-edit {line.edit.id}, adapter none: scored twice; each line must be"),
    ):
        with pytest.raises(BadInput) as caught:
            stage.run(lines)
        assert str(caught.value).startswith(words)


def test_the_reward_is_reliable_when_seeds_agree_and_not_when_they_are_noise() -> None:
    agreeing = context("Ada", [[0, 0, 0], [2, 2, 2], [4, 4, 4]], 4)
    noise = context("Ada", [[0, 2, 4], [4, 0, 2], [2, 4, 0]], 4)
    assert stage.run(agreeing).summary.reliability == 1.0
    assert stage.run(noise).summary.reliability is None
    assert stage.run(noise + context("Bo", [[1, 1, 1], [1, 1, 2]], 4)).summary.reliability == 0.0


def test_the_reliability_of_rewards_with_a_known_share_of_noise_is_found() -> None:
    draw = random.Random(0)
    lines = []
    for number in range(150):
        truths = [draw.choice([0.3, 0.7]) for _ in range(5)]
        rights = [[sum(draw.random() < truth for _ in range(10)) for _ in range(3)] for truth in truths]
        lines += context(f"T{number}", rights, 10)
    # between 0.04, noise 0.021 for a seed: 0.04 / (0.04 + 0.021 / 3) = 0.85
    assert stage.run(lines).summary.reliability == pytest.approx(0.85, abs=0.03)


def test_one_seed_says_nothing_about_reliability() -> None:
    assert stage.run(context("Ada", [[1], [2]], 4)).summary.reliability is None
    assert stage.run([]).summary.reliability is None


@pytest.mark.paper_data
@pytest.mark.parametrize(("name", "agreeing"), [("rank_iter0.json", 48), ("rank_iter0_prompt-self-qa.json", 50)])
def test_best_of_five_is_what_the_paper_trained_on_but_for_exact_ties(name: str, agreeing: int) -> None:
    lines = list(tasks.run(str(paper_file(name))))
    examples = stage.run(lines).examples
    official = read_pairs(paper_file(PAIRS[name]))
    assert [example.prompt for example in examples] == [pair["prompt"] for pair in official]
    other = [n for n, pair in enumerate(official) if examples[n].completion != pair["completion"]]
    assert len(official) - len(other) >= agreeing
    values, texts = exact(lines), {line.edit.id: line.edit.completion for line in lines if line.edit}
    for n in other:
        edits = values[examples[n].task_id]
        (theirs,) = (edit for edit in edits if texts[edit] == official[n]["completion"])
        assert edits[theirs] == edits[examples[n].edit_id] == max(edits.values())


def test_kept_self_edits_come_back_as_the_edit_lines_that_they_were() -> None:
    lines = context("Ada", [[0, 1], [2, 2], [1, 1]], 2) + context("Bo", [[1, 0], [0, 0]], 2)
    bare = [line.grow(adapter=None, score=None) for line in lines]
    assert list(stage.run(lines, form="edits").lines()) == [bare[2], bare[6]]
    top_two = stage.run(lines, form="edits", keep=KeepRule("best", count=2))
    assert (list(top_two.lines()), top_two.summary.kept) == ([bare[2], bare[4], bare[6], bare[8]], 4)
    assert top_two.examples == ()


def test_an_edit_line_keeps_its_thoughts_and_needs_no_prompt() -> None:
    (line,) = context("Ada", [[1]], 2)
    assert line.edit is not None
    thought = line.edit.model_copy(update={"completion": "<think>Hm.</think>Ada is from Velm.", "prompt": ""})
    (kept,) = stage.run([line.grow(edit=thought)], form="edits").lines()
    assert isinstance(kept, Record)
    assert kept.edit == thought
    with pytest.raises(BadLine, match="has no prompt to learn from"):
        stage.run([line.grow(edit=thought)])
    mute = thought.model_copy(update={"completion": "<think>Hm.</think> "})
    assert list(stage.run([line.grow(edit=mute)], form="edits").lines()) == []


def read_pairs(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.paper_data
def test_the_papers_rewards_tie_in_22_contexts_and_are_a_third_signal() -> None:
    summary = stage.run(tasks.run(str(paper_file("rank_iter0.json")))).summary
    assert (summary.contexts, summary.edits, summary.kept, summary.unscored) == (50, 250, 50, 0)
    assert (summary.ties, summary.below_baseline) == (22, 10)
    assert summary.reliability == pytest.approx(0.32, abs=0.01)


def test_a_self_edit_without_a_prompt_is_no_training_pair() -> None:
    lines = context("A", [[1]], of=2)
    bare = [
        line.grow(edit=line.edit.model_copy(update={"prompt": "", "template": "none"})) for line in lines if line.edit
    ]
    with pytest.raises(BadInput, match=r"has no prompt to learn from \(none\)"):
        stage.run(bare)


# ---- unscored answers, and ids that are not one's own


def unscored(right: list[bool | None], before: list[bool | None], **named: object) -> Record:
    return a_line(numbered("Ada", len(right)), right, before=before, **named)  # type: ignore[arg-type]


def test_self_edits_of_different_tasks_with_one_id_are_not_one() -> None:
    lines = [a_line(numbered(title, 2), [title == "Ada", True]) for title in ("Ada", "Bo")]
    twins = [line.grow(edit=line.edit.model_copy(update={"id": "e0"})) for line in lines if line.edit]
    kept = stage.run(twins).examples
    assert [(example.edit_id, example.value) for example in kept] == [("e0", 1.0), ("e0", 0.5)]


def test_a_pessimistic_baseline_is_as_high_as_it_could_be() -> None:
    gains = unscored([True, True, None], [False, None, None])  # 2/3 at least, against 2/3 at most
    assert stage.run([gains], keep=KeepRule.parse("gain"), unscored="pessimistic").examples == ()
    surely = unscored([True, True, None], [False, None, False])  # against 1/3 at most
    (kept,) = stage.run([surely], keep=KeepRule.parse("gain"), unscored="pessimistic").examples
    assert (kept.value, kept.baseline) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_a_baseline_that_was_never_measured_is_not_taken_as_the_highest() -> None:
    line = unscored([True, None], [None, None])
    assert line.score is not None
    answers = tuple(answer.model_copy(update={"baseline_prediction": None}) for answer in line.score.answers)
    bare = line.grow(score=line.score.model_copy(update={"answers": answers}))
    (kept,) = stage.run([bare], unscored="pessimistic").examples
    assert (kept.value, kept.baseline) == (0.5, None)


def test_a_self_edit_without_any_verdict_is_never_kept() -> None:
    line = unscored([None, None], [True, True])
    for rule in ("best", "random", "best:3"):
        filtered = stage.run([line], keep=KeepRule.parse(rule), unscored="pessimistic")
        assert (filtered.examples, filtered.summary.unscored) == ((), 1)


def test_a_seed_without_any_verdict_counts_as_nothing_where_another_has_some() -> None:
    lines = [unscored([True, True], [False, False], seed=0), unscored([None, None], [False, False], seed=1)]
    (kept,) = stage.run(lines, unscored="pessimistic").examples
    assert kept.value == 0.5


def test_no_line_is_held_while_the_others_are_read() -> None:
    alive: list[weakref.ref[Record]] = []
    most = 0

    def lines() -> Iterator[Record]:
        nonlocal most
        for n in range(60):
            line = a_line(numbered(f"T{n // 6}", 2), [True, n % 2 == 0], sample=n % 6)
            alive.append(weakref.ref(line))
            yield line
            del line
            most = max(most, sum(known() is not None for known in alive))

    assert len(stage.run(lines()).examples) == 10
    assert most <= 3


def test_a_value_that_contradicts_its_line_is_no_reward() -> None:
    line = a_line(a_task(), [True, True])
    assert line.edit and line.adapter
    never = line.grow(edit=line.edit.model_copy(update={"finish": "failed", "error": "the server is gone"}))
    diverged = line.grow(adapter=line.adapter.model_copy(update={"fault": "training", "error": "the loss is nan"}))
    unreadable = line.grow(edit=line.edit.model_copy(update={"error": "no JSON object"}))
    for bad, words in (
        (never, "was never written"),
        (diverged, "its training failed (the loss is nan), but it has the value 1"),
        (unreadable, "it cannot be used (no JSON object), but has the value 1"),
    ):
        with pytest.raises(BadInput, match=re.escape(words)):
            stage.run([bad])
    worthless = a_line(a_task("Bo"), [False, False])
    assert worthless.edit
    stage.run([worthless.grow(edit=worthless.edit.model_copy(update={"error": "no JSON object"}))])


# ---- thoughts


def test_what_is_learned_is_what_was_rewarded_without_the_thought() -> None:
    task, said = numbered("Ada", 2), "A long self-edit."
    lines = [
        a_line(task, [True, True], sample=0, completion=f"<think>\nNo, {said}\n</think>\n\n{said}"),
        a_line(task, [True, True], sample=1, completion="so.</think>Short.\n"),
        a_line(task, [True, True], sample=2, completion="Without one."),
    ]
    found = {
        example.edit_id: example.completion for example in stage.run(lines, keep=KeepRule.parse("best:3")).examples
    }
    assert list(found.values()) == [said, "Short.\n", "Without one."]
    (shortest,) = stage.run(lines, ties="shortest").examples
    assert shortest.completion == "Short.\n"


@pytest.mark.parametrize("value", [[True, False], [True, None]])
def test_a_self_edit_that_ends_within_its_thought_has_no_reward(value: list[bool | None]) -> None:
    with pytest.raises(BadInput, match=r"was never written \(the model ended within its thought\), but has "):
        stage.run([a_line(numbered("Ada", 2), value, completion="<think>\nso")], unscored="pessimistic")
