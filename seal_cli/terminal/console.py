"""Everything for human eyes, on stderr: progress, the closing line, tables, notes."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

_T = TypeVar("_T")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WIDE = 200  # columns where there is no terminal


def strip_control(text: str) -> str:
    """Strip control characters from text written by a model or a file."""
    return _CONTROL.sub("", text)


class Screen:
    """Tracks whether a bar may be on the last line of the terminal, drawn by this process or its parent."""

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
    """Whether `-q` was given: then only errors and rejected input lines are shown."""

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


@dataclass
class Counts:
    """What went through a stage. failed and unscored are ours.

    unreadable: self-edits worth 0, the model's failures: they cannot be read, or ask for more steps than are allowed.
    """

    read: int = 0
    written: int = 0
    failed: int = 0
    unscored: int = 0
    unreadable: int = 0
    rejected: int = 0


def closing_line(stage: str, counts: Counts, seconds: float) -> str:
    """Write `seal adapt: 250 in, 500 out, 0 failed, 0 unscored, 61.2 s`"""
    rejected = f", {counts.rejected} rejected" if counts.rejected else ""
    worthless = f", {counts.unreadable} self-edits worth 0" if counts.unreadable else ""
    return (
        f"seal {stage}: {counts.read} in, {counts.written} out, {counts.failed} failed, "
        f"{counts.unscored} unscored{rejected}{worthless}, {seconds:.1f} s"
    )


def count_items(items: Iterable[_T], counts: Counts) -> Iterator[_T]:
    """Pass items on, and count them as read."""
    for item in items:
        counts.read += 1
        yield item
