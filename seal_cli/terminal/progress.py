"""The progress of work: phase, lines, tokens and the time left, in memory that a worker shares with its parent.

The work reports to a ProgressMeter (a Progress of stages.interfaces); a display looks at it and never asks the work.
"""

import ctypes
import math
import mmap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from seal_cli.terminal.console import note
from seal_cli.terminal.estimate import Requests, Steady, at_least_some
from stages.interfaces import Unit, WorkLog

_EVERY_LINES, _EVERY_S = 8, 0.05  # lines or seconds after which the time left is worked out anew
_LEAST_S = 0.1  # of work before its speed is told
_LONGEST_PHASE = 200  # bytes
_WORK = {
    "adapt": "training",
    "sft": "training",
    "generate": "writing self-edits",
    "eval": "answering",
    "judge": "judging",
}


class _Shared(ctypes.Structure):
    """The numbers that a display needs. Times in s; nan: unknown."""

    _fields_ = [
        ("phase", ctypes.c_char * _LONGEST_PHASE),
        ("began", ctypes.c_double),  # when the phase did
        ("lines", ctypes.c_double),
        ("total", ctypes.c_double),
        ("tokens", ctypes.c_double),
        ("expected", ctypes.c_double),  # tokens; 0: unknown
        ("ended", ctypes.c_double),
        ("since", ctypes.c_double),  # when tokens began to count; 0: not yet
        ("until", ctypes.c_double),  # when the last came
        ("left", ctypes.c_double),
        ("at", ctypes.c_double),  # when `left` was worked out
        ("asked", ctypes.c_double),  # completions of the whole run, whatever the phase, of all its workers
        ("read", ctypes.c_double),  # tokens of their prompts
        ("said", ctypes.c_double),  # tokens of these completions
        ("trained", ctypes.c_double),  # tokens
        ("working", ctypes.c_double),  # when the work had begun for the first time, behind loading; 0: not yet
        ("working_cpu", ctypes.c_double),  # the processor time until then
    ]


@dataclass(frozen=True)
class Sight:
    """The progress at one moment. Lines and tokens are this worker's own; `left_s` None: unknown."""

    phase: str
    phase_s: float  # since it began
    lines: int
    total: int | None
    tokens: int
    expected: int | None  # tokens in all
    ended: int  # completions of the batch in work that are whole, though nobody has them yet
    per_second: float | None
    left_s: float | None


