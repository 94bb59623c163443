"""Answers as people see them while they are written: in columns, or one under the other; and as JSON."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

from seal_cli.terminal.console import strip_control, terminal, width_of

if TYPE_CHECKING:
    from rich.table import Table

    from stages.ask import SpokenAnswer

_LEAST_WIDTH = 36  # of a column, in characters
Write = Callable[[str], object]


class AnswerView(Protocol):
    """Shows the answers to one question, by their places. It is entered before the first and left behind the last."""

    def __enter__(self) -> "AnswerView": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def hear(self, place: str, text: str) -> None:
        """Show the text that the answer at this place has so far."""

    def end(self, place: int, answer: "SpokenAnswer") -> None:
        """Show a whole answer."""


def choose_view(out: TextIO, labels: Sequence[str]) -> AnswerView:
    """Return columns where the terminal is wide enough and takes escape codes, else one answer under the other."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if len(labels) > 1 and out.isatty() and not plain and width_of(out.fileno()) >= _LEAST_WIDTH * len(labels):
        return ColumnView(out, labels)
    return PlainView(out, labels)


def describe_end(answer: "SpokenAnswer") -> str:
    """`12 tokens, 0.4 s`; and what there is to know of an answer that has not come to its end."""
    if answer.error is not None:
        return strip_control(f"no answer: {answer.error}")
    told = "" if answer.tokens is None else f"{answer.tokens} token{'s' * (answer.tokens != 1)}, "
    cut = {"length": "; cut off at --max-tokens", "refused": "; refused"}.get(answer.finish, "")
    return f"{told}{answer.seconds:.1f} s{cut}"


class PlainView:
    """One answer under the other. On a terminal they grow letter by letter, with their label and how they ended."""

    def __init__(self, out: TextIO, labels: Sequence[str]) -> None:
        self.out, self.labels, self.grows = out, labels, out.isatty()
        self.turn, self.shown = 0, ""
        self.ended: dict[int, SpokenAnswer] = {}

    def __enter__(self) -> "PlainView":
        self._begin()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self.shown:
            self._write("\n")

    def hear(self, place: str, text: str) -> None:
        if self.grows and int(place) == self.turn:
            self._grow(strip_control(text).lstrip())

    def end(self, place: int, answer: "SpokenAnswer") -> None:
        self.ended[place] = answer
        while self.turn in self.ended:
            self._finish(self.ended[self.turn])
            self.turn, self.shown = self.turn + 1, ""
            self._begin()

    def _begin(self) -> None:
        if self.grows and len(self.labels) > 1 and self.turn < len(self.labels):
            self._write(f"{strip_control(self.labels[self.turn])}:\n")

    def _grow(self, text: str) -> None:
        """Write what is new. A text that has begun anew is written whole, on a line of its own."""
        if not text.startswith(self.shown):
            self._write("\n")
            self.shown = ""
        self._write(text[len(self.shown) :])
        self.shown = text

    def _finish(self, answer: "SpokenAnswer") -> None:
        text = strip_control(answer.text).lstrip()
        if self.grows:
            self._grow(text)
            self._write(f"\n  ({describe_end(answer)})\n")
            return
        label = f"{strip_control(self.labels[self.turn])}: " if len(self.labels) > 1 else ""
        self._write(f"{label}{text.rstrip() if answer.error is None else ''}\n")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


class ColumnView:
    """The answers beside each other, each growing in its column."""

    def __init__(self, out: TextIO, labels: Sequence[str]) -> None:
        from rich.live import Live

        self.labels, self.texts, self.ends = labels, [""] * len(labels), [""] * len(labels)
        self.live = Live(console=terminal(out), get_renderable=self._draw, refresh_per_second=15)

    def __enter__(self) -> "ColumnView":
        self.live.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.live.stop()

    def hear(self, place: str, text: str) -> None:
        self.texts[int(place)] = text

    def end(self, place: int, answer: "SpokenAnswer") -> None:
        self.texts[place], self.ends[place] = answer.text, f"({describe_end(answer)})"

    def _draw(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2), expand=True)
        for _ in self.labels:
            table.add_column(ratio=1, overflow="fold")
        table.add_row(*(Text(strip_control(label), style="bold") for label in self.labels))
        table.add_row(*(Text(strip_control(text).lstrip()) for text in self.texts))
        table.add_row(*(Text(text, style="dim") for text in self.ends))
        return table


class JsonView:
    """One JSON object for the question, when all its answers are there."""

    def __init__(self, write: Write, about: dict[str, object], count: int) -> None:
        self.write, self.about, self.answers = write, about, [dict[str, object]()] * count

    def __enter__(self) -> "JsonView":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.write(f"{json.dumps({**self.about, 'answers': self.answers}, ensure_ascii=False)}\n")

    def hear(self, place: str, text: str) -> None: ...

    def end(self, place: int, answer: "SpokenAnswer") -> None:
        path = None if answer.adapter is None else str(answer.adapter)
        self.answers[place] = {**asdict(answer), "adapter": path, "seconds": round(answer.seconds, 3)}
