"""The parameters that a server takes: its name for the most tokens, and those that its model refuses.

Reasoning models refuse a temperature other than 1, and some servers refuse a seed. A refusal is learned once, for all
calls that follow.
"""

import re
from collections.abc import Mapping
from typing import Any

from stages.services.base import Failure, LimitName

_OPTIONAL = (  # what can be left out
    *("temperature", "top_p", "seed", "n", "top_k", "min_p", "repetition_penalty", "stream_options", "stop"),
)
_OTHER_NAME = re.compile(r"\b[Uu]se '?(max_tokens|max_completion_tokens)'? instead")
_REFUSAL = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|not permitted|not allowed|unexpected|deprecated|only the default"
    r"|cannot both|not available|must be 1\b|may only be|invalid (?:value|parameter)|array too long|at most \d+ items",
    re.IGNORECASE,
)
_QUOTED = ("n", "stop")  # words that a sentence may hold otherwise
_PARAMETER = re.compile(
    rf"\b({'|'.join(name for name in _OPTIONAL if name not in _QUOTED)})\b"
    rf"|['\"`]({'|'.join(_QUOTED)})['\"`]|(?:parameter|argument|supplied|field|support):? ({'|'.join(_QUOTED)})\b"
    rf"|\b({'|'.join(_QUOTED)}):? (?:is|are|was) (?:not|un)"
)


class Dialect:
    """The parameters that one server takes, as far as its refusals have told."""

    def __init__(self, limit_name: LimitName = "max_tokens") -> None:
        self.limit_name = limit_name
        self.left_out: set[str] = set()

    def write(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body without the parameters that the server has refused."""
        return {name: value for name, value in body.items() if name not in self.left_out}

    def learn(self, failure: Failure | None, body: Mapping[str, Any], server: str) -> str | None:
        """Learn from the failure of this body. None: nothing to change; otherwise a note, "" if it was given before."""
        if limit_name := get_wanted_limit(failure):
            known, self.limit_name = self.limit_name, limit_name
            note = f"{server} takes {limit_name} in place of {known}" if known != limit_name else ""
            return None if limit_name in body else note
        name = get_refused_parameter(failure)
        if name is None or name not in body:
            return None
        if name in self.left_out:
            return ""
        self.left_out.add(name)
        instead = "texts are cut here" if name == "stop" else "the server's own counts"
        return f"{server} does not take {name} {body[name]}: it is left out from here on, and {instead}"


def get_wanted_limit(failure: Failure | None) -> LimitName | None:
    """The name for the most tokens that a refusal asks for instead."""
    match = _OTHER_NAME.search(failure.detail) if failure is not None and failure.status == 400 else None
    return None if match is None else "max_tokens" if match[1] == "max_tokens" else "max_completion_tokens"


def get_refused_parameter(failure: Failure | None) -> str | None:
    """The refused parameter, if it can be left out."""
    if failure is None or failure.status not in (400, 422) or not _REFUSAL.search(failure.detail):
        return None
    match = _PARAMETER.search(failure.detail)
    return None if match is None else match[match.lastindex or 0]
