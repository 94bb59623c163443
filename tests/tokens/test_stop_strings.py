"""Where a text ends, what of it may be shown while it is written, and how soon its tokens tell."""

import random

import pytest

from stages.errors import BadConfig
from stages.settings import Sampling, read_escapes
from stages.tokens.stop_strings import find_stop, hold_back
from stages.tokens.tokenization import StopCheck, decode_completion
from tests.conftest import make_tokenizer


def test_the_first_of_several_counts_wherever_it_stands_in_the_list() -> None:
    assert find_stop("Velm\n\nQ:", ("\n\n", "lm", "Q")) == 2
    assert find_stop("Velm", ("\n", "Velmo")) is None
    assert find_stop("\nVelm", ("\n",)) == 0
    assert find_stop("\nVelm\n", ("\n",), 1) == 5


def test_nothing_is_shown_that_may_become_a_stop_string() -> None:
    stops = ("\n\nQ", "###")
    assert [hold_back(text, stops) for text in ("Ve", "Ve\n", "Ve\n\n", "Ve\n\nA", "Ve#", "Ve##")] == [
        *("Ve", "Ve", "Ve", "Ve\n\nA", "Ve", "Ve"),
    ]
    assert hold_back("Velm", ()) == "Velm"


def test_the_escapes_of_the_shell_are_three_and_others_are_refused() -> None:
    assert read_escapes(r"\n\tQ: a\\n") == "\n\tQ: a\\n"
    for text in (r"\d", "a\\", "\\\n"):
        with pytest.raises(BadConfig, match=r"(?s)the stop string '.*': .* is none of \\n, \\t and \\\\; write"):
            read_escapes(text)


def test_what_is_no_stop_string_is_refused() -> None:
    with pytest.raises(BadConfig, match="the stop string '': is empty, and would end every text before it begins"):
        Sampling(stop=("\n", ""))
    with pytest.raises(BadConfig, match="stands alone; give a tuple of them"):
        Sampling(stop="\n")  # type: ignore[arg-type]


def test_settings_name_stop_strings_only_where_there_are_some() -> None:
    assert "stop" not in Sampling().settings
    assert Sampling(stop=("\n",)).settings["stop"] == ["\n"]


def test_tokens_tell_a_stop_string_at_once_also_where_its_characters_are_cut_into_bytes() -> None:
    """Of random texts, token by token: the check agrees with a search in the whole text so far."""
    tokenizer, draw = make_tokenizer(), random.Random(0)
    stops = ("é\n", "の", "the answer", "\n\n", "<|im_start|>", "🙂🙂")
    seen = set[str]()
    for _ in range(12):
        parts = [draw.choice([*stops, *"aé🙂\n", "the ", " answer"]) for _ in range(6)]
        row = [int(each) for part in parts for each in tokenizer(part, split_special_tokens=True)["input_ids"]]
        for stop in stops:
            check = StopCheck(tokenizer, (stop,))
            ends = [stop in tokenizer.decode(row[:count]) for count in range(1, len(row) + 1)]
            first = ends.index(True) if True in ends else len(row)
            found = [check.has_ended(row[:count]) for count in range(1, len(row) + 1)]
            assert found == ends
            if first < len(row):
                assert check.may_end(row[: first + 1][-check.tail_tokens :])
                text = decode_completion(tokenizer, {0}, "a", row[: first + 1], (), (stop,)).text
                assert text == tokenizer.decode(row).partition(stop)[0]
                seen.add(stop)
    assert seen == set(stops)


def test_a_mark_of_a_thought_that_the_prompt_has_opened_is_not_what_the_model_has_said() -> None:
    tokenizer = make_tokenizer()
    prompt, row = tokenizer("Who?\n<think>\n")["input_ids"], tokenizer("Velm\nx")["input_ids"]
    found = decode_completion(tokenizer, {0}, "a", row, prompt, ("\n",))
    assert (found.text, found.finish) == ("<think>\nVelm", "stop")
    assert not StopCheck(tokenizer, ("\n",), prompt).has_ended(row[:4])
