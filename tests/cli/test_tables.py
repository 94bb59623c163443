"""Tables for people, Markdown and programs: no number is ever cut."""

from hypothesis import given
from hypothesis import strategies as st

from seal_cli.terminal.tables import as_csv, as_markdown, as_text

COLUMNS = ["row", "tasks", "mean %"]
ROWS = [["none", "48", "12.6"], ["round 1", "48", "100.0"]]


def test_columns_are_aligned_the_first_left_the_others_right() -> None:
    assert as_text(COLUMNS, ROWS, 80).splitlines() == [
        "row      tasks  mean %",
        "----------------------",
        "none        48    12.6",
        "round 1     48   100.0",
    ]


def test_a_table_that_is_too_wide_is_stacked() -> None:
    assert as_text(COLUMNS, ROWS, 21) == (
        "none\n  tasks   48\n  mean %  12.6\n\nround 1\n  tasks   48\n  mean %  100.0\n"
    )


@given(st.lists(st.lists(st.text(min_size=1), min_size=3, max_size=3), min_size=1), st.integers(1, 120))
def test_every_cell_is_whole_at_any_width(rows: list[list[str]], width: int) -> None:
    clean = [["".join(letter for letter in cell if letter.isprintable()) for cell in row] for row in rows]
    told = as_text(COLUMNS, clean, width)
    assert all(cell.strip() in told for row in clean for cell in row)


def test_wide_letters_take_two_columns() -> None:
    lines = as_text(["row", "n"], [["日本", "1"], ["ab", "2"]], 80).splitlines()
    assert lines[2:] == ["日本  1", "ab    2"]


def test_bars_and_line_ends_do_not_break_a_markdown_table() -> None:
    assert as_markdown(["row", "n"], [["a|b\nc", "1"]]) == "| row | n |\n| --- | ---: |\n| a\\|b c | 1 |\n"


def test_csv_quotes_what_needs_it_and_leaves_nothing_for_none() -> None:
    assert as_csv(["label", "mean"], [["a,b", None]]) == 'label,mean\n"a,b",\n'
