"""What engines and judges say to a server, and what comes back. Imports nothing heavy.

A call that fails for good is a value, not an exception: whoever asked leaves its own record without an answer. Only
what concerns every call ends the run: a service that is gone (Unavailable), that refuses us (Denied), or that has no
such model (BadConfig).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from stages.interfaces import Progress

HOSTED = "https://api.openai.com/v1"  # OpenAI's own service
LimitName = Literal["max_tokens", "max_completion_tokens"]
_INSTEAD = re.compile(r"\b[Uu]se '?(max_tokens|max_completion_tokens)'? instead")
Reason = Literal["api_error", "timeout", "refused", "truncated", "unparsable"]


@dataclass(frozen=True)
class Call:
    """One request. `path` is below the base URL ("chat/completions"); the body is JSON.

    `final`: statuses that are this call's own failure: they neither end the run (404, for an adapter that may have been
    unloaded) nor pass (500, with which vLLM answers for an adapter that it cannot load).
    `plain`: the answer is text, not JSON; the reply has it as {"text": …} (vLLM's load_lora_adapter).
    """

    id: str
    path: str
    body: Mapping[str, Any]
    final: tuple[int, ...] = ()
    plain: bool = False


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, after all retries. Never the same as a wrong answer."""

    reason: Reason
    detail: str  # one line, without keys
    status: int | None = None  # of the last answer, where one came

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class Reply:
    """The body of a success, a JSON object as it came, or the failure."""

    id: str
    body: Mapping[str, Any] | None
    failure: Failure | None = None


@dataclass
class Usage:
    """What was sent so far. Tokens and cost are what the server tells; cost None: it never told one."""

    calls: int = 0  # that were answered or given up, retries not counted
    retries: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


class Transport(Protocol):
    """Who carries calls: over HTTP, or from a file of answers. One thread asks it."""

    tally: Usage
    progress: Progress  # is told, by the thread that asks, of trouble that lasts

    @property
    def live(self) -> bool:
        """Whether a call that is changed and sent again can be answered."""
        ...

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


def get_limit_name(url: str) -> LimitName:
    """What a server calls the most tokens of a completion: OpenAI renamed it, others keep the old name."""
    return "max_completion_tokens" if url == HOSTED else "max_tokens"


def renamed(failure: Failure | None) -> LimitName | None:
    """The name that a server wants instead, where it has refused a call for the one that it was given."""
    match = _INSTEAD.search(failure.detail) if failure is not None and failure.status == 400 else None
    return None if match is None else "max_tokens" if match[1] == "max_tokens" else "max_completion_tokens"
