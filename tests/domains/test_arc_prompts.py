"""The messages of the few-shot domain, to the letter."""

import json

import pytest

from stages.domains.arc.prompts import (
    EDIT_CHOICES,
    EDIT_SYSTEM,
    answer_text,
    make_edit_prompt,
    make_example,
    make_task_prompt,
)
from stages.domains.arc.training_set import Pair, Puzzle
from tests.domains.test_arc_transforms import arc_file

FIRST = Pair(((1, 2), (3, 4)), ((5,),))
SECOND = Pair(((6, 7),), ((8,), (9,)))
TASK_SYSTEM = (
    "Figure out the underlying transformation in the following examples and apply it to the test case. Here are some "
    "examples from this transformation, your answer must follow the format.\nThe input-output grids are provided as "
    "python arrays:\n"
)


def test_the_demonstrations_of_a_task_are_lines_of_the_system_turn() -> None:
    assert make_task_prompt([FIRST, SECOND], FIRST.input) == [
        {"role": "system", "content": f"{TASK_SYSTEM}[[1 2]\n [3 4]] -> [[5]]#\n[[6 7]] -> [[8]\n [9]]#\n"},
        {"role": "user", "content": "[[1 2]\n [3 4]] -> "},
    ]


def test_a_task_without_demonstrations_has_the_instruction_alone() -> None:
    (system, _) = make_task_prompt([], FIRST.input)
    assert system["content"] == TASK_SYSTEM


def test_a_training_example_learns_the_output_and_its_end_mark() -> None:
    made = make_example(Puzzle((FIRST,), SECOND), whole=False)
    assert made.prompt == make_task_prompt([FIRST], SECOND.input)
    assert made.completion == answer_text(SECOND.output) == "[[8]\n [9]]#"


def test_the_self_edit_is_asked_for_below_the_demonstrations() -> None:
    system, user = make_edit_prompt([FIRST, SECOND])
    assert system == {"role": "system", "content": EDIT_SYSTEM}
    assert user["role"] == "user"
    assert user["content"] == (
        "Input:\n1 2\n3 4\n\nOutput:\n5\n\nInput:\n6 7\n\nOutput:\n8\n9\n\n------\n\n" + EDIT_CHOICES
    )


@pytest.mark.paper_data
def test_the_texts_are_the_papers_to_the_letter() -> None:
    paper = json.loads(arc_file("prompts.json").read_text(encoding="utf-8"))
    assert paper["self_edit"]["system"] == EDIT_SYSTEM
    assert paper["self_edit"]["user_suffix"] == EDIT_CHOICES
    system, user = make_task_prompt([FIRST], SECOND.input)
    shown = f"[[1 2]\n [3 4]] -> {answer_text(FIRST.output)}\n"
    place = "{demonstrations, each: input grid + ' -> ' + output grid + '#\\n'}"
    assert system["content"] == paper["task"]["system"].replace(place, shown)
    assert user["content"] == paper["task"]["user"].replace("{test input grid}", "[[6 7]]")
    assert answer_text(SECOND.output) == paper["task"]["assistant"].replace("{test output grid}", "[[8]\n [9]]")
