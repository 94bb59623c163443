"""Texts become terms without a dictionary, in any script."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.domains.retrieval.terms import split_terms


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("In welchem Jahr wurde das Bergwerk geschlossen?", "Die Schließung des Bergwerks war 1932."),
        ("Wer schrieb die Verfassung?", "ein verfassungsgebender Rat"),
        ("北京大学在哪里?", "中国的北京大学成立于1898年。"),
        ("東京はどこですか", "日本の首都は東京です。"),
        ("أين تقع مكتبة الجامعة؟", "المكتبات قريبة من جامعة"),
        ("दिल्ली कहाँ है?", "भारत की राजधानी दिल्ली है।"),
        ("어디에 서울이 있습니까", "서울은 수도이다"),
        ("What was the café founding?", "The CAFE was founded."),
    ],
)
def test_a_question_shares_terms_with_what_answers_it(asked: str, written: str) -> None:
    assert set(split_terms(asked)) & set(split_terms(written)) - {"was", "the", "die", "ein", "है", "は東"}


def test_a_script_without_spaces_is_cut_into_pairs_and_its_numbers_stay_whole() -> None:
    assert split_terms("成立于1898年") == ["成立", "立于", "1898", "年"]


def test_a_longer_word_has_its_beginning_too_and_a_number_has_not() -> None:
    assert split_terms("Running 123456") == ["run", "runni…", "123456"]


def test_vowel_signs_do_not_end_a_word() -> None:
    assert split_terms("दिल्ली") == ["दिल्ली", "दिल्ल…"]


@given(st.text(max_size=80))
def test_terms_hold_no_blank_and_do_not_depend_on_how_letters_are_composed(text: str) -> None:
    terms = split_terms(text)
    assert all(term and not any(map(str.isspace, term)) for term in terms)
    assert split_terms(unicodedata.normalize("NFC", text)) == split_terms(unicodedata.normalize("NFD", text))
