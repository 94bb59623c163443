"""Progress for human eyes: a line now and then, and a bar on a terminal; both go by tokens where tokens are known."""

import io
import sys

import pytest
from rich.console import Console

from seal_cli import console
from seal_cli.console import Bar, PlainMeter, meter


class Clock:
    """Time that passes when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_plain_meter_tells_lines_tokens_a_second_and_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = PlainMeter("adapt", 8)
    clock.now += 3  # the model is loaded
    plain.expect(100_000)
    clock.now += 5
    plain.trained(20_000)
    plain.step()
    assert capsys.readouterr().err == ""
    clock.now += 5
    plain.trained(20_000)
    assert capsys.readouterr().err == "seal adapt: 1/8, 4,000 tokens/s, 13 s, 15 s left\n"  # 60,000 tokens at 4,000
    plain.step()
    assert capsys.readouterr().err == ""  # not again so soon


def test_a_plain_meter_without_tokens_goes_by_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    plain = PlainMeter("eval", 10)
    clock.now += 20
    plain.step()
    assert capsys.readouterr().err == "seal eval: 1/10, 20 s, 180 s left\n"


def test_a_plain_meter_that_knows_no_total_counts(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    plain = PlainMeter("tasks", None)
    clock.now += 20
    plain.step()
    assert capsys.readouterr().err == "seal tasks: 1, 20 s\n"


def test_before_the_first_line_is_done_the_tokens_tell_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = PlainMeter("adapt", 3)
    plain.expect(50_000)
    clock.now += 10
    plain.trained(10_000)
    assert capsys.readouterr().err == "seal adapt: 0/3, 1,000 tokens/s, 10 s, 40 s left\n"


def test_a_note_is_a_line_of_its_own_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    PlainMeter("adapt", 3).note("memory \x1b[31mran out")
    assert capsys.readouterr().err == "seal adapt: memory [31mran out\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_goes_by_tokens_as_soon_as_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    bar = meter("adapt", 4)
    assert isinstance(bar, Bar)
    bar.step()
    assert bar.progress.tasks[0].completed == 1
    bar.expect(1000)
    bar.trained(250)
    bar.step()
    bar.note("memory ran out")
    task = bar.progress.tasks[0]
    assert (task.total, task.completed, task.percentage) == (1000, 250, 25)
    assert (task.fields["lines"], task.fields["rate"].endswith(" tokens/s")) == ("2/4", True)
    bar.close()
    assert "seal adapt: memory ran out" in screen.getvalue()
    assert isinstance(bar.progress.console, Console)


def test_without_colour_there_is_no_bold_either(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    console.terminal().print("loud", style="bold red")
    assert screen.getvalue() == "loud\n"
    monkeypatch.delenv("NO_COLOR")
    console.terminal().print("loud", style="bold red")
    assert "\x1b[1;31m" in screen.getvalue()
