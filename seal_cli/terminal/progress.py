"""Where the work is: phase, lines, tokens and the time left, in memory that the process at work shares with its parent.

Whoever works tells it (it is a Progress of stages.interfaces); whoever shows it, looks: nobody who works is asked.
"""

import math
import mmap
import time
from collections.abc import Iterable
from dataclasses import dataclass

from seal_cli.terminal.console import note
from seal_cli.terminal.estimate import Requests, Steady, at_least_some
from stages.interfaces import Unit, WorkLog

_SIZE = 4096  # bytes of the memory: numbers in front, the name of the phase behind
NAME_AT, LONGEST_NAME = 2048, 200
_FIELDS = ("lines", "total", "tokens", "ended", "expected", "since", "until", "began", "left", "at", "length")
EVERY_LINES, EVERY_S = 8, 0.05  # lines or seconds after which the time left is worked out anew
_LEAST_S = 0.1  # of work before its speed is told
_WORK = {
    "adapt": "training",
    "sft": "training",
    "generate": "writing self-edits",
    "eval": "answering",
    "judge": "judging",
}


@dataclass(frozen=True)
class Sight:
    """What is seen at one moment. Lines and tokens are this worker's own; `left_s` None: nobody knows."""

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
        self.stage, self.work = stage, _WORK.get(stage, "working")
        self.memory = mmap.mmap(-1, _SIZE)  # anonymous, and shared with children
        self.numbers = memoryview(self.memory)[: 8 * len(_FIELDS)].cast("d")
        self.log: WorkLog | None = None
        self.begin(None)
        self.set_phase("reading")

    def begin(self, total: int | None) -> None:
        """Begin with so many lines to come (None: unknown)."""
        self.lines, self.total = 0, total
        self._put(lines=0, total=math.nan if total is None else total)
        self._restart()

    def _restart(self) -> None:
        """What was done before says nothing about the speed of what comes."""
        now = time.monotonic()
        left = None if self.total is None else self.total - self.lines
        self.plain = Steady(left, now) if left and left > 0 else None
        self.main: Steady | Requests | None = None
        self.worth = 1.0  # of a verdict, or of a step beside its tokens
        self.asleep, self.seen, self.looked = True, 0, 0.0
        self.tokens, self.ended, self.since = 0, 0, 0.0
        self._put(tokens=0, ended=0, expected=0, since=0, until=0, began=now, left=math.nan, at=now)

    # ---- told by the work

    def set_phase(self, name: str) -> None:
        data = name.encode()[:LONGEST_NAME]
        self.name = name
        self.memory[NAME_AT : NAME_AT + len(data)] = data
        self._put(length=len(data))
        self._restart()

    def prepare(self) -> None:
        """What is loaded gets ready; as soon as it begins, the phase is that of the stage's work."""
        self.set_phase("preparing")

    def _awake(self) -> None:
        if self.name in ("preparing", "loading"):
            main, worth = self.main, self.worth
            self.set_phase(self.work)
            self.main, self.worth = main, worth

    def step(self) -> None:
        """Count a line as done."""
        self._awake()
        self.lines += 1
        self._put(lines=self.lines)
        if self.plain:
            self.plain.add(time.monotonic(), 1)
            self.seen += 1
            if self.asleep:
                self._estimate(always=self.lines == self.total or not self.seen % EVERY_LINES)

    def read(self) -> None:
        """Count a line as read."""
        self.lines += 1
        self._put(lines=self.lines)

    def expect(self, amount: int, unit: Unit = "tokens", *, steps: int = 0) -> None:
        """A step costs as much as its tokens and, whatever they are, as the tokens of a mean step."""
        now = time.monotonic()
        self.main, self.asleep = Requests(amount, now) if unit == "requests" else Steady(amount, now), True
        self.worth = 1.0
        if unit == "tokens":
            self.worth = amount / steps if steps else 0.0
            self.main = Steady(amount + self.worth * steps, now)
        if unit == "tokens":
            self._awake()
            self._clock(now)
            self._put(expected=amount)

    def begin_work(self, names: Iterable[str]) -> None:
        known = list(names)
        if self.log:
            self.log.begin_work(known)
        self._awake()
        now = time.monotonic()
        self._clock(now)
        if isinstance(self.main, Requests):
            self.asleep = False
            self.main.begin(now, len(known))
            self._whole(0)
            self._estimate()

    def end_work(self, names: Iterable[str]) -> None:
        known = list(names)
        if self.log:
            self.log.end_work(known)
        if isinstance(self.main, Requests):
            self.main.settle(time.monotonic(), len(known))
            self._whole(0)
            self._estimate()

    def add_trained(self, tokens: int) -> None:
        self._awake()
        self._count(tokens)
        self._add(tokens)

    def add_written(self, tokens: int, ended: int = 0) -> None:
        self._count(tokens)
        if ended:
            self._whole(self.ended + ended)

    def advance(self, amount: int) -> None:
        self._awake()
        self._add(self.worth * amount)

    def _add(self, amount: float) -> None:
        if isinstance(self.main, Steady) and amount > 0:
            self.asleep = False
            self.main.add(time.monotonic(), amount)
            self._estimate()

    def _whole(self, ended: int) -> None:
        """So many completions of the batch in work are whole."""
        self.ended = ended
        self._put(ended=ended)

    def note(self, text: str) -> None:
        note(f"seal {self.stage}: {text}")

    def _clock(self, now: float) -> None:
        """Tokens a second count from here."""
        if not self.since:
            self.since = now
            self._put(since=now)

    def _count(self, tokens: int) -> None:
        now = time.monotonic()
        self._clock(now)
        self.tokens += max(0, tokens)
        self._put(tokens=self.tokens, until=now)

    def _estimate(self, *, always: bool = True) -> None:
        now = time.monotonic()
        if always or now - self.looked > EVERY_S:
            self.looked = now
            found = self.plain if self.asleep else self.main
            left = found.left_s(now) if found else None
            self._put(left=math.nan if left is None else left, at=now)

    def _put(self, **values: float) -> None:
        for name, value in values.items():
            self.numbers[_FIELDS.index(name)] = value

    # ---- seen from outside

    def look(self, now: float) -> Sight:
        """Return the current Sight, also in another process."""
        lines, total, tokens, ended, expected, since, until, began, left, at, length = self.numbers
        name = bytes(self.memory[NAME_AT : NAME_AT + int(length)]).decode(errors="replace")
        seconds = until - since
        return Sight(
            phase=name,
            phase_s=max(0.0, now - began),
            lines=int(lines) if math.isnan(total) else int(min(lines, total)),
            total=None if math.isnan(total) else int(total),
            tokens=int(min(tokens, expected)) if expected else int(tokens),
            expected=int(expected) or None,
            ended=int(ended),
            per_second=tokens / seconds if tokens and seconds >= _LEAST_S else None,
            left_s=None if math.isnan(left) else at_least_some(left, max(0.0, now - at)),
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
