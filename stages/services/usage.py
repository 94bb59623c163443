"""What the calls cost, as the server tells it. Values that cannot be are passed over."""

from collections.abc import Iterable

from stages.services.base import Reply, Usage

_MOST_COST = 1e9  # of one call; more is a mistake


def count(tally: Usage, replies: Iterable[Reply]) -> None:
    """Adds replies, each once, to the tally."""
    for reply in replies:
        tally.calls += 1
        tally.failed += reply.failure is not None
        usage = reply.body.get("usage") if reply.body else None
        if isinstance(usage, dict):
            tally.prompt_tokens += _tokens(usage.get("prompt_tokens"))
            tally.completion_tokens += _tokens(usage.get("completion_tokens"))
            cost = _cost(usage.get("cost"))
            tally.cost = tally.cost if cost is None else (tally.cost or 0.0) + cost


def _tokens(found: object) -> int:
    return found if type(found) is int and found >= 0 else 0


def _cost(found: object) -> float | None:
    """OpenRouter's, in its credits."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if 0 <= found < _MOST_COST else None
