"""Whole dates, however they are written: found, and told from other dates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.judges.base import Case
from stages.judges.lexical import LexicalJudge
from stages.judges.reading.dates import find_dates

SAME = ["May 5, 1990", "5 May 1990", "on the 5th of May, 1990", "MAY 5th 1990", "1990-05-05", "5/5/1990", "1990/5/5"]
MONTHS = ["January", "Feb.", "March", "Apr", "May", "June", "Jul.", "August", "Sept. ", "October", "Nov", "December"]


@pytest.mark.parametrize("text", SAME)
def test_a_date_is_the_same_in_every_form(text: str) -> None:
    assert [set(readings) for readings in find_dates(text)] == [{(1990, 5, 5)}]


@pytest.mark.parametrize(
    "text", ["1990", "May 1990", "May 5", "5-6", "1990-13-05", "192.168.10.2024", "2.5.19905", "1-2-3-2024", "may be 5"]
)
def test_what_is_no_whole_date_is_none(text: str) -> None:
    assert find_dates(text) == ()


@given(st.integers(1, 12), st.integers(1, 28), st.integers(1000, 2100))
def test_digits_alone_are_read_with_the_month_or_the_day_first(month: int, day: int, year: int) -> None:
    (named,) = find_dates(f"It was {MONTHS[month - 1]} {day}, {year}.")
    for text in (f"{day}/{month}/{year}", f"{month}/{day}/{year}", f"{day:02}.{month:02}.{year}"):
        (digits,) = find_dates(text)
        assert named <= digits
    assert find_dates(f"{year}-{month:02}-{day:02}") == (named,)


@pytest.mark.parametrize(
    ("gold", "prediction", "right"),
    [
        *(("May 5, 1990", text, True) for text in SAME),
        ("May 5, 1990", "1990-05-06", False),
        ("May 5, 1990", "05/06/1990", False),
        ("May 6, 1990", "05/06/1990", True),
        ("6 May 1990", "05/06/1990", True),
        ("May 5, 1990", "Born on May 6, 1990, she died on May 5, 1991", False),
        ("5 May 1990", "On 6 May 1990? No, on 5 May 1990", True),
        ("1 May 1990 to 3 June 1991", "from 1990-05-01 until 1991-06-03", True),
        ("1 May 1990 to 3 June 1991", "from 1990-05-01 until 1991-06-04", False),
        ("1990", "It was on 1990-05-06", True),
        ("version 10.5.2000", "version 10.5.2000", True),
    ],
)
def test_another_date_of_the_same_numbers_is_wrong(gold: str, prediction: str, right: bool) -> None:
    (verdict,) = LexicalJudge().grade([Case("When was it?", gold, prediction)])
    assert verdict.correct is right


JOINED = {  # what is said → the gold dates that it names, and those that it does not
    "5–7 May 1990": (["5 May 1990", "7 May 1990", "1990-05-05"], ["6 May 1990", "8 May 1990"]),
    "5-7 May 1990": (["5 May 1990", "7 May 1990"], ["6 May 1990"]),
    "May 5-7, 1990": (["5 May 1990", "May 7, 1990"], ["6 May 1990"]),
    "the 5th to the 7th of May 1990": (["5 May 1990", "7 May 1990"], ["6 May 1990"]),
    "5 and 7 May 1990": (["5 May 1990", "7 May 1990"], ["6 May 1990"]),
    "May 5 and 7, 1990": (["5 May 1990", "7 May 1990"], ["6 May 1990"]),
    "on 5 May, 7 June 1990": (["5 May 1990", "7 June 1990"], ["7 May 1990", "5 June 1990"]),
    "between 2 May and 9 June 1990": (["2 May 1990", "9 June 1990"], ["9 May 1990", "2 June 1990", "5 May 1990"]),
    "from May 5 to June 7, 1990": (["May 5, 1990", "June 7, 1990"], ["May 7, 1990", "June 5, 1990"]),
    "30 December 1989 – 2 January 1990": (["30 December 1989", "2 January 1990"], ["30 December 1990"]),
    "from 5 May 1990 to 7 May 1990": (["5–7 May 1990", "May 5-7, 1990", "5 to 7 May 1990"], ["5–8 May 1990"]),
    "7 May 1990": (["7 May 1990"], ["5–7 May 1990", "5 and 7 May 1990", "between 2 April and 7 May 1990"]),
    "5 May 1990": (["5 May 1990"], ["5–7 May 1990", "May 5-7, 1990"]),
    "in game 3, on 5 May 1990": (["game 3, 5 May 1990"], []),
    "It was Game 7 – 5 June 1990": (["5 June 1990"], ["7 June 1990"]),
    "Room 12 - 5 May 1990": (["5 May 1990"], ["12 May 1990"]),
    "Apollo 17, 7 December 1972": (["Apollo 17 – 7 December 1972"], []),
    "Game 7, on 5 June 1990": (["Game 7 - 5 June 1990", "Game 7 and 5 June 1990"], ["Game 7 - 6 June 1990"]),
    "game 9 – 5 to 7 May 1990": (["5 May 1990", "7 May 1990"], ["9 May 1990"]),
}


@pytest.mark.parametrize(
    ("gold", "prediction", "right"),
    [(gold, text, right) for text, golds in JOINED.items() for right in (0, 1) for gold in golds[1 - right]],
)
def test_of_joined_dates_each_end_is_named_and_nothing_between(gold: str, prediction: str, right: int) -> None:
    (verdict,) = LexicalJudge().grade([Case("When was it?", gold, prediction)])
    assert verdict.correct is bool(right)


@pytest.mark.parametrize("text", ["may 5 ", "1990-05-", "5 of ", "12/", "may 5 and ", "5 and ", "5 may, ", "5–"])
def test_a_huge_text_is_searched_in_linear_time(text: str) -> None:
    assert find_dates(text * 20_000 + "x 1990-05-05")[-1] == {(1990, 5, 5)}
