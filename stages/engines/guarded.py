"""A guard around user-supplied engines: reports their errors as theirs, and checks what they return."""

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from stages.interfaces import Completion, Finish, NullProgress, Progress, Request
from stages.plugins import Plugin, format_value

_ENGINE_NEEDS = "an engine has a model and sample(requests, progress), as in stages.interfaces"


class GuardedEngine:
    """Samples with the user's class. Raises BadConfig, with its file and line, if it raises or returns none."""

    def __init__(self, name: str, kind: Any, model: str, **settings: Any) -> None:
        self.theirs = Plugin("--engine", name, kind, model, **settings)
        self.model = self.theirs.text("model", _ENGINE_NEEDS)
        self.method = self.theirs.method("sample", _ENGINE_NEEDS)

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        """Yield one completion per request."""
        asked = list(requests)
        left = {request.id for request in asked}
        for found in self.theirs.each(self.method, asked, progress):
            if fault := _fault_of_completion(found):
                raise self.theirs.wrong(f"gave {format_value(found)}, which {fault}")
            if found.id not in left:
                raise self.theirs.wrong(f"gave a completion for {format_value(found.id)}, which no request waits for")
            left.remove(found.id)
            yield found
        if left:
            raise self.theirs.wrong(f"gave no completion for {len(left)} of {len(asked)} requests")


def _fault_of_completion(found: object) -> str | None:
    """Why this is no completion; None where it is one. A failed one without its error would be a wrong answer."""
    if not isinstance(found, Completion):
        return "is no Completion(id, text, finish, tokens, error)"
    if not isinstance(found.text, str) or not (found.error is None or isinstance(found.error, str)):
        return "has a text or an error that is none"
    if found.finish not in get_args(Finish):
        return f"ends with none of {', '.join(get_args(Finish))}"
    if not (found.tokens is None or _is_count(found.tokens)):
        return "has tokens that are no number"
    return 'is "failed" without an error' if found.finish == "failed" and not found.error else None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
