"""`seal tasks -`: lines on stdin, or the reason why there are none."""

import os
import pty
import subprocess
from pathlib import Path

from tests.cli.conftest import SEAL, passages, pipe, seal, surroundings

NOTHING = "seal: -: nothing to read on stdin; give a file, or pipe lines in\n"


def test_lines_on_stdin_are_read() -> None:
    assert len(seal("tasks", "-", stdin=passages(3)).lines) == 3


def test_a_closed_stdin_is_said(tmp_path: Path) -> None:
    closed = pipe("seal tasks - <&-", cwd=tmp_path)
    assert (closed.code, closed.out, closed.err) == (66, "", NOTHING)


def test_a_terminal_as_stdin_is_said_and_does_not_hang() -> None:
    ours, theirs = pty.openpty()
    try:
        run = subprocess.run(
            [*SEAL, "tasks", "-"], stdin=theirs, capture_output=True, text=True, env=surroundings(), timeout=30
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (run.returncode, run.stdout, run.stderr) == (66, "", NOTHING)
