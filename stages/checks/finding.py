"""What a check says: fine, wrong with the next move, or not to be told. A check that breaks is a finding too."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stages.errors import SealError

LONGEST = 400  # characters of an error's own words


@dataclass(frozen=True)
class Finding:
    """One check. ok None: it could not be told, or need not be. advice is always there where ok is False."""

    check: str
    ok: bool | None
    found: str
    advice: str | None


def fine(check: str, found: str) -> Finding:
    return Finding(check, True, found, None)


def wrong(check: str, found: str, advice: str) -> Finding:
    return Finding(check, False, found, advice)


def unknown(check: str, found: str, advice: str | None = None) -> Finding:
    return Finding(check, None, found, advice)


def guard(check: str, advice: str, make: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of `make`. An error ends them with one more: its own words, and its own advice or else this one."""
    try:
        yield from make()
    except Exception as error:  # noqa: BLE001
        yield from_error(check, error, advice)


def from_error(check: str, error: Exception, advice: str) -> Finding:
    """The error as a finding. The house's own messages have the next move after a semicolon."""
    words = " ".join(str(error).split())
    words = words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…"
    if isinstance(error, SealError):
        found, _, move = words.partition("; ")
        return wrong(check, found, move or advice)
    if isinstance(error, ImportError):
        return wrong(check, words, "install what is missing: pip install -e . where seal's pyproject.toml is")
    return wrong(check, words if isinstance(error, OSError) and words else f"{type(error).__name__}: {words}", advice)
