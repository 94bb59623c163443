"""Estimate the remaining time from what has been done and when. Pure: the caller says what time it is.

Nothing is estimated before there is a basis, and what is estimated is never negative.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

_FINE = 64  # points of the past that are kept are at least this part of the time so far apart
_RECENT = 0.5  # the part of the time so far whose speed counts: passes of short sequences, and first ones, are slower
_LATE = 0.25  # of the time since it began: what is left of something that is late


@dataclass
class Past:
    """A history of (time in s, amount done, total seconds of requests), a point after each event."""

    started: float
    points: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, at: float, amount: float, took: float = 0.0) -> None:
        if not self.points:
            self.points.append((self.started, 0.0, 0.0))
        last, done, total = self.points[-1]
        at = max(at, last)
        if len(self.points) > 1 and last - self.points[-2][0] < (at - self.started) / _FINE:
            self.points.pop()  # points that are close together are one
        self.points.append((at, done + amount, total + took))

    def recent(self) -> tuple[float, float, float]:
        """Return (seconds, amount, seconds of requests) of the recent part of the history."""
        end = self.points[-1]
        since = end[0] - _RECENT * (end[0] - self.started)
        place = max(0, bisect_right(self.points, since, key=lambda point: point[0]) - 1)
        while place and self.points[place][1] >= end[1]:
            place -= 1
        begin = self.points[place]
        return end[0] - begin[0], end[1] - begin[1], end[2] - begin[2]


class Steady:
    """Work that is reported in parts, such as tokens that are trained."""

    def __init__(self, total: float, started: float) -> None:
        self.total, self.done, self.past = total, 0.0, Past(started)

    def add(self, at: float, amount: float) -> None:
        amount = min(max(amount, 0.0), self.total - self.done)
        if amount:
            self.done += amount
            self.past.add(at, amount)

    def left_s(self, at: float) -> float | None:
        """Return the seconds from `at` to the end; None if nothing is known or nothing is left."""
        if not self.past.points or self.done >= self.total:
            return None
        seconds, amount, _ = self.past.recent()
        if seconds <= 0:
            return None
        return at_least_some((self.total - self.done) * seconds / amount, at - self.past.points[-1][0])


class Requests:
    """Work that is begun and settled piece by piece, one after the other or many at a time.

    An engine that works in batches settles them in bursts, a server one by one: either way what waits goes at the speed
    of what was settled, and then the last ones take their own time. Which of those in work is settled plays no part:
    the sum of their times is the same. How long a first batch takes nobody knows: its longest completion decides.
    """

    def __init__(self, total: int, started: float) -> None:
        self.total, self.done, self.past = total, 0, Past(started)
        self.in_work: deque[tuple[float, int]] = deque()  # (begun at, how many), the oldest first
        self.flying = self.most = 0  # in work now, and at the most

    def begin(self, at: float, count: int) -> None:
        count = min(count, self.total - self.done - self.flying)
        if count > 0:
            if not (self.in_work or self.past.points):
                self.past.started = at
            self.in_work.append((at, count))
            self.flying += count
            self.most = max(self.most, self.flying)

    def settle(self, at: float, count: int) -> None:
        count = min(count, self.total - self.done)
        if count <= 0:
            return
        took, left = 0.0, count
        while left and self.in_work:
            begun, several = self.in_work.popleft()
            part = min(left, several)
            took, left = took + part * (at - begun), left - part
            self.flying -= part
            if part < several:
                self.in_work.appendleft((begun, several - part))
        self.done += count
        self.past.add(at, count, took)

    def left_s(self, at: float) -> float | None:
        """Return the seconds from `at` to the end; None if nothing is known or nothing is left."""
        waiting = self.total - self.done - self.flying
        if not self.past.points or self.done >= self.total:
            return None
        seconds, amount, took = self.past.recent()
        speed, one = amount / seconds if seconds > 0 else 0.0, took / amount
        if self.done < 2 * self.most and one > 0:  # so soon the first ones, which all began at once, are all there is
            speed = max(speed, self.flying / one)
        if waiting and not speed:
            return None
        queue = waiting / speed if waiting else 0.0
        last = self.in_work[-1][0] if self.flying else self.past.points[-1][0]
        return at_least_some(queue + (one if self.flying else 0.0), at - last)


def at_least_some(seconds: float, passed: float) -> float:
    """Return the seconds that are left after some have passed; work that is late takes a part of those longer."""
    return max(seconds - passed, _LATE * passed, 0.0)
