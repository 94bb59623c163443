"""Retries: how many calls run at once, how long one is tried, and when the service counts as gone or all fail alike.

Everything here runs in the event loop of one Server, so nothing needs a lock.
"""

import asyncio
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from stages.errors import BadConfig, SealError, Unavailable
from stages.services.base import Call, Failure, Reply
from stages.services.connection import HttpClient
from stages.services.dialect import get_refused_parameter, get_wanted_limit
from stages.services.responses import Outcome, TransientError

_GONE_AFTER = 3  # calls given up in a row
_DOWN_SHARE = 0.1  # of a call's budget that is left to it while the service is known to be down
_NOTE_AFTER_S, _NOTE_AFTER_SHARE = 5.0, 0.25  # of the budget, whichever is less: then the user is told
_FIRST_WAIT_S, _MAX_WAIT_S = 0.5, 30.0  # between two attempts, doubled each time
_MAX_WAIT_SHARE = 0.25  # of the budget
_GRACE_SHARE = 0.05  # of the budget, in which answers still come from a service that has just gone
ENOUGH_CALLS = 20  # with the same error and no other answer: the rest would get it too
ENOUGH_AT_END = 5  # if there were no more calls than these
_TOO_LARGE = 413
_TOO_LONG = re.compile("max_model_len|maximum context length")  # the caller mends it, or it is one prompt's own


class FailFast:
    """Counts calls to one server as long as all of them get the same error."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._passed = False  # an answer was different
        self._first: tuple[Call, Failure] | None = None
        self._count = 0
        self._prompts_differ = False

    def record(self, call: Call, failure: Failure | None) -> None:
        """Count a call's last answer. Raises BadConfig for the last of ENOUGH_CALLS."""
        if failure is None or failure.status is None:
            self._passed = True
        elif not _concerns_one_call(call, failure):
            self._first = self._first or (call, failure)
            first, expected = self._first
            self._count += 1
            self._passed = self._passed or failure != expected
            self._prompts_differ = self._prompts_differ or _prompt(call) != _prompt(first)
            if error := self.error(ENOUGH_CALLS):
                raise error

    def error(self, enough: int = ENOUGH_AT_END) -> BadConfig | None:
        """The error that ends the run if at least `enough` calls failed, all alike."""
        if self._passed or self._first is None or self._count < enough or not self._prompts_differ:
            return None
        call, failure = self._first
        advice = f"correct the parameter that it names, or give another model than {call.body.get('model')} as --model"
        return BadConfig(f"{self._base}: refuses every call in the same words ({failure.detail}); {advice}")


def _concerns_one_call(call: Call, failure: Failure) -> bool:
    """True if other calls need not fail so: the call expects it, it can be mended, or it is about the prompt."""
    mendable = get_wanted_limit(failure) is not None or get_refused_parameter(failure) in call.body
    mendable = mendable or _TOO_LONG.search(failure.detail) is not None
    return mendable or failure.reason == "refused" or failure.status in (*call.final, _TOO_LARGE)


def _prompt(call: Call) -> object:
    return call.body.get("messages", call.body.get("prompt"))


