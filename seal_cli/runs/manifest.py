"""FILE.manifest.json: how FILE was made. It also tells the same command, run again, that there is nothing to do."""

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

from seal_cli.runs.settings import digest_of
from stages.files import replace_file

_PACKAGES = ("seal-toolkit", "torch", "transformers", "peft", "trl", "vllm")


def get_manifest_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.manifest.json")


def read_manifest(output: Path) -> dict[str, Any]:
    """The manifest beside a file; empty where there is none that can be read, or one that `write` did not make."""
    try:
        found = json.loads(get_manifest_path(output).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and _are_counts(found.get("counts")) else {}


def _are_counts(found: object) -> bool:
    """Whether this is an object of whole numbers. True is none."""
    return isinstance(found, dict) and all(type(value) is int for value in found.values())


def write_manifest(output: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Settings and their digest, versions, and the `facts` of this run. Keys are never among them."""
    manifest = {
        "stage": settings.get("stage"),
        "command": sys.argv[1:],
        "settings": settings,
        "digest": digest_of(settings),
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
    """The installed version; None where there is none, as for seal run from a checkout that is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of seal's own checkout, if it runs from one and there is a git to ask."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        told = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return told.stdout.strip() or None


def is_whole(output: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether the file still holds what the manifest says."""
    found = hashlib.sha256()
    with output.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return bool(manifest.get("sha256") == found.hexdigest())
