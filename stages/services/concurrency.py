"""How many requests are under way at once: fewer when the server says it is too many, more again when it goes well."""

import threading
import time


class ConcurrencyLimiter:
    """Additive increase, multiplicative decrease, as TCP's. Asked from many threads."""

    def __init__(self, most: int) -> None:
        self.limit = self.most = most
        self.inside = 0
        self._goods = 0  # since the limit last changed
        self._cut_at = -1.0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self) -> float | None:
        """Waits for a place; the moment it was given. None: the gate was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.inside < self.limit)
            if self._closed:
                return None
            self.inside += 1
            return time.monotonic()

    def leave(self, entered: float, *, crowded: bool = False, good: bool = False) -> bool:
        """Gives the place back. `crowded`: the server asked for fewer. Whether that made the limit smaller."""
        with self._changed:
            cut = crowded and self._halve(entered)
            self.inside -= 1
            if good and self.limit < self.most:
                self._widen()
            self._changed.notify_all()
            return cut

    def _halve(self, entered: float) -> bool:
        """Once per round trip: who entered before the last cut says nothing about what came of it."""
        if entered < self._cut_at or self.limit == 1:
            return False
        self.limit = max(1, min(self.limit, self.inside) // 2)
        self._cut_at, self._goods = time.monotonic(), 0
        return True

    def _widen(self) -> None:
        self._goods += 1
        if self._goods >= self.limit:
            self.limit, self._goods = self.limit + 1, 0

    def close(self) -> None:
        """Nobody enters any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
