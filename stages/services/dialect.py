"""How a server wants to be asked: what it calls the most tokens, and which parameters its model does not take.

Models that think refuse a temperature other than 1, and some servers refuse a seed. What a refusal says is learned
once, for all calls that follow.
"""

import re
from collections.abc import Mapping
from typing import Any

from stages.services.base import Failure, LimitName, renamed

_OPTIONAL = ("temperature", "top_p", "seed", "n", "top_k", "min_p", "repetition_penalty")  # what can be left out
_REFUSED = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|not permitted|not allowed|unexpected|deprecated|only the default"
    r"|cannot both|not available|must be 1\b|may only be|invalid (?:value|parameter)",
    re.IGNORECASE,
)
_NAMED = re.compile(rf"\b({'|'.join(name for name in _OPTIONAL if len(name) > 1)})\b|['\"`](n)['\"`]|parameter:? (n)\b")


class Dialect:
    """What one server is asked with. `left_out`: the parameters that it has refused."""

    def __init__(self, limit_name: LimitName = "max_tokens") -> None:
        self.limit_name = limit_name
        self.left_out: set[str] = set()

    def write(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body as the server takes it."""
        return {name: value for name, value in body.items() if name not in self.left_out}

    def learn(self, failure: Failure | None, body: Mapping[str, Any], asked: str) -> str | None:
        """What to tell of a refusal of this body that another gets past: "" if it was told before; None for others."""
        if limit_name := renamed(failure):
            known, self.limit_name = self.limit_name, limit_name
            told = f"{asked} takes {limit_name} in place of {known}" if known != limit_name else ""
            return None if limit_name in body else told
        name = refused_parameter(failure)
        if name is None or name not in body:
            return None
        if name in self.left_out:
            return ""
        self.left_out.add(name)
        return f"{asked} does not take {name} {body[name]}: it is left out from here on, and the server's own counts"


def refused_parameter(failure: Failure | None) -> str | None:
    """The parameter that a server refuses and that can be left out."""
    if failure is None or failure.status not in (400, 422) or not _REFUSED.search(failure.detail):
        return None
    match = _NAMED.search(failure.detail)
    return None if match is None else match[match.lastindex or 0]
