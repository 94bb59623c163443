"""How long a call is tried again, and when a whole service counts as gone."""

import math
import random
import threading
import time
from collections.abc import Callable

from stages.services.responses import TransientError

_GONE = 3  # calls given up in a row
_DOWN_SHARE = 0.1  # of a call's time that it still has where the service is known to be down
LONG_S, LONG_SHARE = 5.0, 0.25  # after which the user is told, whichever is less
FIRST_WAIT_S, MOST_WAIT_S = 0.5, 30.0  # between two tries, doubled each time
_WAIT_SHARE = 0.25  # of the whole time, the longest of them
_LAST_WORD_SHARE = 0.05  # of it, in which answers still come from a service that has just gone


class Again(Exception):
    """A try that brought no answer. Never leaves this package."""

    def __init__(self, trouble: TransientError) -> None:
        super().__init__(trouble.found)
        self.trouble = trouble


class ServiceHealth:
    """What all calls together know of the service. Asked from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = -1.0  # when an answer came
        self._row = 0  # calls given up since, after trouble that began since
        self._since = 0.0  # when the trouble of the first of them began
        self._down = self._told = False

    def beat(self) -> None:
        """An answer came that is no trouble."""
        with self._lock:
            self._last, self._row = time.monotonic(), 0
            self._down = self._told = False

    @property
    def down(self) -> bool:
        """Whether a call was given up and nothing came since."""
        return self._down

    def silent_since(self, moment: float) -> bool:
        return self._last < moment

    def give_up(self, troubled_at: float, unreachable: bool) -> float | None:
        """A call is given up without an answer since its trouble began. Seconds that the service is gone, if it is."""
        with self._lock:
            self._since = min(self._since, troubled_at) if self._row else troubled_at
            self._row, self._down = self._row + 1, True
            return time.monotonic() - self._since if self._row >= _GONE or unreachable else None

    def first_word(self) -> bool:
        """Whether nothing was said yet of this silence."""
        with self._lock:
            first, self._told = not self._told, True
            return first


class RetryBudget:
    """One call's time to be tried again. Requests and waits count, turns at the gate only if no one is served."""

    def __init__(self, pulse: ServiceHealth, retry_for_s: float, rest: Callable[[float], bool]) -> None:
        self._pulse, self._retry_for_s, self._rest = pulse, retry_for_s, rest
        self._begun = 0.0  # the first request
        self.troubled_at = math.inf  # its end, if it was trouble
        self.tries = 0
        self._spent_s = 0.0
        self.next_wait_s = 0.0  # what stamina would wait after the try that is under way, before jitter
        self._unreached_at = math.inf  # since when nobody takes the connection

    def begin(self, moment: float) -> None:
        self._begun = self._begun if self.tries else moment
        self.tries += 1

    def end(self, seconds: float, trouble: bool) -> None:
        """A request took so long."""
        self._spent_s += seconds
        if trouble:
            self.troubled_at = min(self.troubled_at, time.monotonic())

    @property
    def waits(self) -> dict[str, float]:
        """Of stamina's retry_context; short ones where there is little time in all."""
        most_s = min(MOST_WAIT_S, _WAIT_SHARE * self._retry_for_s)
        return {"wait_initial": min(FIRST_WAIT_S, most_s / 4), "wait_max": most_s, "wait_jitter": 0.0}

    @property
    def _tried_s(self) -> float:
        """So long this call was tried."""
        return time.monotonic() - self._begun if self.alone else self._spent_s

    @property
    def _left_s(self) -> float:
        return self._retry_for_s * (_DOWN_SHARE if self._pulse.down else 1.0) - self._tried_s

    @property
    def unreachable(self) -> bool:
        """Whether it is the connection that fails: it did for the better half of the time."""
        now = time.monotonic()
        return now - self._unreached_at >= (now - self._begun) / 2

    @property
    def alone(self) -> bool:
        """Whether no other call has had an answer since soon after this one came into trouble."""
        return self._pulse.silent_since(self.troubled_at + _LAST_WORD_SHARE * self._retry_for_s)

    def hook(self, error: Exception) -> float | bool:
        """Stamina's `on`: whether to try again. It waits here, where `rest` can be cut short, and not in stamina."""
        if not isinstance(error, Again):
            return False
        self._unreached_at = min(self._unreached_at, time.monotonic()) if error.trouble.unreachable else math.inf
        left_s = self._left_s
        wait_s = self._wait_s(error.trouble, left_s)
        if left_s <= 0 or wait_s > left_s:
            return False
        self._spent_s += wait_s
        return 0.0 if self._rest(wait_s) else False

    def _wait_s(self, trouble: TransientError, left_s: float) -> float:
        """A pause that the server asked for is kept, with a little more so that not all come back at once."""
        if trouble.pause_s:
            return trouble.pause_s * random.uniform(1.0, 1.1)
        return min(self.next_wait_s * random.uniform(1.0, 1.5), max(left_s, 0.0))

    @property
    def long(self) -> bool:
        """Whether the user should hear that this call waits."""
        long_s = min(LONG_S, LONG_SHARE * self._retry_for_s)
        return self._tried_s >= long_s and self.alone
