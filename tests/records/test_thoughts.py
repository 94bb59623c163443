"""What is a thought, where it ends, and that nothing else is taken for one."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.records.thoughts import (
    HARMONY,
    THOUGHT_MARKS,
    WRAPPERS,
    explain_no_answer,
    extract_answer,
    find_opened_thought,
    get_learnable_text,
    join_reasoning,
    remove_thoughts,
)

ANSWERS = ["Paris", "\n\nParis is in France.\n", " ", "", "[[1, 2]]#", "the <b>bold</b> & the <brave>"]
CLOSED = [f"{mark}\nLondon? No.\n{close}" for mark, close in THOUGHT_MARKS.items()]
HARMONY_ANALYSIS = "<|channel|>analysis<|message|>London? No.<|end|><|start|>assistant"
LONE = [close for close in THOUGHT_MARKS.values() if not close.startswith(("Here", "<unused"))]


@pytest.mark.parametrize("thought", CLOSED)
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_text_behind_a_thought_is_verbatim(thought: str, answer: str) -> None:
    assert remove_thoughts(thought + answer) == answer
    assert remove_thoughts(f" \n{thought}{answer}") == answer
    assert remove_thoughts(thought * 3 + answer) == answer


@pytest.mark.parametrize("close", LONE)
@pytest.mark.parametrize("thought", ["So, London? No, Paris.\n", "So, London? No, Paris.", "\n", ""])
def test_a_thought_that_the_template_has_opened_ends_at_its_mark(close: str, thought: str) -> None:
    for answer in ("\n\nParis", "Paris", "[[1, 2]]#"):
        assert remove_thoughts(thought + close + answer) == answer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HARMONY_ANALYSIS}<|channel|>final<|message|>Paris", "Paris"),
        (f"<|start|>assistant{HARMONY_ANALYSIS}<|channel|>final<|message|>Paris<|return|>", "Paris"),
        (f"{HARMONY_ANALYSIS}<|channel|>final <|constrain|>json<|message|>{{}}<|end|>", "{}"),
        (f"{HARMONY_ANALYSIS}{HARMONY_ANALYSIS}<|channel|>final<|message|>\nParis", "\nParis"),
        ("<|channel|>final<|message|>Paris", "Paris"),
        ("analysisThe user asks. London? No.assistantfinalParis", "Paris"),  # where the special tokens were dropped
        ("<think>\nx\n</think>\n<answer>\nParis\n</answer>", "\nParis\n"),
        ("<think>\nx\n</think>\n\n<response>\nParis", "\nParis"),
        ("<|begin_of_thought|>x<|end_of_thought|>\n\n<|begin_of_solution|>\nP\n<|end_of_solution|>", "\nP\n"),
        ("<|START_THINKING|>x<|END_THINKING|><|START_RESPONSE|>P<|END_RESPONSE|>", "P"),
        ("<think></think>", ""),
        ("<think>x</think> He thinks.</think>Paris", "Paris"),
        ("Let me see. </think> Paris", " Paris"),
        ("<think>x</think>Paris</think>\n", "Paris"),
    ],
)
def test_other_ways_of_thinking_are_known(text: str, said: str) -> None:
    assert remove_thoughts(text) == said


@pytest.mark.parametrize(
    "text",
    [
        *(f"{mark}\nLondon?" for mark in THOUGHT_MARKS),
        *(f"{mark}London? <b>No</b>" for mark in THOUGHT_MARKS),
        HARMONY_ANALYSIS,
        "<|channel|>analysis<|message|>Lon",
        "<|channel|>commentary to=search<|message|>{}<|call|>",
        "<|channel|>",
        "analysisThe user asks. Lon",
        "<think>x</think><think>Lon",
        "<think>\n",
    ],
)
def test_a_text_that_ends_within_a_thought_says_nothing(text: str) -> None:
    assert remove_thoughts(text) is None
    assert get_learnable_text(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "The <think> tag opens a thought.",
        "The </think> tag closes it.",
        "The closing tag is </think>",
        "The closing tag is `</think>`.",
        'Write "</think>" or (</think>), or nothing.',
        "Models write <think>\nso\n</think>\n\nand then they answer.",
        "1. <think> and </think> are tags.\n2. [THINK] and [/THINK] are tokens.",
        "Paris. <think>Was that right?</think> It was.",
        "<think>",
        "</think>\n",
        "</think>.",
        "</think> is the closing tag",
        "<think>, </think> and the rest",
        "<answer>Paris</answer>",
        "analysis of the text",
        "Analysis: Paris",
        "<thin>Paris</thin>",
        "```html\n<think>\n</think>\n```",
    ],
)
def test_a_text_about_thoughts_is_left_as_it_is(text: str) -> None:
    assert remove_thoughts(text) == text
    assert get_learnable_text(text) == text


MARKS = [
    *THOUGHT_MARKS,
    *THOUGHT_MARKS.values(),
    *WRAPPERS,
    *WRAPPERS.values(),
    *HARMONY,
    "analysis",
    "assistantfinal",
    "final",
]
pieces = st.lists(st.sampled_from([*MARKS, " ", "\n", ".", "a", "B", "Paris", "\u2028", "<", "/"]), max_size=12)


@given(st.text())
@example("</b>")
@example("a |> b")
def test_a_text_without_marks_is_returned_unchanged(text: str) -> None:
    if not any(mark in text for mark in MARKS):
        assert remove_thoughts(text) == text == get_learnable_text(text)


@given(pieces.map("".join))
def test_cutting_twice_is_cutting_once_and_what_is_left_is_a_part_of_the_text(text: str) -> None:
    said = remove_thoughts(text)
    if said is not None:
        assert said in text
        assert remove_thoughts(said) == said
        assert get_learnable_text(text) in (said, said.lstrip("\n"))


@given(st.text(st.characters(exclude_characters="<[◁|")), st.text(st.characters(exclude_characters="<[◁|/Ha")))
def test_any_thought_is_cut_from_any_answer(thought: str, answer: str) -> None:
    assert remove_thoughts(join_reasoning(thought, answer)) == f"\n\n{answer}"
    assert remove_thoughts(join_reasoning(thought, None)) is None
    assert get_learnable_text(join_reasoning(thought, answer)) == answer.lstrip("\n")


def test_a_prompt_says_that_it_has_opened_a_thought() -> None:
    assert find_opened_thought("<|Assistant|><think>\n") == "<think>\n"
    assert find_opened_thought("<|Assistant|><thought>") == "<thought>"
    assert find_opened_thought("<think>\n\n</think>\n\n") == ""
    assert find_opened_thought("") == ""


def test_why_there_is_no_answer_says_what_to_do() -> None:
    assert (
        explain_no_answer("length")
        == explain_no_answer("unknown")
        == "the model thought until --max-tokens; take more of them"
    )
    assert explain_no_answer("stop") == "the model ended within its thought"


@pytest.mark.parametrize("thought", CLOSED)
def test_what_is_cut_off_right_behind_its_thought_says_nothing_and_what_ends_there_is_empty(thought: str) -> None:
    assert extract_answer(f"{thought}\n\n", "length") is None
    assert (extract_answer(f"{thought}\n\n", "stop"), extract_answer(thought, "unknown")) == ("\n\n", "")
    assert extract_answer(f"{thought}Par", "length") == "Par"
    assert extract_answer("\n\n", "length") == "\n\n"
    assert extract_answer("<think>\n", "stop") is None


@pytest.mark.parametrize("piece", [*MARKS, "<think>a</think>", "a.</think>", "the </think> tag ", " ", "\n<", "a/"])
def test_the_longest_text_takes_no_more_time_than_its_length(piece: str) -> None:
    text, started = piece * (1_000_000 // len(piece)), time.process_time()
    remove_thoughts(text)
    assert time.process_time() - started < 2  # a tenth of it, mostly; three or more were it quadratic
