"""What engines and judges say to a server, and what comes back. Imports nothing heavy.

A call that fails for good is a value, not an exception: whoever asked leaves its own record without an answer. Only
what concerns every call ends the run: a service that is gone (Unavailable), that refuses us (Denied), or that has no
such model (BadConfig).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Reason = Literal["api_error", "timeout", "refused", "truncated", "unparsable"]


@dataclass(frozen=True)
class Call:
    """One request. `path` is below the base URL ("chat/completions"); the body is JSON."""

    id: str
    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, after all retries. Never the same as a wrong answer."""

    reason: Reason
    detail: str  # one line, without keys

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class Reply:
    """The body of a success, a JSON object as it came, or the failure."""

    id: str
    body: Mapping[str, Any] | None
    failure: Failure | None = None


@dataclass
class Tally:
    """What was sent so far. Tokens and cost are what the server tells; cost None: it never told one."""

    calls: int = 0  # that were answered or given up, retries not counted
    retries: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


class Transport(Protocol):
    """Who carries calls: over HTTP, or from a file of answers. One thread asks it."""

    tally: Tally

    @property
    def room(self) -> bool:
        """Whether another call may be submitted now."""
        ...

    @property
    def open(self) -> int:
        """Calls whose replies have not been taken."""
        ...

    def submit(self, call: Call) -> None: ...

    def take(self, *, wait: bool) -> list[Reply]:
        """Replies that have come, in any order. `wait`: at least one where a call is open.

        Raises Unavailable, Denied or BadConfig where no call could be answered.
        """
        ...

    def close(self) -> None:
        """Gives up what is open. Nothing is waited for."""
        ...


def send(transport: Transport, calls: Iterable[Call]) -> Iterator[Reply]:
    """The replies as they come. Calls are taken as there is room for them, so that few are ahead of the replies."""
    for call in calls:
        while not transport.room:
            yield from transport.take(wait=True)
        transport.submit(call)
        yield from transport.take(wait=False)
    while transport.open:
        yield from transport.take(wait=True)
