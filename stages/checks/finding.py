"""Findings: all is well, a fault with the next move, or nothing certain. A check that breaks is a finding, too."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stages.errors import SealError

MAX_LETTERS = 400  # of an error's own words


@dataclass(frozen=True)
class Finding:
    """One check. `ok` is None if unknown. `advice` is set whenever `ok` is False."""

    check: str
    ok: bool | None
    found: str
    advice: str | None = None


def guard(check: str, advice: str, make: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of `make`. If it raises, the last one is the error, with its own advice or else this one."""
    try:
        yield from make()
    except Exception as error:  # noqa: BLE001 — the doctor looks at what is broken in ways that nobody has listed
        yield from_error(check, error, advice)


def from_error(check: str, error: Exception, advice: str) -> Finding:
    """Make a finding of an error. The next move stands after the semicolon of a message of ours."""
    words = " ".join(str(error).split())
    words = words if len(words) <= MAX_LETTERS else f"{words[: MAX_LETTERS - 1]}…"
    if isinstance(error, SealError):
        found, _, move = words.partition("; ")
        return Finding(check, False, found, move or advice)
    if isinstance(error, ImportError):
        return Finding(check, False, words, "install what is missing: pip install -e . where seal's pyproject.toml is")
    own = isinstance(error, OSError) and words
    return Finding(check, False, words if own else f"{type(error).__name__}: {words}", advice)