class ConcurrencyLimiter:
    """Additive increase, multiplicative decrease (AIMD), as in TCP: fewer requests when the server asks for that."""

    def __init__(self, maximum: int) -> None:
        self.limit = self.maximum = maximum
        self.active = 0
        self._successes = 0  # since the limit last changed
        self._halved_at = -1.0
        self._changed = asyncio.Condition()

    async def acquire(self) -> float:
        """Wait for a slot. Returns the moment at which it was given."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.active < self.limit)
            self.active += 1
            return time.monotonic()

    async def release(self, acquired_at: float, *, overloaded: bool = False, succeeded: bool = False) -> bool:
        """Give the slot back. Returns True if an overloaded server made the limit smaller."""
        async with self._changed:
            halved = overloaded and self._halve(acquired_at)
            self.active -= 1
            if succeeded and self.limit < self.maximum:
                self._successes += 1
                if self._successes >= self.limit:
                    self.limit, self._successes = self.limit + 1, 0
            self._changed.notify_all()
            return halved

    def _halve(self, acquired_at: float) -> bool:
        """Once per round trip: a request from before the last halving says nothing about the new limit."""
        if acquired_at < self._halved_at or self.limit == 1:
            return False
        self.limit = max(1, min(self.limit, self.active) // 2)
        self._halved_at, self._successes = time.monotonic(), 0
        return True


class ServiceHealth:
    """The common knowledge of all calls to one server: when it last answered, and how many were given up since."""

    def __init__(self) -> None:
        self.answered_at = -1.0
        self.given_up = 0  # calls in a row, whose errors all began since the last answer
        self._failing_since = 0.0  # the first of them
        self._reported = False

    def record_answer(self) -> None:
        self.answered_at, self.given_up, self._reported = time.monotonic(), 0, False

    def record_give_up(self, failing_since: float, unreachable: bool) -> float | None:
        """Count a call that was given up. Returns the seconds since when the service is gone, if it is."""
        self._failing_since = min(self._failing_since, failing_since) if self.given_up else failing_since
        self.given_up += 1
        gone = self.given_up >= _GONE_AFTER or unreachable
        return time.monotonic() - self._failing_since if gone else None

    def should_report(self) -> bool:
        """True once for each time without answers."""
        reported, self._reported = self._reported, True
        return not reported


class RetryBudget:
    """Retry budget of one call, in seconds.

    Request time and back-off count; waiting for a free slot counts only while no other call succeeds.
    """

    def __init__(self, health: ServiceHealth, budget_s: float) -> None:
        self._health, self._budget_s = health, budget_s
        self._started_at = 0.0  # the first request
        self._spent_s = 0.0
        self._unreachable_since = math.inf
        self.failing_since = math.inf  # the end of the first request that failed
        self.attempts = 0

    def record_attempt(self, started_at: float, error: TransientError | None) -> None:
        """Count a request that has just ended."""
        now = time.monotonic()
        self._started_at = self._started_at if self.attempts else started_at
        self.attempts += 1
        self._spent_s += now - started_at
        if error:
            self.failing_since = min(self.failing_since, now)
            self._unreachable_since = min(self._unreachable_since, now) if error.unreachable else math.inf

    def reserve_wait_s(self, error: TransientError) -> float | None:
        """Seconds to wait before the next attempt, taken from the budget; None if too little is left.

        A wait that the server asked for is kept, with a little more so that not all calls come back at once.
        """
        left_s = self._budget_s * (_DOWN_SHARE if self._health.given_up else 1.0) - self._elapsed_s
        if error.retry_after_s:
            wait_s = error.retry_after_s * random.uniform(1.0, 1.1)
        else:
            longest_s = min(_MAX_WAIT_S, _MAX_WAIT_SHARE * self._budget_s)
            doubled_s = min(_FIRST_WAIT_S, longest_s / 4) * 2 ** min(self.attempts - 1, 9)
            wait_s = min(min(doubled_s, longest_s) * random.uniform(1.0, 1.5), left_s)
        if left_s <= 0 or wait_s > left_s:
            return None
        self._spent_s += wait_s
        return wait_s

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_at if self.is_alone else self._spent_s

    @property
    def is_alone(self) -> bool:
        """True if no call has succeeded since shortly after this one started failing."""
        return self._health.answered_at < self.failing_since + _GRACE_SHARE * self._budget_s

    @property
    def is_unreachable(self) -> bool:
        """True if no connection was taken for at least half of the time."""
        now = time.monotonic()
        return now - self._unreachable_since >= (now - self._started_at) / 2

    @property
    def is_long(self) -> bool:
        """True if the user should hear that this call waits."""
        return self.is_alone and self._elapsed_s >= min(_NOTE_AFTER_S, _NOTE_AFTER_SHARE * self._budget_s)


@dataclass(frozen=True)
class Exhausted:
    """A reply without an answer, while no other call succeeds. If the service is gone, the call should stay open."""

    reply: Reply


class RetryingClient:
    """Sends calls to one server until each has an answer, is given up, or ends the run."""

    def __init__(
        self, http: HttpClient, limiter: ConcurrencyLimiter, retry_for_s: float, note: Callable[[str], object]
    ) -> None:
        self.retries = 0
        self.fail_fast = FailFast(http.base)
        self._http, self._limiter, self._retry_for_s, self._note = http, limiter, retry_for_s, note
        self._health = ServiceHealth()
        self._slowed = False

    async def ask(self, call: Call) -> Reply | Exhausted:
        """Raises the SealError that ends the run."""
        budget = RetryBudget(self._health, self._retry_for_s)
        outcome = await self._attempt(call, budget)
        while isinstance(outcome, TransientError):
            if call.once and outcome.may_be_done:
                return Reply(call.id, None, outcome.failure)
            wait_s = budget.reserve_wait_s(outcome)
            if wait_s is None:
                return self._give_up(call, budget, outcome)
            await asyncio.sleep(wait_s)
            outcome = await self._attempt(call, budget)
        self._health.record_answer()
        if isinstance(outcome, SealError):
            raise outcome
        failure = outcome if isinstance(outcome, Failure) else None
        self.fail_fast.record(call, failure)
        return Reply(call.id, None if isinstance(outcome, Failure) else outcome, failure)

    async def _attempt(self, call: Call, budget: RetryBudget) -> Outcome:
        """Send one request as soon as a slot is free."""
        started_at = await self._limiter.acquire()
        outcome = await self._http.send(call)
        error = outcome if isinstance(outcome, TransientError) else None
        budget.record_attempt(started_at, error)
        slower = await self._limiter.release(
            started_at, overloaded=error is not None and error.overloaded, succeeded=error is None
        )
        self.retries += budget.attempts > 1
        if error:
            self._report(error, budget, slower)
        return outcome

    def _report(self, error: TransientError, budget: RetryBudget, slower: bool) -> None:
        """Tell the user of the first slowdown, and once of each time without answers."""
        server = f"server {self._http.base}: {error.found}"
        if slower and not self._slowed:
            self._slowed = True
            self._note(f"{server}: at most {self._limiter.limit} at a time from now on, more when it goes well")
        if budget.is_long and self._health.should_report():
            self._note(f"{server}, trying again for up to {self._retry_for_s:g} s")

    def _give_up(self, call: Call, budget: RetryBudget, error: TransientError) -> Reply | Exhausted:
        reply = Reply(call.id, None, error.failure)
        if not budget.is_alone:
            return reply
        gone_s = self._health.record_give_up(budget.failing_since, budget.is_unreachable)
        if gone_s is not None:
            raise Unavailable(f"{self._http.base}: {error.found}, for {gone_s:.3g} s; {error.advice}")
        return Exhausted(reply)