class ProgressMeter:
    """A Progress, and a count of lines. One process writes it: this one, or the worker that it has forked.

    `log` is the WorkLog that names in work are passed on to; the meter itself only counts them.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.shared: Any = _Shared.from_buffer(mmap.mmap(-1, ctypes.sizeof(_Shared)))  # anonymous: children have it too
        self.log: WorkLog | None = None
        self.begin(None)
        self.set_phase("reading")

    def begin(self, total: int | None) -> None:
        """Begin with so many lines to come (None: unknown)."""
        self.shared.lines, self.shared.total = 0, math.nan if total is None else total
        self._restart()

    def _restart(self) -> None:
        """Forget the speed so far: it says nothing about the work that comes."""
        now, shared = time.monotonic(), self.shared
        left = shared.total - shared.lines
        self.plain = Steady(left, now) if left > 0 else None  # goes by lines
        self.main: Steady | Requests | None = None  # goes by what the work expects
        self.worth = 1.0  # of a verdict, or of a step beside its tokens
        self.main_moved, self.worked_out = False, 0.0
        shared.tokens = shared.ended = shared.expected = shared.since = shared.until = 0
        shared.began, shared.at, shared.left = now, now, math.nan

    # ---- told by the work

    def set_phase(self, name: str) -> None:
        self.shared.phase = name.encode()[:_LONGEST_PHASE]
        self._restart()

    def prepare(self) -> None:
        """Begin to get ready what is loaded; the phase of the stage's work begins with its first event."""
        self.set_phase("preparing")

    def _leave_loading(self) -> None:
        if self.shared.phase in (b"preparing", b"loading"):
            if not self.shared.working:
                self.shared.working, self.shared.working_cpu = time.monotonic(), time.process_time()
            main, worth = self.main, self.worth
            self.set_phase(_WORK.get(self.stage, "working"))
            self.main, self.worth = main, worth

    def step(self) -> None:
        """Count a line as done."""
        self._leave_loading()
        self.read()
        if self.plain:
            self.plain.add(time.monotonic(), 1)
            if not self.main_moved:
                lines = self.plain.done
                self._estimate(always=lines == self.plain.total or not lines % _EVERY_LINES)

    def read(self) -> None:
        """Count a line as read."""
        self.shared.lines += 1

    def expect(self, amount: int, unit: Unit = "tokens", *, steps: int = 0) -> None:
        """A step costs as much as its tokens and, whatever they are, as the tokens of a mean step."""
        now = time.monotonic()
        self.main, self.main_moved, self.worth = Steady(amount, now), False, 1.0
        if unit == "requests":
            self.main = Requests(amount, now)
        if unit == "tokens":
            self.worth = amount / steps if steps else 0.0
            self.main = Steady(amount + self.worth * steps, now)
            self._leave_loading()
            self._count_from(now)
            self.shared.expected = amount

    def begin_work(self, names: Iterable[str]) -> None:
        known = list(names)
        if self.log:
            self.log.begin_work(known)
        self._leave_loading()
        now = time.monotonic()
        self._count_from(now)
        if isinstance(self.main, Requests):
            self.main_moved = True
            self.main.begin(now, len(known))
            self.shared.ended = 0
            self._estimate()

    def end_work(self, names: Iterable[str]) -> None:
        known = list(names)
        if self.log:
            self.log.end_work(known)
        if isinstance(self.main, Requests):
            self.main.settle(time.monotonic(), len(known))
            self.shared.ended = 0
            self._estimate()

    def give_up(self, names: Sequence[str]) -> None:
        if self.log:
            self.log.give_up(names)

    def add_trained(self, tokens: int) -> None:
        self._leave_loading()
        self.add_written(tokens)
        self.shared.trained += tokens
        self._add(tokens)

    def add_written(self, tokens: int, ended: int = 0) -> None:
        now = time.monotonic()
        self._count_from(now)
        self.shared.tokens += max(0, tokens)
        self.shared.until = now
        self.shared.ended += ended

    def add_usage(self, read: int | None, written: int | None) -> None:
        self.shared.asked += 1
        self.shared.read += read or 0
        self.shared.said += written or 0

    def advance(self, amount: int) -> None:
        self._leave_loading()
        self._add(self.worth * amount)

    def _add(self, amount: float) -> None:
        if isinstance(self.main, Steady) and amount > 0:
            self.main_moved = True
            self.main.add(time.monotonic(), amount)
            self._estimate()

    def note(self, text: str) -> None:
        note(f"seal {self.stage}: {text}")

    def _count_from(self, now: float) -> None:
        """Tokens a second count from here."""
        self.shared.since = self.shared.since or now

    def _estimate(self, *, always: bool = True) -> None:
        now = time.monotonic()
        if always or now - self.worked_out > _EVERY_S:
            self.worked_out = now
            found = self.main if self.main_moved else self.plain
            left = found.left_s(now) if found else None
            self.shared.left, self.shared.at = math.nan if left is None else left, now

    # ---- seen from outside

    def look(self, now: float) -> Sight:
        """Return the current Sight, also in another process."""
        seen: Any = _Shared.from_buffer_copy(self.shared)
        total = None if math.isnan(seen.total) else int(seen.total)
        expected = int(seen.expected) or None
        seconds = seen.until - seen.since
        return Sight(
            phase=seen.phase.decode(errors="replace"),
            phase_s=max(0.0, now - seen.began),
            lines=int(seen.lines) if total is None else min(int(seen.lines), total),
            total=total,
            tokens=int(seen.tokens) if expected is None else min(int(seen.tokens), expected),
            expected=expected,
            ended=int(seen.ended),
            per_second=seen.tokens / seconds if seen.tokens and seconds >= _LEAST_S else None,
            left_s=None if math.isnan(seen.left) else at_least_some(seen.left, max(0.0, now - seen.at)),
        )


def format_progress(stage: str, sight: Sight, seconds: float) -> str:
    """Write `seal adapt: training, 120/500, 73,204/302,000 tokens, 5,210 tokens/s, 14 s, 44 s left`"""
    parts = [sight.phase]
    if sight.total is not None:
        parts.append(f"{sight.lines}/{sight.total}")
    elif sight.lines:
        parts.append(f"{sight.lines} lines")
    if sight.ended:
        parts.append(f"{sight.ended} completions of this batch")
    if sight.expected:
        parts.append(f"{sight.tokens:,}/{sight.expected:,} tokens")
    if sight.per_second:
        parts.append(f"{sight.per_second:,.0f} tokens/s")
    parts.append(f"{seconds:.0f} s")
    if sight.left_s is not None:
        parts.append(f"{max(1, round(sight.left_s))} s left")
    return f"seal {stage}: {', '.join(parts)}"
