"""One call, sent again until it has its answer, is given up, or ends the run. Works in the threads of a Server."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import stamina
from stamina.instrumentation import set_on_retry_hooks

from stages.errors import SealError, Unavailable
from stages.services.base import Call, Failure, Reply
from stages.services.concurrency import ConcurrencyLimiter
from stages.services.connection import HttpClient
from stages.services.responses import HttpResponse, TransientError, Verdict, classify_response
from stages.services.retry_budget import Again, RetryBudget, ServiceHealth
from stages.services.uniform_failures import FailFast


class Closed(Exception):
    """Nobody waits for this call any more."""


@dataclass(frozen=True)
class Exhausted:
    """A failed reply while no other call succeeds. Were the service gone, the call should rather stay open."""

    reply: Reply


class RetryingClient:
    """What the calls to one server share. `say` is given what the user should know. Asked from many threads."""

    def __init__(
        self,
        wire: HttpClient,
        key: str | None,
        gate: ConcurrencyLimiter,
        retry_for_s: float,
        say: Callable[[str], None],
    ) -> None:
        set_on_retry_hooks(())  # they log each retry; structlog's does so to stdout
        self.retries = 0
        self.alike = FailFast(wire.base)
        self._wire, self._key, self._gate, self._retry_for_s, self._say = wire, key, gate, retry_for_s, say
        self._pulse = ServiceHealth()
        self._over = threading.Event()
        self._lock = threading.Lock()  # of `retries` and `_backed_off`
        self._backed_off = False

    def end(self) -> None:
        """No request is begun from now on, and nobody waits to begin one."""
        self._over.set()
        self._gate.close()

    def settle(self, call: Call) -> Reply | Exhausted:
        """What becomes of the call. Raises Closed after `end`, and the SealError that ends the run."""
        patience = RetryBudget(self._pulse, self._retry_for_s, rest=lambda wait_s: not self._over.wait(wait_s))
        try:
            return self._answer(call, patience)
        except Again as again:
            trouble = again.trouble
        if self._over.is_set():
            raise Closed
        failure = Reply(call.id, None, trouble.failure)
        if not patience.alone:
            return failure
        gone_s = self._pulse.give_up(patience.troubled_at, patience.unreachable)
        if gone_s is not None:
            raise Unavailable(f"{self._wire.base}: {trouble.found}, for {gone_s:.3g} s; {trouble.advice}")
        return Exhausted(failure)

    def _answer(self, call: Call, patience: RetryBudget) -> Reply:
        """Raises Again with the last trouble."""
        for attempt in stamina.retry_context(on=patience.hook, attempts=None, timeout=None, **patience.waits):
            with attempt:
                patience.next_wait_s = attempt.next_wait
                verdict = self._try(call, patience)
                if isinstance(verdict, TransientError):
                    raise Again(verdict)
                self._pulse.beat()
                if isinstance(verdict, SealError):
                    raise verdict
                self.alike.hear(call, verdict if isinstance(verdict, Failure) else None)
                return _reply(call, verdict)
        raise AssertionError("stamina ends with an answer or an error")

    def _try(self, call: Call, patience: RetryBudget) -> Verdict:
        """One request, when it is its turn."""
        entered = self._gate.enter()
        if entered is None:
            raise Closed
        patience.begin(entered)
        came = self._wire.ask(call.path, call.body)
        verdict = classify_response(self._wire.base, self._key, call, came) if isinstance(came, HttpResponse) else came
        trouble = verdict if isinstance(verdict, TransientError) else None
        patience.end(time.monotonic() - entered, trouble is not None)
        cut = self._gate.leave(entered, crowded=trouble is not None and trouble.crowded, good=trouble is None)
        self._tell(trouble, patience, cut)
        return verdict

    def _tell(self, trouble: TransientError | None, patience: RetryBudget, cut: bool) -> None:
        """Counts a retry; says once that there are fewer calls at a time, and once per silence that it lasts."""
        with self._lock:
            self.retries += patience.tries > 1
            first_cut = cut and not self._backed_off
            self._backed_off = self._backed_off or cut
        if trouble is None:
            return
        server = f"server {self._wire.base}: {trouble.found}"
        if first_cut:
            self._say(f"{server}: at most {self._gate.limit} at a time from now on, more when it goes well")
        if patience.long and self._pulse.first_word():
            self._say(f"{server}, trying again for up to {self._retry_for_s:g} s")


def _reply(call: Call, verdict: Mapping[str, Any] | Failure) -> Reply:
    return Reply(call.id, None, verdict) if isinstance(verdict, Failure) else Reply(call.id, verdict)
