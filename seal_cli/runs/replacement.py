"""What a new FILE has of the one that it replaces: lines that were taken over, and tasks that were withdrawn."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seal_cli.runs.manifest import is_whole, read_manifest

_FACTS = ("reused", "withdrawn")


def compare_to_file(output: Path, stage: str, digest: str, lines: Iterable[bytes], reused: int) -> dict[str, Any]:
    """Return what the manifest of a new FILE says of the one before it; nothing where no run of this stage made that.

    `reused`: how many of its lines are that one's. `withdrawn`: the ids of tasks of which that one has lines and it has
    none. `digest`: of the new one. Its very content may be there, or a crash came between manifest and file: what was
    said then is said again.
    """
    made = read_manifest(output) if output.exists() else {}
    if made.get("stage") != stage:
        return {}
    if made.get("sha256") == digest:
        return {key: made[key] for key in _FACTS if key in made}
    if not is_whole(output, made):
        return {}
    with output.open("rb") as before:
        gone = _list_tasks(before) - _list_tasks(lines)
    facts = {"reused": reused, "withdrawn": sorted(gone)}
    return facts if any(facts.values()) else {}


def _list_tasks(lines: Iterable[bytes]) -> set[str]:
    """The ids of the tasks that lines are about; a checkpoint's is about none."""
    found = set[str]()
    for line in map(json.loads, lines):
        task = line.get("task")
        found |= {str(task["id"] if task else line["task_id"])} if task or "task_id" in line else set()
    return found
