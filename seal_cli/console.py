"""All that is for human eyes, on stderr: progress, the closing line, tables, notes."""

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
WIDE = 200  # columns where there is no terminal
EVERY_S = 10.0  # between two plain progress lines when stderr is no terminal


def clean(text: str) -> str:
    """Text written by a model or a file, without control characters."""
    return CONTROL.sub("", text)


def say(text: str) -> None:
    """One line on stderr. Work never ends because nobody can be told of it."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{clean(text)}\n")
        sys.stderr.flush()


class Hush:
    """Whether `-q` was given: then only errors, and input lines that are left out, are said."""

    on = False


def be_quiet() -> None:
    """From here on notes and progress are not shown. A forked worker inherits it."""
    Hush.on = True


def note(text: str) -> None:
    """One line on stderr that can be done without: not said after `-q`."""
    if not Hush.on:
        say(text)


def terminal(file: TextIO | None = None) -> "Console":
    """rich's console for stderr, or another file. With NO_COLOR it writes no escape codes at all, bold included."""
    from rich.console import Console

    console = Console(file=file, stderr=file is None, color_system=None if os.environ.get("NO_COLOR") else "auto")
    if file is not None or not console.is_terminal:
        console.width = width_of(2 if file is None else file.fileno())
    return console


def width_of(descriptor: int) -> int:
    """Columns of the terminal behind a descriptor; of a file COLUMNS, or many."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(descriptor).columns or WIDE
    except OSError:
        return WIDE


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
    """`seal adapt: 250 in, 500 out, 0 failed, 0 unscored, 61.2 s`"""
    rejected = f", {counts.rejected} rejected" if counts.rejected else ""
    worthless = f", {counts.unreadable} self-edits worth 0" if counts.unreadable else ""
    return (
        f"seal {stage}: {counts.read} in, {counts.written} out, {counts.failed} failed, "
        f"{counts.unscored} unscored{rejected}{worthless}, {seconds:.1f} s"
    )


class Meter(Protocol):
    """Progress of a stage in lines, and where the work is training in tokens too: a Watch of stages.engines.base."""

    def step(self) -> None: ...
    def begun(self, names: Iterable[str]) -> None: ...
    def settled(self, names: Iterable[str]) -> None: ...
    def expect(self, tokens: int) -> None: ...
    def trained(self, tokens: int) -> None: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...


def meter(stage: str, total: int | None) -> Meter:
    """A bar on a terminal; elsewhere a plain line now and then."""
    return Bar(stage, total) if sys.stderr.isatty() and not Hush.on else PlainMeter(stage, total)


@dataclass
class Pace:
    """How fast tokens are trained. The clock starts when the trainer knows how many there are."""

    tokens: int = 0
    expected: int = 0
    started: float = 0.0

    def expect(self, tokens: int) -> None:
        self.expected, self.started = tokens, time.monotonic()

    @property
    def per_second(self) -> float:
        return self.tokens / max(1e-9, time.monotonic() - self.started)

    @property
    def left_s(self) -> float | None:
        """Seconds to the end, None where nothing is known."""
        return (self.expected - self.tokens) / self.per_second if self.tokens and self.expected else None


class PlainMeter:
    """`seal adapt: 120/500, 5,210 tokens/s, 14 s, 44 s left`, at most every ten seconds."""

    def __init__(self, stage: str, total: int | None) -> None:
        self.stage, self.total, self.done = stage, total, 0
        self.pace = Pace()
        self.started = self.shown = time.monotonic()

    def step(self) -> None:
        self.done += 1
        self._show()

    def begun(self, names: Iterable[str]) -> None:
        pass

    def settled(self, names: Iterable[str]) -> None:
        pass

    def expect(self, tokens: int) -> None:
        self.pace.expect(tokens)

    def trained(self, tokens: int) -> None:
        self.pace.tokens += tokens
        self._show()

    def note(self, text: str) -> None:
        note(f"seal {self.stage}: {text}")

    def _show(self) -> None:
        now = time.monotonic()
        if now - self.shown >= EVERY_S:
            self.shown = now
            note(self._line(now - self.started))

    def _line(self, seconds: float) -> str:
        """Long trainings go first, so that the tokens tell the time left better than the lines."""
        rate = f", {self.pace.per_second:,.0f} tokens/s" if self.pace.tokens else ""
        if not self.total:
            return f"seal {self.stage}: {self.done}{rate}, {seconds:.0f} s"
        left = self.pace.left_s
        if left is None and self.done:
            left = seconds / self.done * (self.total - self.done)
        end = "" if left is None else f", {left:.0f} s left"
        return f"seal {self.stage}: {self.done}/{self.total}{rate}, {seconds:.0f} s{end}"

    def close(self) -> None:
        pass


class Bar:
    """A rich progress bar that vanishes when the stage is done."""

    def __init__(self, stage: str, total: int | None) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.stage, self.pace, self.done = stage, Pace(), 0
        self.progress = Progress(
            TextColumn(f"seal {stage}"),
            BarColumn(),
            TextColumn("{task.fields[lines]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=terminal(),
            transient=True,
            redirect_stdout=False,
        )
        self.total = total
        self.task = self.progress.add_task(stage, total=total, lines=self._lines(), rate="")
        self.progress.start()

    def _lines(self) -> str:
        return f"{self.done}/{self.total}" if self.total else f"{self.done}"

    def step(self) -> None:
        self.done += 1
        self.progress.update(self.task, advance=0 if self.pace.expected else 1, lines=self._lines())

    def begun(self, names: Iterable[str]) -> None:
        pass

    def settled(self, names: Iterable[str]) -> None:
        pass

    def expect(self, tokens: int) -> None:
        """From here on the bar and the time left go by tokens."""
        self.pace.expect(tokens)
        self.progress.reset(self.task, total=tokens, lines=self._lines(), rate="")

    def trained(self, tokens: int) -> None:
        self.pace.tokens += tokens
        self.progress.update(
            self.task, advance=tokens if self.pace.expected else 0, rate=f"{self.pace.per_second:,.0f} tokens/s"
        )

    def note(self, text: str) -> None:
        self.progress.console.print(clean(f"seal {self.stage}: {text}"), markup=False, highlight=False)

    def close(self) -> None:
        self.progress.stop()


def counted(items: Iterable[T], counts: Counts) -> Iterator[T]:
    """The items as they are, counted as read."""
    for item in items:
        counts.read += 1
        yield item
