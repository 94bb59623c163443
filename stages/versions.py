"""The versions of a run: its adapters that passed their gate, in RUN/versions.jsonl, and the one in use, RUN/current.

`current` is a link to an adapter's directory. The file is the history of that link, a line for each time that it was
pointed anew; the line is on the disk before the link changes. So after a crash the link is the old one or the new one,
and the same command again ends what was begun.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pydantic import Field

from stages.errors import BadInput, ExistingOutput, MissingInput
from stages.files import open_own, replace_link, write_all
from stages.fingerprints import fingerprint_folder
from stages.models.adapter_checks import read_adapter
from stages.models.tuned_models import is_tuned_model, read_tuned_model
from stages.records.adapter_paths import get_base_folders, get_relative_path, list_adapter_paths
from stages.records.frozen import FrozenModel, Id
from stages.records.jsonl import Lines, encode_line, validate

VERSIONS_FILE, CURRENT = "versions.jsonl", "current"
_BUSY = "another process releases a version or rolls one back; wait for its end"


class ReleasedAdapter(FrozenModel):
    """An adapter's id, and the path to its directory from the folder of the file, as lines of a run have them."""

    id: Id
    path: str


class Version(FrozenModel):
    """One line of versions.jsonl: what `current` was pointed to, and why."""

    adapter: ReleasedAdapter
    fingerprint: str
    """Of the adapter's files when it was released."""
    when: str
    """ISO 8601, UTC."""
    gate: str
    """The rule that the adapter passed."""
    card: str
    """The sha256 of the card that says so."""
    rolled_back: str | None = Field(None, exclude_if=lambda value: value is None)
    """The id of the version that was given up for this one; left out where the line is a release."""


@contextmanager
def hold_versions(run: Path) -> Iterator["History"]:
    """Yield the history of a run's `current`, which nobody else changes meanwhile. Raises Locked.

    Raises ExistingOutput where `current` is no link, BadInput for a line that is none.
    """
    link = run / CURRENT
    if link.exists() and not link.is_symlink():
        raise ExistingOutput(f"{link}: is no link, and would be replaced by one; move it away")
    descriptor = open_own(run / VERSIONS_FILE, busy=_BUSY)
    try:
        yield History(run, descriptor)
    finally:
        if not os.fstat(descriptor).st_size:
            (run / VERSIONS_FILE).unlink(missing_ok=True)
        os.close(descriptor)


class History:
    """The history of a run's `current`, to be added to."""

    def __init__(self, run: Path, descriptor: int) -> None:
        self.run, self._descriptor = run, descriptor
        self.entries, self._end = _read(run / VERSIONS_FILE)

    def add(self, entry: Version) -> None:
        """Point `current` to this version, and say so in the file first."""
        os.ftruncate(self._descriptor, self._end)  # what a crash tore
        write_all(self._descriptor, encode_line(entry))
        os.fsync(self._descriptor)
        self.entries = [*self.entries, entry]
        self._end = os.fstat(self._descriptor).st_size
        self.point()

    def point(self) -> None:
        """Point `current` to the version of the last entry, as it may not have been after a crash."""
        replace_link(self.run / CURRENT, self.entries[-1].adapter.path)


def read_versions(run: Path) -> list[Version]:
    """Return the history of a run's `current`, oldest first; none where nothing was released. Raises BadInput."""
    return _read(run / VERSIONS_FILE)[0]


def _read(file: Path) -> tuple[list[Version], int]:
    """The entries, and the bytes that they take: a torn last line is none."""
    data = b""
    with suppress(FileNotFoundError):
        data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    return list(Lines(whole.splitlines(keepends=True), str(file), partial(validate, Version))), len(whole)


def list_active(entries: Sequence[Version]) -> list[Version]:
    """Return the versions that were not given up, the one in use last: each release on top of those before."""
    return _follow(entries)[0]


def _follow(entries: Sequence[Version]) -> tuple[list[Version], set[tuple[str, str]]]:
    """The active versions, and those that a rollback gave up and nobody took since: id and fingerprint."""
    active, given_up = list[Version](), set[tuple[str, str]]()
    for entry in entries:
        if entry.rolled_back is None:
            active = [each for each in active if each.adapter != entry.adapter]
        else:
            place = next((at for at, each in enumerate(active) if each.adapter == entry.adapter), len(active))
            given_up |= {(each.adapter.id, each.fingerprint) for each in active[place + 1 :]}
            active = active[:place]
        given_up.discard((entry.adapter.id, entry.fingerprint))
        active.append(entry)
    return active, given_up


def release(
    run: Path, adapter: Path, *, adapter_id: str, gate: str, card: Path, fingerprint: str | None = None
) -> Version:
    """Point RUN/current to an adapter that passed its `gate`, as the file `card` says, and note it in versions.jsonl.

    Returns the version that is in use then: another one where a rollback gave up this adapter with these files, which
    no gate undoes, whatever its card says. The same again changes nothing. Raises BadInput or MissingInput for an
    adapter that is not whole, or whose files have not the `fingerprint` that its card proved, Locked.
    """
    (read_tuned_model if is_tuned_model(adapter) else read_adapter)(adapter)
    entry = Version(
        adapter=ReleasedAdapter(id=adapter_id, path=get_relative_path(run, str(adapter))),
        fingerprint=fingerprint_folder(adapter),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        gate=gate,
        card=hashlib.sha256(card.read_bytes()).hexdigest(),
    )
    if fingerprint not in (None, entry.fingerprint):
        raise BadInput(
            f"adapter {adapter}: was changed since its card was made; ask it again, with the same `seal eval`"
        )
    with hold_versions(run) as history:
        given_up = (adapter_id, entry.fingerprint) in _follow(history.entries)[1]
        same = {"when": entry.when, "rolled_back": None}
        if given_up or (history.entries and history.entries[-1].model_copy(update=same) == entry):
            history.point()  # as it may not have been after a crash
        else:
            history.add(entry)
        return history.entries[-1]


def find_current(run: Path) -> Path:
    """Return the directory of the adapter that RUN/current leads to. Raises MissingInput where there is none."""
    link = run / CURRENT
    if not link.is_symlink():
        way = "release an adapter (`seal card`), or name one"
        raise MissingInput(f"{run}: has no current version; {way}")
    found = link.resolve()
    if not found.is_dir():
        raise MissingInput(f"{link}: leads to {found}, which is gone; take another: seal rollback {run} --list")
    return found


def locate_version(run: Path, version: Version) -> Path:
    """Return the directory of a version's adapter, wherever the run lies now."""
    places = list_adapter_paths(version.adapter.path, version.adapter.id, get_base_folders(run / VERSIONS_FILE)[:1])
    paths = list(map(Path, places))
    return next((path for path in paths if path.is_dir()), paths[0])


def check_version(run: Path, version: Version) -> None:
    """Raise MissingInput or BadInput, by its name, for a version whose adapter is gone or was changed."""
    path, name = locate_version(run, version), f"version {version.adapter.id}"
    if not path.is_dir():
        raise MissingInput(f"{name}: its adapter {path} is gone; take another (seal rollback {run} --list)")
    if fingerprint_folder(path) != version.fingerprint:
        told = "was changed since it was released"
        raise BadInput(f"{name}: its adapter {path} {told}; take another (seal rollback {run} --list)")
