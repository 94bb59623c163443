"""Progress on stderr: a plain line now and then, a bar on a terminal, whatever the work is busy with."""

import io
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from seal_cli.terminal import display, progress
from seal_cli.terminal.console import QuietMode, Screen
from seal_cli.terminal.display import Display, format_bar, get_share
from seal_cli.terminal.progress import ProgressMeter, Sight
from tests.conftest import INTERRUPTED_FORK, ROOT


class Clock:
    """Time that passes when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (progress, display):
            monkeypatch.setattr(
                module, "time", SimpleNamespace(monotonic=lambda: self.now, process_time=lambda: self.now)
            )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def watched(display: Display, clock: Clock, seconds: int) -> None:
    """So many seconds pass, and it looks in each."""
    for _ in range(seconds):
        clock.now += 1
        display.show(clock.now)


def test_the_first_line_comes_within_ten_seconds_and_the_others_every_ten(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nobody says anything: a model is loaded, a server does not answer."""
    work = ProgressMeter("generate")
    work.begin(252)
    work.set_phase("loading")
    watched(Display(work), clock, 40)
    assert said(capsys) == [f"seal generate: loading, 0/252, {second} s" for second in (7, 17, 27, 37)]


def test_a_slow_stdin_is_told_of_in_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    work = ProgressMeter("adapt")
    shows = Display(work)
    for _ in range(3):
        work.read()
    watched(shows, clock, 8)
    assert said(capsys) == ["seal adapt: reading, 3 lines, 7 s"]


def test_training_is_told_of_in_tokens_and_moves_within_a_step(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    work = ProgressMeter("adapt")
    shows = Display(work)
    work.begin(8)
    work.set_phase("loading")
    clock.now += 3
    work.prepare()
    work.expect(100_000)
    clock.now += 2
    work.add_trained(8_000)
    watched(shows, clock, 2)
    clock.now += 2
    work.add_trained(16_000)
    watched(shows, clock, 8)
    assert said(capsys) == [
        "seal adapt: training, 0/8, 8,000/100,000 tokens, 4,000 tokens/s, 7 s, 21 s left",
        "seal adapt: training, 0/8, 24,000/100,000 tokens, 4,000 tokens/s, 17 s, 11 s left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Is stderr from here on."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return found


def test_on_a_terminal_a_bar_is_drawn_over_itself_and_vanishes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    work = ProgressMeter("adapt")
    shows = Display(work)
    monkeypatch.setattr(Screen, "drawn", True)
    work.begin(4)
    work.set_phase("loading")
    work.prepare()
    work.expect(1000)
    clock.now += 5
    work.add_trained(250)
    work.step()
    shows.show(clock.now)
    bar = f"[{'#' * 6}{'.' * 18}]"
    line = f"seal adapt: {bar} training, 1/4, 250/1,000 tokens, 50 tokens/s, 5 s, 15 s left"
    assert screen.getvalue() == f"\r\x1b[2K{line}"
    shows.stop()
    assert screen.getvalue().endswith("\r\x1b[2K")
    assert not Screen.drawn


def test_without_colour_the_bar_is_drawn_without_an_escape_code(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    work = ProgressMeter("adapt")
    work.set_phase("loading")
    Display(work).show(clock.now)
    assert screen.getvalue() == f"\r{' ' * 99}\rseal adapt: loading, 0 s"


def test_a_stage_that_waits_for_the_one_before_leaves_the_terminal_to_its_bar(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = terminal(monkeypatch)
    watched(Display(ProgressMeter("eval")), clock, 60)
    assert screen.getvalue() == "seal eval: reading, 7 s\n"


def test_a_dumb_terminal_gets_plain_lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    work = ProgressMeter("eval")
    work.set_phase("loading")
    watched(Display(work), clock, 8)
    assert screen.getvalue() == "seal eval: loading, 7 s\n"


def seen(**more: Any) -> Sight:
    """A moment three seconds after a phase began, with one of four lines done."""
    return replace(Sight("training", 3.0, 1, 4, 10, None, 0, None, None), **more)


def test_a_bar_is_never_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    sight = seen(expected=1000, per_second=5.0, left_s=9.0)
    assert len(format_bar("adapt", sight, 3.0)) == 39


def test_what_is_done_goes_by_the_time_or_else_by_the_lines() -> None:
    assert get_share(seen()) == 0.25
    assert get_share(seen(left_s=1.0)) == 0.75
    assert get_share(seen(total=None)) is None


def test_the_thread_shows_by_itself_and_is_gone_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "FIRST_S", 0.0)
    monkeypatch.setattr(display, "LOOK_S", 0.001)
    seen = threading.Event()
    monkeypatch.setattr(display, "note", lambda text: seen.set())
    shown = Display(ProgressMeter("judge"))
    shown.start()
    assert seen.wait(10)
    assert any(thread.name == "progress" for thread in threading.enumerate())
    shown.stop()
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuietMode, "on", True)
    quiet = Display(ProgressMeter("adapt"))
    quiet.start()
    assert quiet.thread is None
    quiet.stop()


def test_work_that_holds_pythons_lock_is_shown_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    """By a process of its own, which is gone afterwards."""
    work, before = ProgressMeter("generate"), psutil.Process().children()
    shows = Display(work)
    shows.due = 0.0
    with shows.apart([]):
        work.set_phase("loading")
        until = time.monotonic() + 60
        while (err := capfd.readouterr().err) == "" and time.monotonic() < until:
            sum(range(10**7))  # in C
    shows.stop()
    assert re.fullmatch(r"seal generate: loading, \d+ s\n", err)
    assert psutil.Process().children() == before


def test_a_process_that_is_interrupted_as_it_begins_to_show_does_not_work_too() -> None:
    code = f"""{INTERRUPTED_FORK}
from seal_cli.terminal.display import Display
from seal_cli.terminal.progress import ProgressMeter

with Display(ProgressMeter("generate")).apart([]):
    print("works", flush=True)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"works\n", b"")


def test_a_process_that_shows_ends_with_the_one_that_works() -> None:
    """However that ends: here it is killed in the middle. Whoever reads its stderr sees the end."""
    code = """if True:
        import os, signal
        from seal_cli.terminal.display import Display
        from seal_cli.terminal.progress import ProgressMeter
        with Display(ProgressMeter("generate")).apart([]):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=60)
    assert run.returncode == -signal.SIGKILL
