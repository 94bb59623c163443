"""Fail fast: if the first 20 calls get the same error, the configuration is wrong, so stop sending."""

import re

from stages.errors import BadConfig
from stages.services.base import Call, Failure
from stages.services.dialect import get_refused_parameter, get_wanted_limit

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
