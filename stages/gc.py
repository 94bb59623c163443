"""run → less disk: remove adapter directories that no line names, and leftovers of killed runs."""

import fcntl
import fnmatch
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from stages.cluster.place import list_left_proofs
from stages.errors import BadInput, MissingInput
from stages.files import PARTIAL_NAME, TRAINING_FILE, hold_leftover, open_locked
from stages.fingerprints import MODEL_FILES
from stages.models.checkpoints import BASE_KEY, CHECKPOINT_FILE
from stages.models.directories import read_metadata, read_object
from stages.models.tuned_models import ADAPTER_KEY
from stages.records.adapter_paths import get_base_folders, list_adapter_paths
from stages.records.frozen import CONTENT_ID

_ADAPTER = {"adapter_config.json", "adapter_model.safetensors"}
_MODEL = (*MODEL_FILES, CHECKPOINT_FILE)
_LINES = (".jsonl", ".ndjson", ".part")
_PACKED = (".jsonl.gz", ".jsonl.zst", ".jsonl.xz", ".jsonl.bz2")


@dataclass(frozen=True)
class Waste:
    """A directory that may be removed, with its size in bytes. `finished`: an adapter; else an unfinished one.

    Or (`proof`) a file by which the killed driver of a cluster knew that its workers share the folder.
    """

    path: Path
    size: int
    finished: bool
    proof: bool = False


@dataclass
class Finds:
    """What a run's folder holds: lines also behind links, directories without."""

    lines: list[Path] = field(default_factory=list)
    documents: list[Path] = field(default_factory=list)  # other JSON, which may quote lines
    adapters: list[Path] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    proofs: list[Path] = field(default_factory=list)  # files of drivers that do not live any more


def run(folder: Path, *, remove: bool = False) -> Iterator[Waste]:
    """Yield the adapters that no line in `folder`, beside it or in the working folder names, and the leftovers.

    With `remove` each is gone when it is told.

    Only what `seal adapt` and `seal sft` write is taken, and nothing behind a link. Raises Locked while a run writes
    there, BadInput where there are no lines at all: then every adapter would go.
    """
    first = _survey(folder)
    places = {each.parent for each in (*first.adapters, *first.leftovers)}
    with ExitStack() as held:
        for path in sorted(places):  # from here on no run begins that writes adapters there, or reads them
            held.callback(os.close, open_locked(path, fcntl.LOCK_EX))
        found = _survey(folder)  # once more: a run may have ended meanwhile, with lines of its own
        known, left = ([path for path in paths if path.parent in places] for paths in (found.adapters, found.leftovers))
        for path in left:
            with hold_leftover(path):
                pass  # before anything goes: who builds one of them raises Locked
        paths, ids = _find_named(found)
        lost = [path for path in known if os.path.realpath(path) not in paths and path.name not in ids]
        for path, finished in (*((each, True) for each in lost), *((each, False) for each in left)):
            waste = Waste(path, _size_of(path), finished)
            if remove:
                with hold_leftover(path):
                    shutil.rmtree(path)
            yield waste
        for path in found.proofs:
            waste = Waste(path, path.stat().st_size, finished=False, proof=True)
            if remove:
                path.unlink()
            yield waste


def _survey(folder: Path) -> Finds:
    """Find adapters without following links, and lines behind links, too. Raises MissingInput or BadInput."""
    if not folder.is_dir():
        raise (BadInput if folder.exists() else MissingInput)(f"{folder}: no folder; give that of a run")
    found, linked, seen = Finds(), [folder], set[str]()
    for top in linked:
        for place, folders, files in os.walk(top, onerror=_raise):
            if os.path.realpath(place) in seen:
                folders.clear()
                continue
            seen.add(os.path.realpath(place))
            for path in [Path(place, name) for name in sorted(folders)]:
                kind = found.adapters if _is_adapter(path) else found.leftovers if _is_leftover(path) else None
                if path.is_symlink():
                    linked.append(path)
                elif kind is not None:
                    folders.remove(path.name)
                    kind += [path] if top == folder else []
            found.proofs += list_left_proofs(Path(place)) if top == folder else []
            for path in (Path(place, name) for name in sorted(files)):
                if path.name.endswith(_PACKED) and top == folder:
                    raise BadInput(f"{path}: its lines may name adapters and are not read; unpack it, or move it away")
                if path.suffix in _LINES or path.with_name(f"{path.name}.manifest.json").exists():
                    found.lines.append(path)
                elif path.suffix == ".json":
                    found.documents.append(path)
    if not found.lines:
        raise BadInput(f"{folder}: holds no JSON lines, so that no adapter is named; give the folder with lines in it")
    found.lines += _lines_beside(folder)
    return found


