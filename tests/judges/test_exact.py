"""The judges: SQuAD's normalisation, and what holds of every judge."""

import re
import string
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.judges.base import JUDGES, Case, Judge
from stages.judges.exact import ExactJudge, normalise
from stages.judges.lexical import LexicalJudge
from stages.plugins import load_class

WORDS = st.lists(
    st.sampled_from(["Velm", "bridge", "1854", "Ada", "théâtre", "an", "The", "a"]), min_size=1, max_size=6
)


def verdict(judge: Judge, gold: str, prediction: str, question: str = "Where was Ada born?") -> bool | None:
    (found,) = judge.grade([Case(question, gold, prediction)])
    return found.correct


LONGER = st.lists(
    st.sampled_from(["Velm", "don't", "well-known", "an", "The", "a", "(U.S.)", "1854,", "théâtre"]), max_size=6
)


@given(LONGER)
@settings(deadline=None)
def test_normalising_is_what_the_squad_script_does_where_no_letter_or_sign_tells(words: list[str]) -> None:
    text = " ".join([*words, "Velm."])
    lowered = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    assert normalise(text) == " ".join(re.sub(r"\b(a|an|the)\b", " ", lowered).split())


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Vitamin A.", "vitamin a"),
        ("A, B and C", "a b and c"),
        ("The The", "the the"),
        ("“The” Velm", "velm"),
        ("C++", "c++"),
        ("O−", "o-"),
        ("Na⁺", "na+"),
        ("ＳＯ₄²⁻", "so42-"),
        ("pre- and post-war", "pre and postwar"),
        ("北京。", "北京"),
        ("DİYARBAKIR", "diyarbakir"),
        ("+", "+"),
        ("\u200b", "\u200b"),
        (" \u2028", ""),
    ],
)
def test_what_tells_answers_apart_is_kept(text: str, normalised: str) -> None:
    assert normalise(text) == normalised


@given(st.text())
@settings(deadline=None)
def test_normalised_text_has_single_spaces(text: str) -> None:
    found = normalise(text)
    assert (found == "") is (text.strip() == "")
    assert "  " not in found or not found.isascii()


@given(WORDS, st.data())
@settings(deadline=None)
def test_case_articles_and_punctuation_change_no_exact_verdict(words: list[str], data: st.DataObject) -> None:
    decorate = st.sampled_from([str.upper, str.title, "the {}".format, " {}\n".format])
    gold = " ".join([*words, "Velm"])
    prediction = " ".join(data.draw(decorate)(word) for word in [*words, "Velm"])
    assert verdict(ExactJudge(), gold, f'"{prediction}".') is True


@pytest.mark.parametrize("judge", [ExactJudge(), LexicalJudge()])
def test_an_empty_answer_is_wrong_also_to_an_empty_gold(judge: Judge) -> None:
    assert verdict(judge, "Velm", "") is False
    assert verdict(judge, "", "") is False
    assert verdict(judge, "the", "a ...") is False


@given(st.lists(st.sampled_from(["Velm", "1854", "the bridge", "Ada Brook"]), min_size=1, unique=True), st.data())
@settings(deadline=None)
def test_an_answer_is_right_if_it_is_to_any_of_the_gold_answers(golds: list[str], data: st.DataObject) -> None:
    prediction = data.draw(st.sampled_from(["Velm", "in 1854", "bridge", "Ada", "Bo"]))
    case = Case("What is told?", golds[0], prediction, tuple(golds[1:]))
    for judge in (ExactJudge(), LexicalJudge()):
        (found,) = judge.grade([case])
        assert found.correct == any(verdict(judge, gold, prediction, case.question) for gold in golds)


def test_exact_wants_all_words_and_no_others() -> None:
    assert verdict(ExactJudge(), "the Velm bridge", "Velm Bridge.") is True
    assert verdict(ExactJudge(), "Velm", "in Velm") is False


@pytest.mark.parametrize("judge", [ExactJudge(), LexicalJudge()])
def test_verdicts_stream_in_the_order_of_the_cases(judge: Judge) -> None:
    endless = (Case("q", f"word{n}", f"word{n}" if n % 2 else "no") for n in count())
    assert [found.correct for found in islice(judge.grade(endless), 4)] == [False, True, False, True]


@pytest.mark.parametrize("name", JUDGES)
def test_the_table_names_judges_by_their_own_names(name: str) -> None:
    assert load_class("--judge", name, JUDGES)().name == name
