"""FILE.manifest.json: how FILE was made. The same command, run again, finds there that there is nothing to do.

The settings of a run are compared and digested here, too.
"""

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stages.files import replace_file

_PACKAGES = ("seal-toolkit", "torch", "transformers", "peft", "trl", "vllm")


def get_manifest_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.manifest.json")


def read_manifest(output: Path) -> dict[str, Any]:
    """Read the manifest beside a file; empty if there is none that can be read, or that `write` made."""
    try:
        found = json.loads(get_manifest_path(output).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and _are_counts(found.get("counts")) else {}


def _are_counts(found: object) -> bool:
    """Return True for an object of whole numbers, as which True does not count."""
    return isinstance(found, dict) and all(type(value) is int for value in found.values())


def write_manifest(output: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write settings and their digest, versions, and the `facts` of this run. Keys are never among them."""
    manifest = {
        "stage": settings.get("stage"),
        "command": sys.argv[1:],
        "settings": settings,
        "digest": compute_digest(settings),
        "versions": {name: found for name in _PACKAGES if (found := version_of(name))}
        | {"python": platform.python_version()},
        "commit": commit(),
        "machine": platform.machine(),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    replace_file(get_manifest_path(output), text.encode("utf-8", "replace"))


def version_of(package: str) -> str | None:
    """Return the installed version; None if there is none, as for seal run from a checkout."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the commit of seal's own checkout, if it runs from one and git is there."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        told = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return told.stdout.strip() or None


def is_whole(output: Path, manifest: Mapping[str, Any]) -> bool:
    """Return True if the file still holds what the manifest says."""
    with output.open("rb") as file:
        return bool(manifest.get("sha256") == hashlib.file_digest(file, "sha256").hexdigest())


def to_bytes(settings: Mapping[str, Any]) -> bytes:
    return (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode()


def _portable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that hold wherever files lie: without the model's name if its weights are known."""
    return {key: value for key, value in settings.items() if key != "model" or not settings.get("weights")}


def are_alike(there: Any, now: Mapping[str, Any]) -> bool:
    """Return True if two runs make the same lines; the model may have moved."""
    return isinstance(there, dict) and _portable(there) == _portable(now)


def compute_digest(settings: Mapping[str, Any]) -> str:
    """Return 16 hex digits of the settings, equal for settings that make the same lines."""
    return hashlib.sha256(to_bytes(_portable(settings))).hexdigest()[:16]


def describe_differences(there: Any, now: Mapping[str, Any]) -> str:
    """Say which settings differ, each with both values."""
    if not isinstance(there, dict):
        return "it is there, but not the settings it was made with"
    moved = there.get("weights") == now.get("weights")
    old, new = (_flat(_portable(each) if moved else each) for each in (there, now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    found = ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r} now" for key in keys[:4])
    return f"made with other settings: {found}{f' and {len(keys) - 4} more' if len(keys) > 4 else ''}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings: `fit.rank`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
