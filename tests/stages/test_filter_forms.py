"""score → line of the other outer losses: the best against the worst, and every self-edit with its advantage."""

import json
from collections.abc import Sequence
from statistics import mean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import filter as stage
from stages.errors import BadConfig
from stages.filter import KeepRule
from stages.interfaces import Example
from stages.records.jsonl import to_json
from stages.records.record import Message, Record
from stages.records.schema import PreferencePair, SftExample
from stages.settings import Ties
from stages.sources.training_pairs import read_pair
from tests.invented import a_line, numbered

OF = 6


def context(title: str, rights: Sequence[int | None], *, prompt: str | None = None, first: int = 0) -> list[Record]:
    """Score lines of one context, one seed each: the right answers of each self-edit; None: an answer is unscored."""
    task, lines = numbered(title, OF), []
    for sample, right in enumerate(rights, first):
        verdicts = [None] * OF if right is None else [place < right for place in range(OF)]
        line = a_line(task, verdicts, sample=sample, completion=f"Line {sample}.")
        assert line.edit is not None
        lines.append(line if prompt is None else line.grow(edit=line.edit.model_copy(update={"prompt": prompt})))
    return lines


def pairs(lines: list[Record], **rules: object) -> list[tuple[str, str]]:
    """What is chosen and what is rejected, of each pair."""
    found = stage.run(lines, form="pairs", **rules).lines()  # type: ignore[arg-type]
    return [(str(pair.chosen), str(pair.rejected)) for pair in found if isinstance(pair, PreferencePair)]


def weights(lines: list[Record]) -> dict[str, float | None]:
    return {str(each.completion): each.advantage for each in stage.run(lines, form="weights").examples}


# ---- pairs


def test_the_best_self_edit_of_a_context_stands_against_its_worst() -> None:
    assert pairs(context("Ada", [2, 5, 0, 3]) + context("Bo", [1, 4])) == [
        ("Line 1.", "Line 2."),
        ("Line 1.", "Line 0."),
    ]


def test_a_pair_has_the_prompt_the_ids_and_the_values_of_both() -> None:
    lines = context("Ada", [1, 3])
    (pair,) = stage.run(lines, form="pairs").lines()
    worst, best = (line.edit for line in lines)
    assert worst is not None and best is not None
    told = {"prompt": "Read about Ada.", "chosen": "Line 1.", "rejected": "Line 0.", "task_id": lines[0].task.id}
    assert json.loads(to_json(pair)) == {
        **told,
        "chosen_id": best.id,
        "rejected_id": worst.id,
        "values": [0.5, pytest.approx(1 / 6)],
    }


def test_a_context_whose_self_edits_are_worth_the_same_gives_no_line_and_is_counted() -> None:
    lines = context("Ada", [2, 2, 2]) + context("Bo", [1, 4]) + context("Cy", [3])
    for form, count in (("pairs", 1), ("weights", 2)):
        filtered = stage.run(lines, form=form)  # type: ignore[arg-type]
        assert (filtered.level, filtered.summary.kept, len(list(filtered.lines()))) == (2, count, count)


@pytest.mark.parametrize(("ties", "pair"), [("first", (1, 0)), ("shortest", (1, 0))])
def test_equal_ones_are_decided_between_at_both_ends(ties: Ties, pair: tuple[int, int]) -> None:
    lines = context("Ada", [1, 5, 5, 1])
    assert pairs(lines, ties=ties) == [(f"Line {pair[0]}.", f"Line {pair[1]}.")]
    drawn = {pairs(lines, ties="random", seed=seed)[0] for seed in range(40)}
    assert drawn == {(f"Line {best}.", f"Line {worst}.") for best in (1, 2) for worst in (0, 3)}


def test_what_has_no_verdict_is_neither_chosen_nor_rejected_nor_weighed() -> None:
    lines = context("Ada", [None, 5, 2, None])
    assert pairs(lines) == [("Line 1.", "Line 2.")]
    assert weights(lines).keys() == {"Line 1.", "Line 2."}


def test_self_edits_are_compared_with_those_of_the_same_prompt_alone() -> None:
    lines = context("Ada", [5, 3], prompt="List.") + context("Ada", [2, 1], prompt="Ask.", first=2)
    found = [line for line in stage.run(lines, form="pairs").lines() if isinstance(line, PreferencePair)]
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in found] == [
        ("List.", "Line 0.", "Line 1."),
        ("Ask.", "Line 2.", "Line 3."),
    ]
    assert weights(lines)["Line 2."] == pytest.approx(2**-0.5)


