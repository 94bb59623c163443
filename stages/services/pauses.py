"""How long a server asks us to wait before the next request."""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def get_retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds, from `retry-after-ms` or `retry-after` (seconds or an HTTP date). None: it does not say, or nonsense.

    `headers` have lower-case names; `now` is in seconds since the epoch.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    return seconds if seconds is not None or text is None else _until(text, now)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _until(date: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None
