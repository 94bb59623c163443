"""Input lines that cannot be used: reported, kept in a file; too many of them end the run."""

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path

from seal_cli.runs.journal import lock
from seal_cli.terminal.console import say
from stages.errors import BadInput, ExistingOutput
from stages.files import PART, add_filename, make_folder, rename, write_all
from stages.records.jsonl import Reject, raise_on_reject

SAID = 5  # rejects that are shown; the others are only counted
_BEGIN = b'{"source": '  # of every line of a rejects file


class Rejects:
    """Called with each bad line. `strict`: the first one ends the run; otherwise more than `most` do (None: never).

    With a `file` each is written to FILE.part as it comes: {"source", "line", "offset", "reason", "text", "base64"},
    where text is null unless the line is UTF-8, and base64 is null if it is. `close` makes it FILE. Raises
    ExistingOutput for a `file` that is one of `others`, the input and the output, or that holds anything else.
    """

    def __init__(
        self, file: Path | None, *, strict: bool, most: int | None, others: Iterable[Path | None] = ()
    ) -> None:
        self.file, self.strict, self.most = file, strict, most
        self.count = 0
        self.mentioned = 0  # lines in FILE that are no rejects
        self.closed = False
        self.quiet = False  # where an error says it all
        self.held: str | None = None  # what is said of the first: not before it is clear that the run goes on
        self.first: str | None = None
        self.descriptor: int | None = None
        if file:
            _check_apart(file, [other for other in others if other])
            _check_free(file)

    def __call__(self, reject: Reject) -> None:
        if self.strict:
            raise_on_reject(reject)
        self._keep(reject)
        self.count += 1
        self.first = self.first or f"{reject.where}: {reject.reason}"
        if self.most is not None and self.count > self.most:
            raise BadInput(self._too_many(reject))
        said = f"seal: {reject.where}: {reject.reason} ({'line' if reject.line else 'entry'} rejected)"
        if self.count == 1:
            self.held = said
            return
        self._say_held()
        if self.count <= SAID:
            say(said)

    def __enter__(self) -> "Rejects":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close(ended_well=kind is None)

    def mention(self, source: str, reason: str) -> None:
        """Note an omission that is no bad line: FILE has it too, but it is not counted."""
        self._keep(Reject(source, 0, 0, reason, b""))
        self.mentioned += 1

    def _say_held(self) -> None:
        if self.held:
            say(self.held)
        self.held = None

    def _keep(self, reject: Reject) -> None:
        if not self.file:
            return
        part = get_part_path(self.file)
        try:
            if self.descriptor is None:
                make_folder(part.parent)
                self.descriptor = lock(part)
                os.ftruncate(self.descriptor, 0)  # what a killed run left
            write_all(self.descriptor, encode_reject(reject))
        except OSError as error:
            raise add_filename(error, part) from None

    def _too_many(self, reject: Reject) -> str:
        kept = f"see them in {self.file}" if self.file else "keep them with --rejects FILE"
        return (
            f"{reject.where}: {reject.reason}; with this line more than --max-rejects {self.most} are rejected: "
            f"{kept}, or raise --max-rejects"
        )

    def check(self, good: int) -> None:
        """Call after reading: raises BadInput for the first bad line if there was no good one.

        Where it was the only line, its error is all there is to say.
        """
        if self.first and not good:
            self.quiet = self.count == 1
            self.held = None
            raise BadInput(self.first)
        self._say_held()

    def close(self, *, ended_well: bool = True, keep: bool = False) -> None:
        """Publish FILE with this run's rejects, after an error too, and say how many there were. Once.

        Without any, the FILE of a run before goes if this one `ended_well`. `keep` (the output was complete already)
        leaves FILE as it is, and says nothing.
        """
        if self.closed:
            return
        self.closed, self.quiet = True, self.quiet or keep
        if not self.quiet:
            self._say_held()
        if self.file and self.descriptor is not None:
            self._finish(self.file, self.descriptor, keep=keep)
        elif self.file and ended_well and not keep and _is_rejects(self.file):
            self.file.unlink()
        if self.count and not self.quiet:
            lines = "1 line" if self.count == 1 else f"{self.count} lines"
            say(f"seal: {lines} rejected, {f'see {self.file}' if self.file else 'give --rejects FILE to keep them'}")

    def _finish(self, file: Path, descriptor: int, *, keep: bool) -> None:
        """FILE.part becomes FILE, or goes; the lock ends last."""
        part = get_part_path(file)
        try:
            if keep or not (self.count or self.mentioned):
                part.unlink(missing_ok=True)
                return
            os.fsync(descriptor)
            rename(part, file)
        except OSError as error:
            raise add_filename(error, part) from None
        finally:
            os.close(descriptor)
            self.descriptor = None


def get_part_path(file: Path) -> Path:
    """Return the path that is written to before it becomes the file."""
    return Path(f"{file}{PART}")


def _check_apart(file: Path, others: Iterable[Path]) -> None:
    """Neither FILE nor FILE.part may be a file that the run reads or writes, by whatever name."""
    mine = {os.path.realpath(path) for path in (file, get_part_path(file))}
    if any(os.path.realpath(path) in mine for other in others for path in (other, get_part_path(other))):
        raise ExistingOutput(f"--rejects {file}: is the input or the output; give a file of its own")


def _check_free(file: Path) -> None:
    """Raise ExistingOutput unless the file is absent or holds the rejects of a run before."""
    if file.is_dir():
        raise ExistingOutput(f"{file}: a folder; give a file with --rejects")
    if not file.exists():
        return
    if not file.is_file():
        raise ExistingOutput(f"{file}: a device or a pipe; give a file with --rejects")
    if not _is_rejects(file):
        raise ExistingOutput(f"{file}: exists and is no file of rejected lines; give another file with --rejects")


def _is_rejects(file: Path) -> bool:
    """Return whether a run could have made the file."""
    if not file.is_file():
        return False
    with file.open("rb") as old:
        return old.read(len(_BEGIN)) in (b"", _BEGIN)


def encode_reject(reject: Reject) -> bytes:
    """Encode the reject as one JSON line."""
    try:
        text, coded = reject.raw.decode(), None
    except UnicodeDecodeError:
        text, coded = None, base64.b64encode(reject.raw).decode()
    about = {"source": reject.source, "line": reject.line, "offset": reject.offset, "reason": reject.reason}
    line = json.dumps({**about, "text": text, "base64": coded}, ensure_ascii=False)
    return line.encode("utf-8", "backslashreplace") + b"\n"