def test_two_equal_texts_are_no_pair_however_luck_has_rewarded_them() -> None:
    lines = [
        line.grow(edit=line.edit.model_copy(update={"completion": "A line."}))
        for line in context("Ada", [1, 4])
        if line.edit
    ]
    assert pairs(lines) == []


def test_a_pair_of_chats_is_of_messages_and_is_read_by_sft() -> None:
    asked = (Message(role="user", content="Read."),)
    lines = [
        line.grow(edit=line.edit.model_copy(update={"prompt": asked, "completion": f"<think>x</think>{sample}"}))
        for sample, line in enumerate(context("Ada", [1, 4]))
        if line.edit
    ]
    (pair,) = stage.run(lines, form="pairs").lines()
    assert isinstance(pair, PreferencePair)
    assert (pair.chosen, pair.rejected) == tuple((Message(role="assistant", content=text),) for text in "10")
    (example,) = read_pair(json.loads(to_json(pair)), "dpo").examples
    assert example == Example([{"role": "user", "content": "Read."}], "1", rejected="0")


@given(st.lists(st.lists(st.integers(0, OF), min_size=1, max_size=5), max_size=4))
@settings(deadline=None)
def test_pairs_and_advantages_are_those_of_the_values(rights: list[list[int]]) -> None:
    lines = [line for number, group in enumerate(rights) for line in context(f"T{number}", group)]
    uneven = [group for group in rights if len(set(group)) > 1]
    found = [line for line in stage.run(lines, form="pairs").lines() if isinstance(line, PreferencePair)]
    assert [pair.values for pair in found] == [(max(group) / OF, min(group) / OF) for group in uneven]
    weighed = stage.run(lines, form="weights").examples
    expected = [(right - mean(group)) / stdev(group) for group in uneven for right in group]
    assert [each.advantage for each in weighed] == pytest.approx(expected)


# ---- advantages


def test_an_advantage_is_the_distance_from_the_mean_in_standard_deviations() -> None:
    assert weights(context("Ada", [1, 3, 5])) == {"Line 0.": -1.0, "Line 1.": 0.0, "Line 2.": 1.0}


@given(st.lists(st.integers(0, OF), min_size=2, max_size=9))
@settings(max_examples=30)
def test_no_advantage_is_larger_than_its_context_allows_however_near_the_values_are(rights: list[int]) -> None:
    for advantage in weights(context("Ada", rights)).values():
        assert advantage is not None
        assert abs(advantage) <= (len(rights) - 1) / len(rights) ** 0.5 + 1e-12


def test_one_self_edit_that_stands_out_has_the_largest_advantage() -> None:
    assert weights(context("Ada", [5, 5, 5, 6]))["Line 3."] == pytest.approx(1.5)
    assert weights(context("Ada", [0, 0, 0, 6]))["Line 3."] == pytest.approx(1.5)


def test_a_line_without_advantage_is_written_as_it_was() -> None:
    (kept,) = stage.run(context("Ada", [2])).lines()
    keys = ["prompt", "completion", "task_id", "edit_id", "value", "baseline"]
    assert list(json.loads(to_json(kept))) == keys
    assert isinstance(kept, SftExample)
    weighed = stage.run(context("Ada", [2, 4]), form="weights").examples[0]
    assert list(json.loads(to_json(weighed))) == [*keys, "advantage"]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"form": "pairs", "keep": KeepRule("random")}, "--keep: --pairs takes the self-edits of each context by a"),
        ({"form": "weights", "keep": KeepRule("best", count=2)}, "--keep: --weights takes the self-edits of each"),
        ({"form": "pairs", "unscored": "pessimistic"}, "--unscored pessimistic: with --pairs it would punish what has"),
        ({"form": "weights", "ties": "shortest"}, "--ties shortest: --weights takes every self-edit"),
    ],
)
def test_rules_that_say_nothing_of_such_lines_are_refused(rules: dict[str, object], words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        stage.run(context("Ada", [1, 2]), **rules)  # type: ignore[arg-type]
    assert str(caught.value).startswith(words)
