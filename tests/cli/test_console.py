"""What is written for human eyes."""

import io
import sys

import pytest

from seal_cli.terminal.console import Screen, note, terminal


def test_a_note_is_a_line_of_its_own_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    note("seal adapt: memory \x1b[31mran out")
    assert capsys.readouterr().err == "seal adapt: memory [31mran out\n"


def test_a_note_takes_the_place_of_the_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Screen, "drawn", True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    note("memory ran out")
    assert capsys.readouterr().err == "\r\x1b[2Kmemory ran out\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_colour_there_is_no_bold_either(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal().print("loud", style="bold red")
    assert screen.getvalue() == "loud\n"
    monkeypatch.delenv("NO_COLOR")
    terminal().print("loud", style="bold red")
    assert "\x1b[1;31m" in screen.getvalue()
