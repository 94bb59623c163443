"""run → run: point RUN/current to the version before, or to another that was released."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stages.errors import BadConfig, BadInput, MissingInput
from stages.versions import (
    CURRENT,
    History,
    Version,
    check_version,
    hold_versions,
    list_active,
    locate_version,
    read_versions,
)


@dataclass(frozen=True)
class Rollback:
    """What became of a rollback: the version in use, and the one that was before; None where that is the same."""

    now: Version
    before: Version | None


@dataclass(frozen=True)
class ListedVersion:
    """A released version: whether `current` leads there, and why it cannot be taken, if it cannot."""

    version: Version
    current: bool
    fault: str | None


def run(folder: Path, to: str | None = None) -> Rollback:
    """Point `current` to the version that was in use before, or to the one with the id `to`.

    What a rollback that was killed has begun is ended. Raises MissingInput without a version to go back to or where its
    adapter is gone, BadInput where that was changed, BadConfig for an unknown id, Locked.
    """
    _check_folder(folder)
    with hold_versions(folder) as history:
        if not history.entries:
            raise MissingInput(f"{folder}: no version was released; `seal card {folder}` does it")
        last = history.entries[-1]
        unfinished = not _is_current(folder, last)
        if to is None and unfinished and last.rolled_back is not None:
            target = last
        else:
            target = _find_before(folder, history) if to is None else _find_released(folder, history, to)
        check_version(folder, target)
        if target.adapter == last.adapter:
            history.point()
            return Rollback(last, None)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        entry = target.model_copy(update={"when": when, "rolled_back": last.adapter.id})
        history.add(entry)
        return Rollback(entry, last)


def list_versions(folder: Path) -> Iterator[ListedVersion]:
    """Yield every adapter that was released, in the order of their last releases. Raises MissingInput or BadInput."""
    _check_folder(folder)
    last: dict[str, Version] = {}
    for entry in read_versions(folder):
        if entry.rolled_back is None:
            last.pop(entry.adapter.id, None)
            last[entry.adapter.id] = entry
    for version in last.values():
        fault = None
        try:
            check_version(folder, version)
        except (BadInput, MissingInput) as error:
            fault = str(error)
        yield ListedVersion(version, _is_current(folder, version), fault)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise (BadInput if folder.exists() else MissingInput)(f"{folder}: no folder; give that of a run")


def _is_current(folder: Path, version: Version) -> bool:
    """True if the link leads to this version."""
    link = folder / CURRENT
    return link.is_symlink() and link.resolve() == locate_version(folder, version).resolve()


def _find_before(folder: Path, history: History) -> Version:
    active = list_active(history.entries)
    if len(active) < 2:
        raise MissingInput(
            f"{folder}: {active[0].adapter.id} is the first version, and there is none before it; "
            f"all that were released: seal rollback {folder} --list"
        )
    return active[-2]


def _find_released(folder: Path, history: History, name: str) -> Version:
    for entry in reversed(history.entries):
        if entry.adapter.id == name:
            return entry
    raise BadConfig(f"--to {name}: no version of that id was released; take one of: seal rollback {folder} --list")
