"""Requests to a server, their replies, and what they cost. Imports nothing heavy.

A call that fails for good is a value, not an exception: its caller leaves one record without an answer. Only what
concerns every call ends the run: a service that is gone (Unavailable), that refuses us (Denied), or that has no such
model (BadConfig).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from stages.interfaces import Progress

HOSTED = "https://api.openai.com/v1"  # OpenAI's own service
_MAX_COST = 1e9  # of one call; more is a mistake
LimitName = Literal["max_tokens", "max_completion_tokens"]
Reason = Literal["api_error", "timeout", "refused", "truncated", "unparsable"]


@dataclass(frozen=True)
class Call:
    """One request. `path` is below the base URL ("chat/completions"); the body is JSON.

    `final`: statuses that fail this call alone: they neither end the run (404, for an adapter that may have been
    unloaded) nor are tried again (500, with which vLLM answers for an adapter that it cannot load).
    `plain`: the answer is text, not JSON; the reply has it as {"text": …} (vLLM's load_lora_adapter).
    `once`: not sent again where the server may have done it already, as it may after a time-out or a 500.
    `hear`: is told the text so far while the answer is streamed (the body then asks for that), in another thread.
    `get`: nothing is sent. `save_to`: the answer goes into this file, the reply is empty; more than `most_bytes` fail.
    """

    id: str
    path: str
    body: Mapping[str, Any]
    final: tuple[int, ...] = ()
    plain: bool = False
    once: bool = False
    hear: Callable[[str], object] | None = None
    get: bool = False
    save_to: Path | None = None
    most_bytes: int = 0


@dataclass(frozen=True)
class Failure:
    """The reason for no answer, after all retries. Never the same as a wrong answer."""

    reason: Reason
    detail: str  # one line, without keys
    status: int | None = None  # of the last answer, if there was one

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class Reply:
    """The JSON object of a server's answer, or the failure."""

    id: str
    body: Mapping[str, Any] | None
    failure: Failure | None = None


@dataclass
class Usage:
    """Counts of what was sent so far. Tokens and cost are the server's own numbers; cost None: it never gave one."""

    calls: int = 0  # with an answer or given up, retries not counted
    retries: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    def add(self, replies: Iterable[Reply]) -> None:
        """Count replies, each once. Impossible numbers are passed over."""
        for reply in replies:
            self.calls += 1
            self.failed += reply.failure is not None
            usage = reply.body.get("usage") if reply.body else None
            if isinstance(usage, dict):
                self.prompt_tokens += _token_count(usage.get("prompt_tokens"))
                self.completion_tokens += _token_count(usage.get("completion_tokens"))
                cost = usage.get("cost")  # OpenRouter's, in its credits
                if isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < _MAX_COST:
                    self.cost = (self.cost or 0.0) + cost


def _token_count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


class Transport(Protocol):
    """Carries calls: over HTTP, or from a file of answers. Used from one thread."""

    usage: Usage
    progress: Progress  # receives notes about trouble that lasts

    @property
    def live(self) -> bool:
        """True if a changed call can be sent again."""

    @property
    def room(self) -> bool:
        """True if another call may be submitted now."""

    @property
    def open(self) -> int:
        """Number of calls whose replies have not been taken."""

    def submit(self, call: Call) -> None: ...

    def take(self, *, wait: bool) -> list[Reply]:
        """Take the replies that have come, in any order. `wait`: at least one if a call is open.

        Raises Unavailable, Denied or BadConfig if no call could be answered.
        """

    def close(self) -> None:
        """Give up all open calls, without waiting."""


def get_limit_name(url: str) -> LimitName:
    """The parameter for the most tokens of a completion: OpenAI renamed it, others keep the old name."""
    return "max_completion_tokens" if url == HOSTED else "max_tokens"


def _format_usage(usage: Usage, more: Iterable[str] = ()) -> str:
    """Write `120 calls, 380 cached, 2 failed, 3 tried again, 41200 + 240 tokens, cost 0.03`"""
    cost = [] if usage.cost is None else [f"cost {usage.cost:.4g}"]
    tokens = [f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"] if usage.prompt_tokens else []
    return ", ".join([f"{usage.calls} calls", *more, f"{usage.retries} tried again", *tokens, *cost])


def list_usages(worker: object) -> Iterator[Usage]:
    """Yield what the servers of a stage's worker were asked: its engine's, and its judge's."""
    for part in (getattr(worker, "engine", None), getattr(worker, "judge", None)):
        usage = getattr(getattr(part, "transport", None), "usage", None)
        if isinstance(usage, Usage):
            yield usage


def report_engine(engine: Any) -> Iterator[str]:
    """Report what a served engine has cost; nothing for any other."""
    if hasattr(engine, "transport"):
        yield f"{engine.model}: {_format_usage(engine.transport.usage, [f'{engine.failed} failed'])}"


def report_judge(judge: Any) -> Iterator[str]:
    """Report what a served judge has cost, and why verdicts are missing; nothing for any other."""
    if not hasattr(judge, "transport"):
        return
    failed = {reason: count for reason, count in judge.unscored.items() if count}
    reasons = ", ".join(f"{reason} {count}" for reason, count in failed.items())
    more = [f"{judge.cached} cached", f"{sum(failed.values())} failed{f' ({reasons})' if failed else ''}"]
    yield f"judge {judge.name}: {_format_usage(judge.transport.usage, more)}"
