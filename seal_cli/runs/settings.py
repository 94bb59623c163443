"""The settings of a run: written down, digested, and compared with those of the run before."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def to_bytes(settings: Mapping[str, Any]) -> bytes:
    return (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode()


def _portable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What says how lines are made wherever things lie: a model whose weights are known goes without its name."""
    return {key: value for key, value in settings.items() if key != "model" or not settings.get("weights")}


def are_alike(there: Any, now: Mapping[str, Any]) -> bool:
    """Whether two runs make the same lines; the model may have moved."""
    return isinstance(there, dict) and _portable(there) == _portable(now)


def digest_of(settings: Mapping[str, Any]) -> str:
    """16 hex digits of the settings: settings that are alike, equal digest."""
    return hashlib.sha256(to_bytes(_portable(settings))).hexdigest()[:16]


def differences(there: Any, now: Mapping[str, Any]) -> str:
    """Which settings differ, each with both values."""
    if not isinstance(there, dict):
        return "it is there, but not the settings it was made with"
    moved = there.get("weights") == now.get("weights")
    old, new = (_flat(_portable(each) if moved else each) for each in (there, now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    found = ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r} now" for key in keys[:4])
    return f"made with other settings: {found}{f' and {len(keys) - 4} more' if len(keys) > 4 else ''}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `fit.rank`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
