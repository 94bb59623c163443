"""Lines on stderr for human eyes, over a bar that may be there, and rich's console."""

import os
import re
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WIDE = 200  # columns where there is no terminal


def strip_control(text: str) -> str:
    """Strip control characters from text written by a model or a file."""
    return _CONTROL.sub("", text)


class Screen:
    """`drawn` while a bar may be on the last line of the terminal, of this process or another."""

    drawn = False


def erase_line() -> str:
    """Return what erases the cursor's line; with NO_COLOR without an escape code."""
    if os.environ.get("NO_COLOR"):
        return f"\r{' ' * (shutil.get_terminal_size().columns - 1)}\r"
    return "\r\x1b[2K"


def say(text: str) -> None:
    """Write a line to stderr. A closed stderr never ends the work."""
    write_stderr(f"{erase_line() if Screen.drawn else ''}{strip_control(text)}\n")


def write_stderr(text: str) -> None:
    """Write text to stderr, as it is."""
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


class QuietMode:
    """`on` after `-q`: only errors and rejected input lines are shown."""

    on = False


def be_quiet() -> None:
    """Hide notes and progress from here on. A forked worker inherits it."""
    QuietMode.on = True


def note(text: str) -> None:
    """Write an optional line to stderr: not shown after `-q`."""
    if not QuietMode.on:
        say(text)


def terminal(file: TextIO | None = None) -> "Console":
    """Make rich's console for stderr, or another file. With NO_COLOR it writes no escape codes, bold included."""
    from rich.console import Console

    console = Console(file=file, stderr=file is None, color_system=None if os.environ.get("NO_COLOR") else "auto")
    if file is not None or not console.is_terminal:
        console.width = width_of(2 if file is None else file.fileno())
    return console


def width_of(descriptor: int) -> int:
    """Return the columns of the terminal behind a descriptor; for a file COLUMNS, or many."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(descriptor).columns or _WIDE
    except OSError:
        return _WIDE
