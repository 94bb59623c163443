"""Answers on a terminal and off it: they grow, stand beside each other, and never steer it."""

import fcntl
import io
import os
import pty
import select
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from seal_cli.terminal.answers import ColumnView, PlainView, choose_view
from stages.ask import SpokenAnswer

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31mVelm\r"


def said(text: str, finish: str = "stop", error: str | None = None) -> SpokenAnswer:
    return SpokenAnswer(Path("a"), text, text, finish, 3, 0.25, error)


class Screen(io.StringIO):
    """A terminal that remembers all that was written."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def wide() -> Iterator[tuple[int, TextIO]]:
    """Both sides of a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    with os.fdopen(theirs, "w") as out:
        yield ours, out
    os.close(ours)


def read_all(ours: int) -> str:
    """What is shown: a terminal hands it on in pieces, a moment later on a busy machine."""
    found = b""
    while select.select([ours], [], [], 1.0)[0]:
        found += os.read(ours, 65536)
    return found.decode()


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_on_a_terminal_a_text_grows_and_each_letter_is_written_once() -> None:
    out = Screen()
    with PlainView(out, ["as it is", "a"]) as view:
        view.hear("0", " Vel")
        view.hear("1", " not yet its turn")
        view.hear("0", " Velm")
        view.end(0, said(" Velm\n"))
        view.end(1, said("a bridge", "length"))
    assert out.getvalue() == (
        "as it is:\nVelm\n\n  (3 tokens, 0.2 s)\na:\na bridge\n  (3 tokens, 0.2 s; cut off at --max-tokens)\n"
    )


def test_a_text_that_begins_anew_is_written_whole() -> None:
    out = Screen()
    with PlainView(out, ["a"]) as view:
        view.hear("0", "Vel")
        view.hear("0", "")
        view.end(0, said("Bran"))
    assert out.getvalue() == "Vel\nBran\n  (3 tokens, 0.2 s)\n"


def test_off_a_terminal_a_line_is_an_answer() -> None:
    out = io.StringIO()
    for labels, answers in (["a"], [said(" Velm\n")]), (["as it is", "a"], [said("no", error="it broke"), said("yes")]):
        with PlainView(out, labels) as view:
            view.hear("0", "V")
            for place in reversed(range(len(answers))):
                view.end(place, answers[place])
    assert out.getvalue() == "Velm\nas it is: \na: yes\n"


def test_an_answer_that_is_broken_off_leaves_the_cursor_on_a_new_line() -> None:
    out = Screen()
    with pytest.raises(KeyboardInterrupt), PlainView(out, ["a"]) as view:
        view.hear("0", "Vel")
        raise KeyboardInterrupt
    assert out.getvalue() == "Vel\n"


def test_columns_stand_beside_each_other_and_show_what_each_has_so_far(wide: tuple[int, TextIO]) -> None:
    ours, out = wide
    with ColumnView(out, ["as it is", "adapter"]) as view:
        view.hear("0", "Ve")
        view.hear("1", "Br")
        view.live.refresh()
        view.end(0, said("Velm [bold]"))
        view.end(1, said("Bran"))
    out.flush()
    shown = read_all(ours)
    assert any(line.startswith("Ve ") and line.rstrip().endswith("Br") for line in shown.split("\n"))
    last = [line for line in shown.split("\n") if "Velm [bold]" in line and "Bran" in line]
    assert len(last) == 1


@pytest.mark.parametrize("columns", [False, True], ids=["one under the other", "columns"])
def test_what_a_model_says_never_steers_the_terminal(wide: tuple[int, TextIO], columns: bool) -> None:
    ours, out = wide
    kind = ColumnView if columns else PlainView
    with kind(out, [HOSTILE, "b"]) as view:
        view.hear("0", HOSTILE)
        view.end(0, said(HOSTILE))
        view.end(1, said("", error=HOSTILE))
    out.flush()
    shown = read_all(ours)
    assert "Velm" in shown
    assert not {"\x07", "\x9b"} & set(shown)
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown


def test_columns_need_a_wide_terminal_that_takes_escape_codes(
    wide: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = wide
    assert isinstance(choose_view(out, ["a", "b"]), ColumnView)
    assert isinstance(choose_view(out, ["a", "b", "c"]), PlainView)  # less than 36 columns each
    assert isinstance(choose_view(out, ["a"]), PlainView)
    assert isinstance(choose_view(io.StringIO(), ["a", "b"]), PlainView)
    monkeypatch.setenv("NO_COLOR", "1")
    assert isinstance(choose_view(out, ["a", "b"]), PlainView)
