"""The ways in which a test is put, and the count of the votes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stages.domains.arc.grid_text import numpy_text
from stages.domains.arc.transforms import VARIANTS
from stages.domains.arc.voting import PromptVariant, count_votes, prompt_variants, read_vote, variant_prompt
from stages.interfaces import Completion
from stages.records.arc import Grid, Vote
from tests.invented_grids import an_arc_task

A, B, C = (((colour,),) for colour in (1, 2, 3))


def numbered(count: int) -> list[tuple[list[list[int]], list[list[int]]]]:
    return [([[n]], [[n, n]]) for n in range(count)]


def test_every_way_leaves_one_demonstration_out() -> None:
    found = prompt_variants(an_arc_task(shown=numbered(4)), in_context=False)
    straight = [way for way in found if way.variant == "identity"]
    assert all(len(way.shown) == 3 == len(set(way.shown)) for way in found)
    left_out = Counter(frozenset(range(4)) - set(way.shown) for way in straight)
    assert len(left_out) == 4
    assert all(1 <= count <= 3 for count in left_out.values())
    assert len(set(found)) == len(found)


def test_each_turned_variant_is_asked_once_after_one_of_the_choices() -> None:
    found = prompt_variants(an_arc_task(shown=numbered(4)), in_context=False)
    straight = [way.shown for way in found if way.variant == "identity"]
    turned = [way for way in found if way.variant != "identity"]
    assert Counter(way.variant for way in turned) == {
        "transpose": 1,
        "flip_0": 1,
        "flip_1": 1,
        "rotate_90": 1,
        "rotate_180": 1,
    }
    assert all(way.shown in straight for way in turned)


def test_few_demonstrations_have_few_orders() -> None:
    assert [way.shown for way in prompt_variants(an_arc_task(shown=numbered(2)), in_context=False)[:2]] == [(1,), (0,)]
    assert len(prompt_variants(an_arc_task(shown=numbered(2)), in_context=False)) == 2 + 5
    assert {way.shown for way in prompt_variants(an_arc_task(shown=numbered(1)), in_context=False)} == {(0,)}


def test_in_context_there_is_one_way_with_everything_as_it_is() -> None:
    assert prompt_variants(an_arc_task(shown=numbered(3)), in_context=True) == [PromptVariant("identity", (0, 1, 2))]


def test_the_ways_depend_on_the_task_alone() -> None:
    task, other = an_arc_task("a", shown=numbered(5)), an_arc_task("b", shown=numbered(5))
    assert prompt_variants(task, in_context=False) == prompt_variants(task, in_context=False)
    assert prompt_variants(task, in_context=False) != prompt_variants(other, in_context=False)


def test_demonstrations_and_test_are_turned_alike() -> None:
    task = an_arc_task(shown=[([[1, 2], [3, 4]], [[5, 6], [7, 8]])])
    turns = variant_prompt(task, ((1, 0), (0, 0)), PromptVariant("flip_0", (0,)))
    assert turns[0]["content"].endswith("[[3 4]\n [1 2]] -> [[7 8]\n [5 6]]#\n")
    assert turns[1]["content"] == "[[0 0]\n [1 0]] -> "


@given(
    st.sampled_from(sorted(VARIANTS)),
    st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=4),
)
def test_a_vote_is_for_the_grid_as_the_task_has_it(variant: str, rows: list[list[int]]) -> None:
    grid: Grid = tuple(map(tuple, rows))
    said = Completion("a", f"{numpy_text(VARIANTS[variant].apply(grid))}#", "stop", 5)
    assert read_vote(PromptVariant(variant, (0,)), said).grid == grid


def test_a_vote_that_is_no_grid_says_why() -> None:
    found = read_vote(PromptVariant("identity", (0, 1)), Completion("a", "[[1 2]\n [3]]", "length", 9))
    assert (found.grid, found.prediction, found.error) == (None, "[[1 2]\n [3]]", "the rows of a grid are equally long")


def votes(*grids: Grid | None) -> list[Vote]:
    return [Vote(variant="identity", shown=(0,), prediction="", grid=grid, error=None) for grid in grids]


def test_the_two_grids_with_most_votes_are_the_attempts() -> None:
    assert count_votes(votes(A, B, C, C, B, C)).attempts == (C, B)


def test_of_equals_the_earlier_is_the_attempt() -> None:
    assert count_votes(votes(B, A, C)).attempts == (B, A)
    assert count_votes(votes(C, A, B, A, B)).attempts == (A, B)


def test_what_is_no_grid_has_no_vote() -> None:
    assert count_votes(votes(None, None, A, None)).attempts == (A,)
    assert count_votes(votes(None, None)).attempts == ()


def test_the_choices_that_are_turned_are_drawn() -> None:
    tasks = (an_arc_task(str(n), shown=numbered(4)) for n in range(20))
    turned = {way.shown for task in tasks for way in prompt_variants(task, in_context=False) if way.variant == "flip_0"}
    assert len(turned) > 5


def test_a_vote_is_what_stands_behind_the_thought() -> None:
    way = PromptVariant("identity", (0,))
    said = read_vote(way, Completion("a", "<think>\n[[9]]# or [[1]]#\n</think>\n\n[[1]]#", "stop", 9))
    assert (said.grid, said.error) == (A, None)
    assert said.prediction == "<think>\n[[9]]# or [[1]]#\n</think>\n\n[[1]]#"
    unsaid = read_vote(way, Completion("a", "<think>\n[[9]]#", "length", 9))
    assert (unsaid.grid, unsaid.prediction) == (None, "<think>\n[[9]]#")
    assert unsaid.error == "the model thought until --max-tokens; take more of them"
