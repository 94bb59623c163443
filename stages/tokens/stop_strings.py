"""Stop strings: a text ends before the first of them. They count wherever the model writes them, also in a thought."""

from collections.abc import Sequence


def find_stop(text: str, stops: Sequence[str], start: int = 0) -> int | None:
    """Return where the first stop string begins, at `start` or behind it; None where there is none."""
    found = [place for stop in stops if (place := text.find(stop, start)) >= 0]
    return min(found, default=None)


def hold_back(text: str, stops: Sequence[str]) -> str:
    """Return what may be shown of a text that goes on: nothing that may become a stop string."""
    begun = (size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size]))
    return text[: len(text) - max(begun, default=0)]
