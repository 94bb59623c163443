"""Files that are whole or absent, and on the disk before their name is: written, synced, renamed, the folder synced.

Everything that must survive a crash goes through here, by the functions of `os` alone, so that a test can make any one
of them fail.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".part"


def write_all(descriptor: int, data: bytes) -> None:
    """Writes every byte, however short the single writes are."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_file(path: Path, data: bytes) -> None:
    """A file with this content, on the disk. Its name is not safe before its folder is synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError as error:
        raise named(error, path) from None
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """The same under a name that may be taken: the old content or the new one, never half of it."""
    part = path.with_name(path.name + PART)
    write_file(part, data)
    rename(part, path)


def rename(part: Path, path: Path) -> None:
    """A finished file or folder under its own name."""
    part.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """What was written to a file is on the disk; of a folder, the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise named(error, path) from None
    finally:
        os.close(descriptor)


def named(error: OSError, path: Path) -> OSError:
    """The error with the file's name, which a failing write does not tell."""
    if error.errno and not error.filename:
        error.filename = str(path)
    return error


@contextmanager
def whole_directory(out: Path) -> Iterator[Path]:
    """A temporary directory to fill, renamed to `out` at the end: it is complete or absent. Raises OSError.

    It has a name of its own, so that two processes that build the same directory never mix. One of them wins.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{out.name}.", suffix=PART, dir=out.parent))
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes it private
        _publish(partial, out)
    except OSError as error:
        raise named(error, partial) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, out: Path) -> None:
    """Everything in `partial` is on the disk, then it takes the name; what had it before goes."""
    for path in [*partial.rglob("*"), partial]:
        sync(path)
    before = partial.with_name(f"{partial.name.removesuffix(PART)}.old{PART}")
    if out.exists():
        out.rename(before)
    try:
        rename(partial, out)
    except OSError:
        if before.exists() and not out.exists():
            before.rename(out)
        raise
    shutil.rmtree(before, ignore_errors=True)


def remove_partials(out: Path) -> None:
    """Removes what a process that was killed left of building `out`."""
    for path in out.parent.glob(f"{out.name}.*{PART}"):
        with suppress(OSError):
            shutil.rmtree(path)
