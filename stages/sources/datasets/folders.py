"""Folders as sources: which files lie in them, in which order, and which are left out for which reason.

Folders are read to any depth, by name, one listing at a time: however many files there are, none is kept.
"""

import difflib
import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.file_kinds import ANNEXED, HEAD_BYTES, STAND_INS, TEXT_SUFFIXES, detect_by_bytes, detect_folder
from stages.records.jsonl import OnReject, Reject, raise_on_reject
from stages.sources.datasets.compressed import strip_gz

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
TABLE_SUFFIXES = (".parquet", ".arrow", ".csv", ".tsv")
_MODEL_ENDINGS = (".json", ".safetensors", ".model", ".txt", ".jinja", ".tiktoken")  # that are read of its folder
OF_DATASET = re.compile(
    r"(readme|licen[cs]e|dataset_infos?|dataset_dict|state)\b", re.IGNORECASE
)  # of a stored dataset
_OWN = re.compile(r".*\.(manifest|part)\.json")  # what a run of ours lays beside its output
_MOST_NAMES = 10_000  # of a folder that are compared with a name that is not there


@dataclass(frozen=True)
class Omission:
    """A file or folder that is left out. `kind` is the name it is counted under; `reason` may say more."""

    path: str
    kind: str
    reason: str = ""


OnOmission = Callable[[Omission], object]


def ignore(told: object) -> None:
    """Do nothing with an omission."""


def walk(
    root: Path,
    *,
    leave_out: OnOmission = ignore,
    refuse: OnReject = raise_on_reject,
    mine: Collection[tuple[int, int]] = (),
) -> Iterator[Path]:
    """Yield the regular files of a folder and its subfolders, by name.

    Hidden files, pipes and devices, models and adapters, links that lead out of the folder (but into the store of a
    hub's cache or of git-annex), and links to folders that are read already are left out; files
    that are `mine` (by device and inode) are passed over; a folder that cannot be listed is told to `refuse`. Raises
    OSError where `root` is that folder.
    """
    seen, homes = {_identify(root.stat())}, _list_homes(root)
    pending = [iter(list_names(root))]
    folders = [root]
    while pending:
        name = next(pending[-1], None)
        if name is None:
            pending.pop()
            folders.pop()
            continue
        path = folders[-1] / name
        try:
            found = path.stat()
            if _identify(found) in mine:
                continue
            if kind := _name_omission(path, found, seen, homes):
                leave_out(Omission(str(path), kind))
            elif stat.S_ISDIR(found.st_mode):
                pending.append(iter(list_names(path)))
                folders.append(path)
                seen.add(_identify(found))
            else:
                yield path
        except OSError as error:
            report_unreadable(path, error, leave_out, refuse)


def list_names(folder: Path) -> list[str]:
    """List the names in a folder, sorted by code points."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


def _identify(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _list_homes(root: Path) -> list[Path]:
    """Where links may lead: into the folder, and to where a hub's cache and git-annex keep the files that they link."""
    real = root.resolve()
    above = (real, *real.parents)
    hub = [folder.with_name("blobs") for folder in above if folder.name == "snapshots"]
    return [real, *hub, *(folder / ".git" / "annex" for folder in above)]


def _name_omission(
    path: Path, found: os.stat_result, seen: Collection[tuple[int, int]], homes: Collection[Path]
) -> str | None:
    """The kind under which a file or folder is left out, whatever it holds; None for one that may be read."""
    if path.name.startswith("."):
        return "hidden"
    if _OWN.fullmatch(path.name):
        return "made by seal"
    if path.is_symlink() and not any(path.resolve().is_relative_to(home) for home in homes):
        return "link out of the folder"
    if stat.S_ISREG(found.st_mode):
        return None
    if not stat.S_ISDIR(found.st_mode):
        return "pipe or device"
    if _identify(found) in seen:
        return "folder that is there twice"
    kind = detect_folder(path)
    return kind.name.removeprefix("a ") if kind else None


def report_unreadable(path: Path, error: OSError, leave_out: OnOmission, refuse: OnReject) -> None:
    """Reject an unreadable text or data file or folder; leave out any other."""
    if path.name.startswith("."):
        leave_out(Omission(str(path), "hidden"))
    elif path.suffix.lower() in (*TEXT_SUFFIXES, *JSON_SUFFIXES, *TABLE_SUFFIXES) or error.errno in (
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
    ):
        refuse(reject_file(path, f"cannot be read ({error.strerror}{_of_link(path)})"))
    else:
        leave_out(Omission(str(path), "link to nothing" if path.is_symlink() else "unreadable"))


def _of_link(path: Path) -> str:
    return f", {explain_link(path)}" if path.is_symlink() and not path.exists() else ""


def explain_link(path: Path) -> str:
    """Describe a link that leads nowhere."""
    try:
        annexed = "annex/objects/" in path.readlink().as_posix()
    except OSError:
        annexed = False
    return ANNEXED.tell(str(path)) if annexed else "a link to nothing"


def find_placeholder(folder: Path) -> str | None:
    """Return a model's first placeholder file, and what to do about it; None if all are real files."""
    for path in sorted(each for each in folder.iterdir() if each.suffix.lower() in _MODEL_ENDINGS):
        if path.is_symlink() and not path.exists():
            return f"{path}: {explain_link(path)}"
        if path.is_file():
            with path.open("rb") as file:
                kind = detect_by_bytes(file.read(HEAD_BYTES))
            if kind in STAND_INS:
                return f"{path}: {kind.tell(str(path))}"
    return None


def get_mode(source: str | Path) -> int:
    """Return a path's mode as `stat` has it; 0 if it does not exist. Raises OSError if it may not be looked at."""
    try:
        return Path(source).stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return 0
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return 0
        raise


def reject_file(path: Path | str, reason: str, raw: bytes = b"") -> Reject:
    """Make the reject of a whole file."""
    return Reject(str(path), 0, 0, reason, raw)


def holds_tables(root: Path) -> bool:
    """True for a stored dataset: tables, and beside them nothing that is read, but for what tells of it."""
    found: set[str] = set()
    about = False
    for path in walk(root, refuse=lambda reject: None):
        suffix = strip_gz(path).suffix.lower()
        if suffix in TABLE_SUFFIXES:
            found.add(suffix)
        elif suffix in (*TEXT_SUFFIXES, *JSON_SUFFIXES):
            about = True
            if not OF_DATASET.match(path.name):
                return False
    return bool(found) and (not about or bool(found & {".parquet", ".arrow"}))


def suggest_paths(path: Path) -> str:
    """Return `; did you mean A, B?` for a missing path, from the names beside it; else an empty text."""
    folder = path.parent
    missing = path.name
    while not folder.is_dir() and folder != folder.parent:
        folder, missing = folder.parent, folder.name
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MOST_NAMES), strict=False)]
    except OSError:
        return ""
    lowered: dict[str, str] = {name.lower(): name for name in sorted(names)}
    near = [lowered[name] for name in difflib.get_close_matches(missing.lower(), lowered, n=3, cutoff=0.6)]
    stems = [name for name in sorted(names) if Path(name).stem == Path(missing).stem and name not in near]
    found = [str(folder / name) for name in [*near, *stems][:3]]
    return f"; did you mean {' or '.join(found)}?" if found else ""
