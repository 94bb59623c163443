"""Files that are complete or absent: written, synced, then renamed, and their folder synced.

Everything that must survive a crash goes through here, by the functions of `os` alone, so that a test can make any one
of them fail.
"""

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from stages.errors import Locked, NoSpace

PART = ".part"
TRAINING = f".training{PART}"  # the end of the name of a directory with a training's checkpoint
TRAINING_FILE = "training.safetensors"  # the file in it
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)  # by a directory that another process has published
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # some network file systems
PARTIAL_NAME = re.compile(
    r"(.+)\.[a-z0-9_]{8}(\.old)?\.part"
)  # what mkdtemp makes of a directory's name, and `publish`


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte, however short the single writes are."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_file(path: Path, data: bytes) -> None:
    """Write a file with this content and sync it. Its name is not safe before its folder is synced."""
    _write_parts(path, (data,))


def _write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for data in parts:
            write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError as error:
        raise add_filename(error, path) from None
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Replace a file atomically: after a crash it has the old content or the new one, never half of it.

    Parts of it may come one after the other, so that it is never in memory as a whole. A failure leaves nothing beside
    it. A link stays one, and what it points to is replaced.
    """
    path = path.resolve() if path.is_symlink() else path
    parts = (data,) if isinstance(data, bytes) else data
    if path.exists() and not path.is_file():  # a device or a pipe, which no file may take the place of
        path.write_bytes(b"".join(parts))
        return
    part = path.with_name(path.name + PART)
    try:
        _write_parts(part, parts)
        rename(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def replace_link(link: Path, target: str) -> None:
    """Point a link to `target`, atomically: after a crash it leads to the old place or to the new one."""
    part = link.with_name(link.name + PART)
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    rename(part, link)


def rename(part: Path, path: Path) -> None:
    """Give a finished file or folder its own name, and sync the folder."""
    part.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Sync a file's content, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise add_filename(error, path) from None
    finally:
        os.close(descriptor)


def add_filename(error: OSError, path: Path) -> OSError:
    """Return the error with the file's name, which a failing write does not tell."""
    if error.errno and not error.filename:
        error.filename = str(path)
    return error


def make_folder(path: Path) -> None:
    """Make the folder and its parents, and sync their names: what lies in it must not vanish with it."""
    if not path.is_dir():
        make_folder(path.parent)
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, "a file, where a folder is needed", str(path)) from None
        _sync(path.parent)


@contextmanager
def atomic_directory(out: Path) -> Iterator[Path]:
    """Yield a temporary directory to fill, renamed to `out` at the end: complete or absent. Raises OSError.

    It has a name of its own, so that two processes that build the same directory never mix. One of them wins.
    """
    with partial_directory(out) as partial:
        try:
            yield partial
            partial.chmod(0o755)  # mkdtemp makes it private
            publish(partial, out)
        except OSError as error:
            raise add_filename(error, partial) from None


@contextmanager
def partial_directory(out: Path) -> Iterator[Path]:
    """Yield a directory beside `out` that goes at the end, and that nobody removes for a leftover meanwhile."""
    make_folder(out.parent)
    partial, descriptor = _make_locked(out)
    try:
        yield partial
    finally:
        _clear_away(partial)
        os.close(descriptor)


def _make_locked(out: Path) -> tuple[Path, int]:
    """Make a temporary directory with a lock on it, which says that its process lives."""
    while True:
        partial = Path(tempfile.mkdtemp(prefix=f"{out.name}.", suffix=PART, dir=out.parent))
        with suppress(FileNotFoundError, Locked):  # one who tidied up just then has taken it for a leftover
            descriptor = open_locked(partial, fcntl.LOCK_SH)
            if partial.is_dir():
                return partial, descriptor
            os.close(descriptor)


