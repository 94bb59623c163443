"""What a run says of the calls that it made to servers."""

from collections.abc import Iterable, Iterator
from typing import Any

from stages.services.base import Usage


def format_usage(usage: Usage, more: Iterable[str] = ()) -> str:
    """`120 calls, 380 cached, 2 failed, 3 tried again, 41200 + 240 tokens, cost 0.03`"""
    cost = [] if usage.cost is None else [f"cost {usage.cost:.4g}"]
    tokens = [f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"] if usage.prompt_tokens else []
    return ", ".join([f"{usage.calls} calls", *more, f"{usage.retries} tried again", *tokens, *cost])


def report_engine(engine: Any) -> Iterator[str]:
    """Say what an engine behind a server has cost; nothing of any other."""
    if hasattr(engine, "transport"):
        yield f"{engine.model}: {format_usage(engine.transport.usage, [f'{engine.failed} failed'])}"


def report_judge(judge: Any) -> Iterator[str]:
    """Say what a judge behind a server has cost, and why verdicts are lacking; nothing of any other."""
    if not hasattr(judge, "transport"):
        return
    failed = {reason: count for reason, count in judge.unscored.items() if count}
    reasons = ", ".join(f"{reason} {count}" for reason, count in failed.items())
    more = [f"{judge.cached} cached", f"{sum(failed.values())} failed{f' ({reasons})' if failed else ''}"]
    yield f"judge {judge.name}: {format_usage(judge.transport.usage, more)}"
