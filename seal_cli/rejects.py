"""Input lines that cannot be used: said, kept in a file, and too many of them end the run."""

import base64
import json
import os
from pathlib import Path

from seal_cli.console import note
from stages.disk import make_folder, named, write_all
from stages.failures import BadInput, ExistingOutput
from stages.lines import Reject, stop

MOST = 100  # --max-rejects
SAID = 5  # rejects that are shown; the others are only counted
BEGIN = b'{"source": '  # of every line of a rejects file


class Rejects:
    """Called with each bad line. `strict`: the first one ends the run; otherwise more than `most` do (None: never).

    With a `file` each is written to it as it comes: {"source", "line", "offset", "reason", "text", "base64"}, where
    text is null unless the line is UTF-8, and base64 is null if it is.
    """

    def __init__(self, file: Path | None, *, strict: bool, most: int | None) -> None:
        self.file, self.strict, self.most = file, strict, most
        self.count = 0
        self.closed = False
        self.held: str | None = None  # what is said of the first: not before it is clear that the run goes on
        self.first: str | None = None
        self.descriptor: int | None = None
        if file:
            _make_way(file)

    def __call__(self, reject: Reject) -> None:
        if self.strict:
            stop(reject)
        self.count += 1
        self.first = self.first or f"{reject.where}: {reject.reason}"
        self._keep(reject)
        if self.most is not None and self.count > self.most:
            raise BadInput(self._too_many(reject))
        said = f"seal: {reject.where}: {reject.reason} ({'line' if reject.line else 'entry'} rejected)"
        if self.count == 1:
            self.held = said
            return
        self._say_held()
        if self.count <= SAID:
            note(said)

    def _say_held(self) -> None:
        if self.held:
            note(self.held)
        self.held = None

    def _keep(self, reject: Reject) -> None:
        if not self.file:
            return
        try:
            if self.descriptor is None:
                make_folder(self.file.parent)
                self.descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            write_all(self.descriptor, encode(reject))
        except OSError as error:
            raise named(error, self.file) from None

    def _too_many(self, reject: Reject) -> str:
        kept = f"see them in {self.file}" if self.file else "keep them with --rejects FILE"
        return (
            f"{reject.where}: {reject.reason}; with this line more than --max-rejects {self.most} are rejected: "
            f"{kept}, or raise --max-rejects"
        )

    def check(self, good: int) -> None:
        """To be called when reading is over. Raises BadInput for the first bad line if there was no good one.

        Where it was the only line, its error is all there is to say.
        """
        if self.first and not good:
            self.closed = self.closed or self.count == 1
            self.held = None
            raise BadInput(self.first)
        self._say_held()

    def close(self) -> None:
        """Says how many there were, once."""
        if not self.closed:
            self._say_held()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
        if self.count and not self.closed:
            lines = "1 line" if self.count == 1 else f"{self.count} lines"
            note(f"seal: {lines} rejected, {f'see {self.file}' if self.file else 'give --rejects FILE to keep them'}")
        self.closed = True


def _make_way(file: Path) -> None:
    """Removes the rejects of a run before. Raises ExistingOutput for a file that holds anything else."""
    if file.is_dir():
        raise ExistingOutput(f"{file}: a folder; give a file with --rejects")
    if not file.is_file():  # absent, or a device
        return
    with file.open("rb") as old:
        begin = old.read(len(BEGIN))
    if begin not in (b"", BEGIN):
        raise ExistingOutput(f"{file}: exists and is no file of rejected lines; give another file with --rejects")
    file.unlink()


def encode(reject: Reject) -> bytes:
    """The reject as one JSON line."""
    try:
        text, coded = reject.raw.decode(), None
    except UnicodeDecodeError:
        text, coded = None, base64.b64encode(reject.raw).decode()
    about = {"source": reject.source, "line": reject.line, "offset": reject.offset, "reason": reject.reason}
    line = json.dumps({**about, "text": text, "base64": coded}, ensure_ascii=False)
    return line.encode("utf-8", "backslashreplace") + b"\n"
