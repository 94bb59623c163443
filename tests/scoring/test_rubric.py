"""What a rater's reply is worth on the scale of its rubric."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.scoring.rubric import RatingScale


@pytest.mark.parametrize(
    ("reply", "points"),
    [
        ("Length: 3 - short\nDiversity: 4 - fine\nQuality: 4 - fine\nCorrectness: 5 - yes\nFinal Score: 16", 16),
        ("**Final Score:** 16", 16),
        ("final score: **16**/20", 16),
        ("Final Score: <16>", 16),
        ("I think the Final Score: 16 is fair\nFinal Score: 12", 12),
        ("Final Score: 4.5", 4.5),
        ("Final Score: 16\nFinal Score: 16", 16),
        ("Final Score: 4 + 3 + 5 + 4 = 16", 16),
        ("**Final Score:** (4+3+5+4) = **16** out of 20", 16),
        ("Final Score: 16 (4+4+4+4)", 16),
        ("Final Score: **16** = 4 + 3 + 5 + 4", 16),
        ("Final Score: 4 (Length) + 3 (Diversity) + 5 (Quality) + 4 (Correctness) = 16", 16),
        ("Final Score: 16 (a B+)", 16),
        ("Final Score: 5 - rather poor, as 3 of 4 say", 5),
    ],
)
def test_points_are_read_from_the_line_of_the_final_score(reply: str, points: float) -> None:
    assert RatingScale().read_points(reply) == (points, None)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "A fine list, well done.",
        "Length: 3\nDiversity: 4",
        "Final Score: high",
        "Final Score: 16\nFinal Score: 12",
        "Final Score: 25",
        "Final Score: -16",
        "Final Score: 3",
        "Final Score: 1e9",
        "Final Score: 12.5.1",
        "Final Score: 4 + 4 + 4 + 4",
        "Final Score: 4 (Length) + 4 (Diversity)",
        "Final Score: 4 + 4 = 8 + 8",
        "Final Score: 15-16",
        "Final Score: 12,000",
        "Final Score: 4e1",
        "Final Score: 4.2/5",
        "Final Score: 8 out of 10",
    ],
)
def test_prose_two_minds_and_points_beyond_the_scale_are_no_rating(reply: str) -> None:
    points, error = RatingScale().read_points(reply)
    assert points is None
    assert str(error).startswith("unparsable: ")


@given(st.text())
def test_any_reply_is_points_on_the_scale_or_a_reason(reply: str) -> None:
    points, error = RatingScale(lowest=0, highest=1).read_points(reply)
    assert (points is None) != (error is None)
    assert points is None or 0 <= points <= 1