def _raise(error: OSError) -> None:
    """End the search: a folder that cannot be read may hold lines."""
    raise error


def _lines_beside(folder: Path) -> list[Path]:
    """List line files of the working folder and the one above: `-o here.jsonl` puts them there."""
    inside = folder.resolve()
    places = {place for place in (Path.cwd(), inside.parent) if place != inside and inside not in place.parents}
    return sorted(path for place in places for path in place.iterdir() if path.suffix in _LINES and path.is_file())


def _is_adapter(path: Path) -> bool:
    """True if `seal adapt` wrote the directory, and nobody has put anything else into it."""
    files = _contents(path) if CONTENT_ID.fullmatch(path.name) else None
    try:
        if files and CHECKPOINT_FILE in files:  # a model, trained in full
            return _are_all(files, _MODEL) and read_object(path / CHECKPOINT_FILE).get(ADAPTER_KEY) == path.name
        return files == _ADAPTER and BASE_KEY in read_metadata(path / "adapter_model.safetensors")
    except (BadInput, MissingInput, OSError):
        return False


def _is_leftover(path: Path) -> bool:
    """True if a killed run was building the directory, an adapter's or a model's."""
    partial, files = PARTIAL_NAME.fullmatch(path.name), _contents(path)
    if not partial or files is None:
        return False
    known = (*_ADAPTER, *_MODEL, f"{TRAINING_FILE}*") if CONTENT_ID.fullmatch(partial[1]) else _MODEL
    return _are_all(files, known)


def _are_all(files: Iterable[str], patterns: Iterable[str]) -> bool:
    """True if each of these names is of one of the patterns."""
    return all(any(fnmatch.fnmatch(name, pattern) for pattern in patterns) for name in files)


def _contents(path: Path) -> set[str] | None:
    """The names of its files; None for a link, and for a directory that holds anything but files."""
    if path.is_symlink():
        return None
    entries = list(os.scandir(path))
    return {entry.name for entry in entries} if all(entry.is_file(follow_symlinks=False) for entry in entries) else None


def _find_named(found: Finds) -> tuple[set[str], set[str]]:
    """(real paths, ids) of the adapters that lines name; ids where a path leads nowhere or a line cannot be read.

    One file is open at a time: there may be more than a process can hold. Raises Locked for one that a run writes.
    """
    paths: set[str] = set()
    ids = {match[0] for path in found.documents for match in CONTENT_ID.finditer(path.read_text("utf-8", "replace"))}
    for file in found.lines:
        folders = get_base_folders(file)
        with os.fdopen(open_locked(file, fcntl.LOCK_SH), "rb") as lines:
            for line in lines:
                told = _adapter_path(line) if b"adapter" in line else ""
                if told is None:
                    ids |= set(CONTENT_ID.findall(line.decode("utf-8", "replace")))
                elif told:
                    places = list_adapter_paths(told, Path(told).name, folders)
                    there = [place for place in places if os.path.isdir(place)]  # noqa: PTH112
                    paths |= {os.path.realpath(place) for place in there}
                    ids |= set() if there else {Path(told).name}
    return paths, ids


def _adapter_path(line: bytes) -> str | None:
    """The path to the adapter of a line; "" where that has none, None for what is no such line: a reject quotes one."""
    try:
        return str(json.loads(line)["adapter"].get("path") or "")
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return None


def _size_of(path: Path) -> int:
    return sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(path))
