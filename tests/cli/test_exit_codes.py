"""A signal ends a command, whatever swallows its error."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import surroundings

WORK = """
import os, signal, sys, time, weakref
from pathlib import Path
from seal_cli.exit_codes import exit_on_signals

number = int(sys.argv[1])


class Thing:
    def __del__(self):
        if HOW == "destructor":
            os.kill(os.getpid(), number)


def ask(*_):
    os.kill(os.getpid(), number)


HOW = sys.argv[2]
with exit_on_signals():
    try:
        thing = Thing()
        watch = weakref.ref(thing, ask) if HOW == "callback" else None
        del thing
        if HOW == "library":
            try:
                ask()
            except BaseException:
                pass
        until = time.monotonic() + 20
        while time.monotonic() < until:
            time.sleep(0.01)
    finally:
        time.sleep(0.8)  # cleaning up is not interrupted
        Path("cleaned").touch()
"""


@pytest.mark.parametrize(("number", "how"), [(15, "destructor"), (1, "callback"), (15, "library")])
def test_a_signal_that_is_swallowed_ends_the_command_all_the_same(number: int, how: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORK, str(number), how]
    run = subprocess.run(command, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, timeout=15)
    assert (run.returncode, run.stdout, run.stderr) == (128 + number, "", "")
    assert (tmp_path / "cleaned").exists()
