"""The settings of a run: written down, digested, and compared with those of the run before."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def to_bytes(settings: Mapping[str, Any]) -> bytes:
    return (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode()


def digest_of(settings: Mapping[str, Any]) -> str:
    """16 hex digits of the settings: equal settings, equal digest."""
    return hashlib.sha256(to_bytes(settings)).hexdigest()[:16]


def differences(there: Any, now: Mapping[str, Any]) -> str:
    """Which settings differ, each with both values."""
    if not isinstance(there, dict):
        return "it is there, but not the settings it was made with"
    old, new = flat(there), flat(now)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    found = ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r} now" for key in keys[:4])
    return f"made with other settings: {found}{f' and {len(keys) - 4} more' if len(keys) > 4 else ''}"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `fit.rank`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
