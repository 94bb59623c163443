"""Negative controls: products broken on purpose, which the torture must find. Each patches a child's modules."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fault_injection.trial import Patch


@dataclass(frozen=True)
class Control:
    """What is broken, the case and the faults that must show it, and the words of the complaint."""

    name: str
    case: str
    faults: tuple[str, ...]
    patch: Patch
    complaint: str
    is_there: Callable[[], bool] = lambda: True


def forget_to_sync() -> None:
    """fsync says that all is well and does nothing."""
    for name in ("fsync", "fdatasync"):
        setattr(os, name, lambda descriptor: None)


def publish_by_writing() -> None:
    """A file takes its name by being written there, in two halves, instead of being renamed."""
    for name in ("rename", "replace"):
        setattr(os, name, written_instead(getattr(os, name)))


def written_instead(rename: Callable[..., None]) -> Callable[..., None]:
    def write(source: Any, target: Any, **options: Any) -> None:
        if not Path(source).is_file():
            return rename(source, target, **options)
        data = Path(source).read_bytes()
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, data[: len(data) // 2])
        os.write(descriptor, data[len(data) // 2 :])
        os.close(descriptor)
        return os.unlink(source)  # noqa: PTH108

    return write


def leave_torn_lines() -> None:
    """What a killed process left half written stays, and the next line is glued to it."""
    journal = importlib.import_module("seal_cli.runs.journal").Journal
    journal._cut = journal._is_arranged = lambda *given: True


def has_journal() -> bool:
    try:
        journal = importlib.import_module("seal_cli.runs.journal").Journal
    except ImportError:
        return False
    return hasattr(journal, "_cut") and hasattr(journal, "_is_arranged")


TABLE = (
    Control("no-repair", "generate", ("torn",), leave_torn_lines, "run again, ", has_journal),
    Control("no-sync", "tasks", ("power", "power-names"), forget_to_sync, "not whole"),
    Control("no-sync-of-lines", "generate", ("power", "power-names"), forget_to_sync, "lines are gone"),
    Control("no-rename", "tasks", ("kill", "kill-after", "full"), publish_by_writing, "not whole"),
)
CONTROLS = {control.name: control for control in TABLE}