def publish(partial: Path, out: Path) -> None:
    """Sync everything in `partial`, then give it the name; what had the name before is removed."""
    for path in [*partial.rglob("*"), partial]:
        _sync(path)
    before = partial.with_name(f"{partial.name.removesuffix(PART)}.old{PART}")
    while partial.exists():
        with suppress(FileNotFoundError):  # another process is at the same
            if out.exists():
                out.rename(before)
        try:
            rename(partial, out)
        except OSError as error:
            if error.errno not in _TAKEN:
                if before.exists() and not out.exists():
                    before.rename(out)
                raise
        _clear_away(before)


def remove_folder(path: Path) -> None:
    """Remove a folder for good, if it is there: a power loss does not bring it back.

    One that stays after a second try hides no result; `seal gc` finds it.
    """
    if path.is_dir():
        _clear_away(path)
        _sync(path.parent)


def _clear_away(path: Path) -> None:
    for _ in range(2):  # a disk's error may pass, and nobody comes here again
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def remove_partials(folder: Path, names: Collection[str]) -> None:
    """Remove directories of these names that killed processes left half-built in `folder`; checkpoints stay."""
    for path in folder.glob(f"*{PART}"):
        partial = PARTIAL_NAME.fullmatch(path.name)
        if partial and partial[1] in names and not path.name.endswith(TRAINING):
            with suppress(OSError, Locked), hold_leftover(path):  # its process is at work, or has just removed it
                shutil.rmtree(path)


@contextmanager
def hold_leftover(path: Path) -> Iterator[None]:
    """Keep a process whose half-built directory this has just become from filling it. Raises Locked if one does."""
    descriptor = open_locked(path, fcntl.LOCK_EX, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hold_folders(paths: Iterable[Path]) -> Iterator[None]:
    """Make the folders and keep others from tidying them up meanwhile; they may be shared. Empty new ones go again."""
    with ExitStack() as held:
        for path in sorted(set(paths)):
            if not path.exists():
                held.callback(_remove_if_empty, path)
            make_folder(path)
            held.callback(os.close, open_locked(path, fcntl.LOCK_SH))
        yield


@contextmanager
def hold_name(path: Path) -> Iterator[int]:
    """Keep others from making a directory of this name meanwhile, and from tidying up beside it. Raises Locked.

    Yields the descriptor of the lock, which a process that outlives this one must not hold.
    """
    mark = path.with_name(f"{path.name}{PART}")
    with hold_folders([path.parent]):
        descriptor = open_own(mark, busy="another process is making this directory; wait for its end, or give another")
        try:
            yield descriptor
        finally:
            mark.unlink(missing_ok=True)
            os.close(descriptor)


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):  # there is something in it
        path.rmdir()


def open_locked(
    path: Path,
    kind: int,
    flags: int = os.O_RDONLY,
    *,
    busy: str = "another process is working there; wait for its end",
    without_locks: Callable[[], object] = bool,
) -> int:
    """Open a file or folder with a lock on it; the lock ends with the process, however that ends.

    Raises Locked, at once, where another process has one that does not go with it; `busy` says what that does.
    `without_locks` is called where the file system has none. Not `filelock`: that locks a file beside the one that is
    meant, which a folder that may only be read cannot hold, and knows no shared locks without a database.
    """
    descriptor = os.open(path, flags, 0o644)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Locked(f"{path}: {busy}") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise add_filename(error, path) from None
        without_locks()
    return descriptor


def open_own(path: Path, *, busy: str, without_locks: Callable[[], object] = bool) -> int:
    """Open a file to append to, made if need be, with an exclusive lock. Raises Locked as `open_locked` does."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        descriptor = open_locked(path, fcntl.LOCK_EX, flags, busy=busy, without_locks=without_locks)
        with suppress(FileNotFoundError):  # who had the lock before may have published or removed it
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise NoSpace if the disk under `folder` lacks room for so many bytes, OSError if we may not write."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot be written to", str(there))
    free = shutil.disk_usage(there).free
    if needed > free:
        raise NoSpace(
            f"{folder}: {what} need {format_megabytes(needed)} and {format_megabytes(free)} are free; "
            "free some, or give another disk"
        )


def format_megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
