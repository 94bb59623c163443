"""All that is for human eyes, on stderr: progress, the closing line, tables, notes."""

import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
EVERY_S = 10.0  # between two plain progress lines when stderr is no terminal


def clean(text: str) -> str:
    """Text written by a model or a file, without control characters."""
    return CONTROL.sub("", text)


def note(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"{clean(text)}\n")
    sys.stderr.flush()


@dataclass
class Counts:
    """What went through a stage. failed and unscored are ours; unreadable self-edits are the model's failures."""

    read: int = 0
    written: int = 0
    failed: int = 0
    unscored: int = 0
    unreadable: int = 0


def closing_line(stage: str, counts: Counts, seconds: float) -> str:
    """`seal adapt: 250 in, 500 out, 0 failed, 0 unscored, 61.2 s`"""
    unreadable = f", {counts.unreadable} unreadable self-edits" if counts.unreadable else ""
    return (
        f"seal {stage}: {counts.read} in, {counts.written} out, {counts.failed} failed, "
        f"{counts.unscored} unscored{unreadable}, {seconds:.1f} s"
    )


class Meter(Protocol):
    def step(self) -> None: ...
    def close(self) -> None: ...


def meter(stage: str, total: int | None) -> Meter:
    """A bar on a terminal; elsewhere a plain line now and then."""
    return Bar(stage, total) if sys.stderr.isatty() else PlainMeter(stage, total)


class PlainMeter:
    """`seal adapt: 120/500, 14 s, 44 s left`, at most every ten seconds."""

    def __init__(self, stage: str, total: int | None) -> None:
        self.stage, self.total, self.done = stage, total, 0
        self.started = self.shown = time.monotonic()

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.shown >= EVERY_S:
            self.shown = now
            note(self._line(now - self.started))

    def _line(self, seconds: float) -> str:
        if not self.total:
            return f"seal {self.stage}: {self.done}, {seconds:.0f} s"
        left = seconds / self.done * (self.total - self.done)
        return f"seal {self.stage}: {self.done}/{self.total}, {seconds:.0f} s, {left:.0f} s left"

    def close(self) -> None:
        pass


class Bar:
    """A rich progress bar that vanishes when the stage is done."""

    def __init__(self, stage: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn(f"seal {stage}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
        )
        self.task = self.progress.add_task(stage, total=total)
        self.progress.start()

    def step(self) -> None:
        self.progress.advance(self.task)

    def close(self) -> None:
        self.progress.stop()


def counted(items: Iterable[T], counts: Counts) -> Iterator[T]:
    """The items as they are, counted as read."""
    for item in items:
        counts.read += 1
        yield item


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table on stderr, first column left, numbers right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*(Text(clean(cell)) for cell in row))
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = 160
    console.print(drawn)
