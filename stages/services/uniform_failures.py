"""Calls that all fail in the same words: not their prompts are at fault, and none of the others need be sent."""

import re
import threading

from stages.errors import BadConfig
from stages.services.base import Call, Failure, renamed
from stages.services.dialect import refused_parameter

FIRST = 20  # calls that failed alike before any other answer: the others will
FEWEST = 5  # where there were no more
_TOO_LARGE = 413
_TOO_LONG = re.compile("max_model_len|maximum context length")  # mended by who asks, or one prompt's own


class FailFast:
    """What calls to one server came to while they all came to the same. Asked from many threads."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._over = False  # an answer came that is another
        self._first: tuple[Call, Failure] | None = None
        self._count = 0
        self._prompts_differ = False

    def hear(self, call: Call, failure: Failure | None) -> None:
        """An answer after which the call is not sent again. Raises BadConfig for the last of `FIRST`."""
        if failure is None or failure.status is None:
            self._over = True
        elif not _of_this_call(call, failure):
            self._add(call, failure)
            if error := self.error(FIRST):
                raise error

    def _add(self, call: Call, failure: Failure) -> None:
        with self._lock:
            self._first = self._first or (call, failure)
            first, found = self._first
            self._count += 1
            self._over = self._over or failure != found
            self._prompts_differ = self._prompts_differ or _prompt_of(call) != _prompt_of(first)

    def error(self, fewest: int = FEWEST) -> BadConfig | None:
        """That no call can succeed, where at least so many failed alike and nothing else came."""
        with self._lock:
            if self._over or self._first is None or self._count < fewest or not self._prompts_differ:
                return None
            call, failure = self._first
        advice = f"correct the parameter that it names, or give another model than {call.body.get('model')} as --model"
        return BadConfig(f"{self._base}: refuses every call in the same words ({failure.detail}); {advice}")


def _of_this_call(call: Call, failure: Failure) -> bool:
    """Whether others need not fail so: the call expects it, or it may be mended, or it is about what was asked."""
    mended = renamed(failure) is not None or refused_parameter(failure) in call.body
    mended = mended or _TOO_LONG.search(failure.detail) is not None
    return mended or failure.reason == "refused" or failure.status in (*call.final, _TOO_LARGE)


def _prompt_of(call: Call) -> object:
    return call.body.get("messages", call.body.get("prompt"))
