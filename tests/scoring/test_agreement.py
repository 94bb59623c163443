"""Two judges on the same answers: counts, κ, and whose choice of self-edit changes."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import judge, tasks
from stages.errors import BadInput
from stages.judges.exact import ExactJudge
from stages.records.record import EditCall, Record
from stages.scoring.agreement import Agreement, compare_judges
from tests.conftest import paper_file
from tests.invented import a_line, numbered

Rights = list[bool | None]
A_CALL = EditCall(about=(), prompt="What?", completion="x", finish="stop", tokens=1, seed=0, error=None)


def context(title: str, rights: list[Rights], before: Rights | None = None) -> list[Record]:
    """One self-edit per list of verdicts."""
    task = numbered(title, len(rights[0]))
    return [
        a_line(task, right, sample=sample, completion="x" * (sample + 1), before=before)
        for sample, right in enumerate(rights)
    ]


def test_verdicts_are_counted_by_both_judges() -> None:
    first = context("Ada", [[True, True, False, None]], [False, False, False, None])
    second = context("Ada", [[True, False, True, True]], [False, False, True, None])
    found = compare_judges(first, second)
    assert (found.both_right, found.both_wrong, found.only_first, found.only_second) == (1, 2, 1, 2)
    assert (found.unscored_first, found.unscored_second) == (2, 1)
    assert (found.answers, found.overall) == (6, 0.5)
    assert (found.on_right, found.on_wrong) == (0.5, 0.5)


def test_the_plain_models_answers_count_once_per_task() -> None:
    lines = context("Ada", [[True], [True], [False]], before=[True])
    assert compare_judges(lines, lines).both_right == 3
    assert compare_judges(lines, lines).answers == 4


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
@settings(deadline=None)
def test_kappa_is_what_the_table_of_both_judges_says(pairs: list[tuple[bool, bool]]) -> None:
    first = context("Ada", [[old for old, _ in pairs]], [None] * len(pairs))
    second = context("Ada", [[new for _, new in pairs]], [None] * len(pairs))
    found, n = compare_judges(first, second), len(pairs)
    observed = Fraction(sum(old == new for old, new in pairs), n)
    chance = sum(
        Fraction(sum(old is value for old, _ in pairs), n) * Fraction(sum(new is value for _, new in pairs), n)
        for value in (True, False)
    )
    if chance == 1:
        assert found.kappa is None
    else:
        assert found.kappa == pytest.approx(float((observed - chance) / (1 - chance)))


def test_kappa_of_no_answers_is_unknown() -> None:
    found = compare_judges(context("Ada", [[None]], [None]), context("Ada", [[None]], [None]))
    assert (found.kappa, found.overall, found.on_right) == (None, None, None)


def test_a_choice_changes_where_another_self_edit_is_the_best() -> None:
    first = context("Ada", [[True, True], [True, False]]) + context("Bo", [[False, False], [True, False]])
    second = context("Ada", [[True, False], [True, True]]) + context("Bo", [[False, False], [True, True]])
    found = compare_judges(first, second)
    assert (found.contexts, found.changed) == (2, 1)
    assert found.loss == Fraction(1, 4)  # (1 - 1/2 in Ada, 0 in Bo) / 2


def test_of_equals_the_first_is_chosen_by_both() -> None:
    lines = context("Ada", [[True], [True], [True]])
    found = compare_judges(lines, list(reversed(lines)))
    assert (found.contexts, found.changed, found.loss) == (1, 0, 0)


def test_a_context_without_two_scored_self_edits_has_no_choice() -> None:
    first = context("Ada", [[True], [None]]) + context("Bo", [[True]])
    found = compare_judges(first, first)
    assert (found.contexts, found.changed, found.loss) == (0, 0, None)


def test_other_lines_cannot_be_compared() -> None:
    with pytest.raises(BadInput, match="have not graded the same lines"):
        compare_judges(context("Ada", [[True]]), context("Bo", [[True]]))


@pytest.mark.paper_data
def test_exact_match_is_no_stand_in_for_the_papers_judge() -> None:
    lines = list(tasks.run(str(paper_file("rank_iter0.json"))))
    found: Agreement = compare_judges(lines, list(judge.run(lines, ExactJudge())))
    assert (found.answers, found.contexts) == (3600, 50)
    assert found.overall is not None and found.overall < 0.65
    assert found.on_wrong is not None and found.on_wrong > 0.99
    assert found.loss is not None and found.loss > Fraction(1, 10)


def test_a_self_edit_that_either_judge_left_unscored_is_no_choice() -> None:
    whole = context("Ada", [[True], [False], [True]])
    torn = context("Ada", [[None], [False], [True]])
    for first, second in ((whole, torn), (torn, whole)):
        found = compare_judges(first, second)
        assert (found.contexts, found.changed, found.loss) == (1, 0, 0)


def test_the_plain_models_verdicts_are_those_of_the_first_line() -> None:
    task = numbered("Ada", 1)
    lines = [
        a_line(task, [True], sample=sample, completion="x" * (sample + 1), before=[before])
        for sample, before in enumerate([True, None])
    ]
    assert (compare_judges(lines, lines).both_right, compare_judges(lines, lines).unscored_first) == (3, 0)


def test_self_edits_of_different_tasks_with_one_id_are_not_one() -> None:
    lines = context("Ada", [[True], [False]]) + context("Bo", [[False], [True]])
    twins = [line.grow(edit=line.edit.model_copy(update={"id": f"e{line.edit.sample}"})) for line in lines if line.edit]
    assert (compare_judges(twins, twins).contexts, compare_judges(twins, twins).changed) == (2, 0)


def test_self_edits_by_hand_without_adapters_are_compared_each() -> None:
    first, second = (
        [line.grow(adapter=None) for line in context("Ada", each)] for each in ([[True], [False]], [[True], [True]])
    )
    found = compare_judges(first, second)
    assert (found.answers, found.both_right, found.only_second, found.contexts) == (3, 1, 1, 1)  # and the plain model's


@pytest.mark.parametrize(
    "edit", [{"prompt": ""}, {"prompt": "", "calls": (A_CALL,)}], ids=["the passage alone", "of several calls"]
)
def test_self_edits_from_which_no_prompt_can_be_learned_are_judged_and_compared(edit: dict[str, Any]) -> None:
    lines = [
        line.grow(edit=line.edit.model_copy(update=edit)) for line in context("Ada", [[True], [False]]) if line.edit
    ]
    assert compare_judges(lines, lines).contexts == 1


def test_two_self_edits_with_one_id_are_not_taken_for_seeds_of_one() -> None:
    lines = context("Ada", [[True], [False]])
    twins = [line.grow(edit=line.edit.model_copy(update={"id": "one"})) for line in lines if line.edit]
    with pytest.raises(BadInput, match="two different self-edits"):
        compare_judges(twins, twins)
