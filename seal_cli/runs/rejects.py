"""Input lines that cannot be used: reported, kept in a file; too many of them end the run."""

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path

from seal_cli.flags.run import InputFlags
from seal_cli.runs.journal import Journal, check_place, get_part_path, list_own_files
from seal_cli.terminal.console import say
from stages.errors import BadInput, ExistingOutput
from stages.records.jsonl import Reject, raise_on_reject

SAID = 5  # rejects that are shown; the others are only counted
_BEGIN = b'{"source": '  # of every line of a rejects file


class Rejects:
    """Called with each bad line. `strict`: the first one ends the run; otherwise more than `most` do (None: never).

    With a `file` each is written to FILE.part as it comes: {"source", "line", "offset", "reason", "text", "base64"},
    where text is null unless the line is UTF-8, and base64 is null if it is. `close` makes it FILE. Raises
    ExistingOutput for a `file` that belongs to one of `others`, the input and the output, or that holds anything else.
    """

    def __init__(
        self, file: Path | None, *, strict: bool, most: int | None, others: Iterable[Path | None] = ()
    ) -> None:
        self.file, self.strict, self.most = file, strict, most
        self.count = 0
        self.first: str | None = None
        self.unsaid: str | None = None  # what is said of the first: not before it is clear that the run goes on
        self.quiet = False  # where an error says it all
        self.journal: Journal | None = None  # FILE.part: made for the first line
        if file:
            _check_file(file, [other for other in others if other])

    def __call__(self, reject: Reject) -> None:
        if self.strict:
            raise_on_reject(reject)
        self.write(reject)
        self.count += 1
        text = f"{reject.where}: {reject.reason}"
        self.first = self.first or text
        if self.most is not None and self.count > self.most:
            kept = f"see them in {self.file}" if self.file else "keep them with --rejects FILE"
            raise BadInput(
                f"{text}; with this line more than --max-rejects {self.most} are rejected: {kept}, or raise "
                "--max-rejects"
            )
        said = f"seal: {text} ({'line' if reject.line else 'entry'} rejected)"
        if self.count == 1:
            self.unsaid = said
            return
        self._say_first()
        if self.count <= SAID:
            say(said)

    def write(self, reject: Reject) -> None:
        """Write to FILE, without saying or counting it: as such, for what is left out and is no bad line."""
        if self.file:
            if self.journal is None:
                part = get_part_path(self.file)
                self.journal = Journal(part, Path(f"{part}.json"))
                self.journal.clear()  # what a killed run left
            self.journal.append(str(len(self.journal.spans)), encode_reject(reject), synced=False)

    def check(self, good: int) -> None:
        """Call after reading. Raises BadInput for the first bad line if there was no good one.

        Where it was the only line, its error is all there is to say.
        """
        if self.first and not good:
            self.unsaid, self.quiet = None, self.count == 1
            raise BadInput(self.first)
        self._say_first()

    def _say_first(self) -> None:
        if self.unsaid:
            say(self.unsaid)
        self.unsaid = None

    def __enter__(self) -> "Rejects":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close(ended_well=kind is None)

    def close(self, *, ended_well: bool = True, keep: bool = False) -> None:
        """Publish FILE with this run's rejects, after an error too, and say how many there were.

        Without any, the FILE of a run before goes if this one `ended_well`. `keep` (the output was complete already)
        leaves FILE as it is, and says nothing.
        """
        if not keep:
            self._say_first()
        if self.file and self.journal:
            if keep or not self.journal.end:
                self.journal.clear()
                self.journal.close()
            else:
                self.journal.sync()
                self.journal.publish(self.file)
        elif self.file and ended_well and not keep and _read_begin(self.file) in (b"", _BEGIN):
            self.file.unlink()
        if self.count and not self.quiet and not keep:
            lines = "1 line" if self.count == 1 else f"{self.count} lines"
            say(f"seal: {lines} rejected, {f'see {self.file}' if self.file else 'give --rejects FILE to keep them'}")


def _check_file(file: Path, others: Iterable[Path]) -> None:
    """Raise ExistingOutput unless FILE and FILE.part are no files of the run, and absent or of a run before."""
    part = get_part_path(file)
    mine = {os.path.realpath(path) for path in (file, part)}
    if any(os.path.realpath(path) in mine for other in others for path in list_own_files(other)):
        raise ExistingOutput(f"--rejects {file}: is the input or the output; give a file of its own")
    if file.exists() and not file.is_file():
        kind = "a folder" if file.is_dir() else "a device or a pipe"
        raise ExistingOutput(f"{file}: {kind}; give a file with --rejects")
    if _read_begin(file) not in (None, b"", _BEGIN):
        raise ExistingOutput(f"{file}: exists and is no file of rejected lines; give another file with --rejects")
    if not _BEGIN.startswith(_read_begin(part) or b""):  # of a run that was killed it may be cut
        raise ExistingOutput(f"{part}: exists and is no file of rejected lines; give another file with --rejects")


def _read_begin(file: Path) -> bytes | None:
    """Return what tells a file of rejects from others; None if there is no file."""
    if not file.is_file():
        return None
    with file.open("rb") as old:
        return old.read(len(_BEGIN))


def encode_reject(reject: Reject) -> bytes:
    """Encode the reject as one JSON line."""
    try:
        text, coded = reject.raw.decode(), None
    except UnicodeDecodeError:
        text, coded = None, base64.b64encode(reject.raw).decode()
    about = {"source": reject.source, "line": reject.line, "offset": reject.offset, "reason": reject.reason}
    line = json.dumps({**about, "text": text, "base64": coded}, ensure_ascii=False)
    return line.encode("utf-8", "backslashreplace") + b"\n"


def open_rejects(lines: InputFlags, output: Path | None, *others: Path | None) -> Rejects:
    """Open what takes bad lines. Neither they nor the output may take the place of what is read: FILE and `others`."""
    check_place(output, (lines.file, *others))
    return Rejects(lines.rejects, strict=lines.strict, most=lines.max_rejects, others=(lines.file, output, *others))
