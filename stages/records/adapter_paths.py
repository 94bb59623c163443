"""Paths to adapters: on a file's lines relative to the file's folder, so that both may move together.

On stdout and in the process it is told from the working folder, or absolute where it leads out of that: so a file that
stdout went to, or an older one, may tell it from there.
"""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from stages.errors import MissingInput
from stages.records.record import Record


def get_base_folders(file: Path | None) -> tuple[Path, ...]:
    """Return the folders that a file's paths may be relative to; for stdin (None, `-`) the working folder."""
    here = Path.cwd()
    return (here,) if file is None or str(file) == "-" else (Path(os.path.realpath(file)).parent, here)


def list_adapter_paths(path: str, adapter_id: str, folders: Sequence[Path]) -> Iterator[str]:
    """List absolute paths at which the adapter may lie, the likeliest first.

    Of a run that has moved with its lines the end of the path is still right: a directory that is named by the
    adapter's id, which follows from its content, is looked for beside the lines, too.
    """
    for folder in folders:
        yield os.path.normpath(folder / path)
    parts = Path(path).parts
    for start in range(len(parts) - 1, 0, -1) if parts[-1:] == (adapter_id,) else ():
        yield os.path.normpath(folders[0].joinpath(*parts[start:]))


def locate_adapter(line: Record, folders: Sequence[Path]) -> Record:
    """Return the line with the adapter's path from here: the first that exists, else where it should be."""
    adapter = line.adapter
    if adapter is None or adapter.path is None:
        return line
    places = list(dict.fromkeys(list_adapter_paths(adapter.path, adapter.id, folders)))
    found = next((place for place in places if os.path.isdir(place)), places[0])  # noqa: PTH112
    return _at(line, found.removeprefix(f"{folders[-1]}/"))


def make_missing_adapter_error(path: Path, folders: Sequence[Path]) -> MissingInput:
    """Make the error for an adapter that is nowhere, with the places that were tried."""
    place, told = os.path.abspath(path), os.path.relpath(path, folders[0])  # noqa: PTH100
    others = [] if told.startswith("..") else [os.path.normpath(folder / told) for folder in folders[1:]]
    places = " and ".join(dict.fromkeys([place, *others]))
    ways = "the lines came from stdin: give their file" if len(folders) == 1 else "a path is told from its line's file"
    return MissingInput(
        f"adapter {path}: no such directory (run `seal adapt` again, or copy it there: looked for at {places}; {ways})"
    )


def make_path_relative(line: Record, folder: Path) -> Record:
    """Return the line as it is written to a file in this folder: the adapter's path relative to it."""
    return _at(line, get_relative_path(folder, line.adapter.path)) if line.adapter and line.adapter.path else line


def remove_path(line: Record) -> Record:
    """Return the line without the adapter's path: what it says wherever that lies."""
    return _at(line, None)


def _at(line: Record, path: str | None) -> Record:
    if line.adapter is None or line.adapter.path == path:
        return line
    return line.grow(adapter=line.adapter.model_copy(update={"path": path}))


def get_relative_path(folder: Path, path: str) -> str:
    """Return a path relative to a folder, by its name if that leads there, else with all links resolved.

    It stays absolute where the two have nothing but the root in common: they will not move together.
    """
    parent, name = os.path.split(path)
    if name not in ("", ".", "..") and not os.path.islink(path):  # noqa: PTH114
        found = _name_parent(os.getcwd(), folder, parent)  # noqa: PTH109
        if found and not found.endswith(".."):  # which the name could lead back from
            return name if found == "." else f"{found}/{name}"
    here, there = os.path.realpath(folder), os.path.realpath(path)
    if named := _find_name(folder, path):
        return named
    apart = os.path.commonpath((here, there)) == os.sep
    return os.path.abspath(path) if apart else os.path.relpath(there, here)  # noqa: PTH100


@lru_cache(maxsize=64)
def _name_parent(cwd: str, folder: Path, parent: str) -> str | None:
    """Return `_find_name` for the folder that many adapters are in, each part of whose path it looks at."""
    return _find_name(folder, parent or cwd)


def _find_name(folder: Path, path: str) -> str | None:
    """Return the path from a folder as both are named, if it leads there."""
    named = os.path.relpath(path, os.path.abspath(folder))  # noqa: PTH100
    there = os.path.realpath(os.path.join(os.path.realpath(folder), named))  # noqa: PTH118
    return named if there == os.path.realpath(path) and not named.startswith(_to_root(folder)) else None


def _to_root(folder: Path) -> str:
    """What a path from this folder to anywhere else below the root begins with."""
    depth = len(Path(os.path.abspath(folder)).parts) - 1  # noqa: PTH100
    return "../" * depth if depth else "\0"


def are_same_line(one: Record, other: Record) -> bool:
    """True if two lines say the same of the same adapter, whatever path they name."""
    if one == other:
        return True
    paths = [line.adapter.path if line.adapter else None for line in (one, other)]
    if None in paths or remove_path(one) != remove_path(other):
        return False
    first, second = (os.path.realpath(path) for path in paths if path)
    return first == second
