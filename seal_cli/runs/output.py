"""The output of a run: stdout, a FILE that appears when it is complete, or a journal and stdout.

Also the lines that are there already: of a run that ended early, or in the file of one that did not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seal_cli.exit_codes import UsageError
from seal_cli.runs import manifest
from seal_cli.runs.journal import Journal, get_part_path
from seal_cli.runs.kept_lines import KeptLines, read_file
from seal_cli.runs.manifest import are_alike, describe_differences
from seal_cli.runs.replacement import compare_to_file
from seal_cli.runs.stdio import claim_stdout, write_stdout
from seal_cli.terminal.console import note
from stages.errors import BadInput, ExistingOutput
from stages.records.adapter_paths import get_relative_path, make_path_relative
from stages.records.frozen import FrozenModel
from stages.records.jsonl import EncodedLine, encode_line
from stages.records.record import Record
from stages.records.stored.lines import LineReader
from stages.work import Plan


class Output:
    """The output of a run. Opened before anything is read, so that a file in the way is noticed at once."""

    def __init__(self, stage: str, output: Path | None, *, overwrite: bool, journal: Path | None, dry: bool) -> None:
        self.stage, self.overwrite = stage, overwrite
        self.output = None if dry or output is None else _resolve(output)
        self.reused = 0  # lines that are those of FILE as it was before
        self.passed = 0  # bytes of the journal that are on stdout
        self.settings: Mapping[str, Any] = {"stage": stage}
        self.complete: dict[str, Any] | None = None  # the manifest of FILE where this very run made it already
        self.stdout = claim_stdout()
        self.journal = None if dry else self._open(journal)

    def _open(self, folder: Path | None) -> Journal | None:
        if folder and self.output:
            raise UsageError("-o FILE keeps a journal of its own; leave out --journal, or -o")
        if folder:
            if folder.exists() and not folder.is_dir():
                raise ExistingOutput(f"--journal {folder}: a file; give a directory")
            return Journal(folder / f"{self.stage}.jsonl", folder / f"{self.stage}.json")
        if not self.output:
            return None
        made = manifest.read_manifest(self.output)
        if self.output.exists() and not self.overwrite and made.get("stage") != self.stage:
            raise ExistingOutput(f"{self.output}: exists already; give --overwrite, or another file with -o")
        part = get_part_path(self.output)
        return Journal(part, Path(f"{part}.json"))

    # ---- what is there

    def configure(self, settings: Mapping[str, Any], plan: Plan | None, source: Mapping[str, str]) -> Sequence[Record]:
        """Freeze settings and input (its digests). Returns the lines that need not be made again.

        Without a plan the run begins anew. Raises ExistingOutput where another run's results are there.
        """
        self.settings = settings
        old = self._read_finished(self.output, plan, source) if self.output and self.output.exists() else ()
        if self.journal is None or self.complete:
            return []
        self.journal.begin(settings, anew=self.overwrite, ways=self._ways())
        if plan:
            return self._resume(plan, self.journal, old)
        self.journal.clear()
        return []

    def _read_finished(self, output: Path, plan: Plan | None, source: Mapping[str, str]) -> Iterable[Record]:
        """Return the lines of FILE that this run would make, too: if it made it, or one of less input."""
        made = manifest.read_manifest(output)
        same = are_alike(made.get("settings"), self.settings)
        whole = same and manifest.is_whole(output, made)
        if not whole and _is_blank(output, made):
            return []
        if same and not whole and self.journal and manifest.is_whole(self.journal.path, made):
            return []  # a run was killed between the manifest and the file's name: all lines are in the journal
        if not whole and not self.overwrite:
            fault = "was changed since it was written"
            fault = fault if same else describe_differences(made.get("settings"), self.settings)
            raise ExistingOutput(f"{output}: {fault}; {self._ways()}")
        if plan is None or not whole:
            return []  # a cheap stage is run once more, and its lines compared
        count = mine = valid = 0
        for line in read_file(output):
            is_mine = plan.contains(line)
            count, mine, valid = count + 1, mine + is_mine, valid + (is_mine and plan.still_valid(line))
        if mine < count and not self.overwrite:
            raise ExistingOutput(f"{output}: {_explain_other_input(mine, count)}; {self._ways()}")
        same_input = all(made.get(key) == digest for key, digest in source.items())
        if same_input and valid == count and not self.overwrite:
            self.complete = made
        return (line for line in read_file(output) if plan.contains(line) and plan.still_valid(line))

    def _ways(self) -> str:
        what, other = ("-o", "file") if self.output else ("--journal", "directory")
        return f"give the same settings and input to go on, --overwrite to begin anew, or another {other} with {what}"

    def _resume(self, plan: Plan, journal: Journal, old: Iterable[Record]) -> Sequence[Record]:
        """Return the lines that are there already, of the journal and of the `old` FILE; in a pipe pass them on."""
        valid, others = dict[str, bool](), list[str]()

        def check(line: Record) -> None:
            if plan.contains(line):
                valid[plan.key_of(line)] = plan.still_valid(line)
            else:
                others.append(line.task.id)
                valid[plan.key_of(line)] = False  # the last line of a key is the one that would be kept

        self.load(plan, journal, check)
        if others and not self.overwrite:
            raise ExistingOutput(
                f"{journal.path}: holds {len(others)} lines that are not of this input, the first of task "
                f"{others[0]}; {self._ways()}"
            )
        journal.keep({key for key, is_valid in valid.items() if is_valid})
        for line in old:
            self.reused += 1
            if (key := plan.key_of(line)) not in journal.spans:
                journal.append(key, self._kept(journal, line), synced=False)
        journal.sync()
        self.passed = journal.end
        known = KeptLines(journal)
        if known:
            note(f"seal {self.stage}: goes on: {len(known)} of {len(plan.wanted)} lines are in {journal.path}")
        for line in known if not self.output else ():
            write_stdout(self.stdout, encode_line(line))
        return known

    def load(self, plan: Plan, journal: Journal, tell: Callable[[Record], object]) -> Sequence[Record]:
        """Load the lines that are new in the journal, each told of; what a crash tore off its end is cut away.

        Returns all that count.
        """
        read = LineReader(journal.path)

        def key_of(line: bytes) -> str | None:
            try:
                record = read(line) if line.endswith(b"\n") else None
            except (ValueError, BadInput):
                return None
            if record:
                tell(record)
            return plan.get_key(record) if record else None

        journal.load(key_of)
        return KeptLines(journal)

    # ---- what comes

    def emit(self, key: str | None, line: FrozenModel | EncodedLine, *, synced: bool = True, more: bool = False) -> int:
        """Write a line to the journal, where it is safe when this returns, or without one to stdout; return its bytes.

        With `more` lines to follow at once, it is safe with the last of them. `key` None: another process will load it.
        """
        size = 0
        if self.journal:
            data = self._kept(self.journal, line)
            size = len(data)
            self.journal.append(key, data, synced=synced and not more)
        if not self.output and not (self.journal and synced):
            data = line.data if isinstance(line, EncodedLine) else encode_line(line)
            size = size or len(data)
            write_stdout(self.stdout, data)
        return size

    def _kept(self, journal: Journal, line: FrozenModel | EncodedLine) -> bytes:
        """The line for a file: its adapter's path is told from the file's folder, and both may move."""
        if isinstance(line, EncodedLine):  # whoever has made it knew the folder
            return line.data
        return encode_line(make_path_relative(line, journal.path.parent) if isinstance(line, Record) else line)

    def tell_place(self, path: Path) -> str:
        """Return a path as the run's settings name it: relative to the folder that keeps its lines, if any."""
        whole = str(path.absolute())
        return get_relative_path(self.journal.path.parent, whole) if self.journal else whole

    def pass_on(self) -> None:
        """Pass on to stdout what a worker has appended to a pipe's journal: whole lines only, each once.

        The worker itself could be killed between the two.
        """
        if self.journal and not self.output:
            data = self.journal.whole_lines(self.passed)
            self.passed += len(data)
            read = LineReader(self.journal.path)
            for line in data.split(b"\n")[:-1]:
                plain = b'"adapter": {' not in line  # no path to be told from here
                record = None if plain else read(line)
                write_stdout(self.stdout, encode_line(record) if record else line + b"\n")

    @property
    def descriptors(self) -> list[int]:
        """Descriptors that only this process and its worker may hold: stdout, and the journal with its lock."""
        return [self.stdout, *([self.journal.descriptor] if self.journal else [])]

    def publish(self, keys: list[str] | None, facts: Mapping[str, Any]) -> None:
        """Publish FILE, with the lines of these keys in this order (None: as they came), behind its manifest."""
        journal = self.journal
        if journal is None:
            return
        if self.output is None:
            journal.close()
        elif self.complete:
            there = journal.read_settings()
            self._leave(journal, ours=there is None or are_alike(there, self.settings))
        else:
            order = list(journal.spans) if keys is None else keys
            digest = journal.arrange(order)
            if keys is None and self.output.exists() and not self.overwrite:
                made = manifest.read_manifest(self.output)
                if made.get("sha256") == digest and manifest.is_whole(self.output, made):
                    if made.get("whole") != facts.get("whole"):  # other shards have other lines now
                        manifest.write_manifest(self.output, self.settings, {**facts, "sha256": digest})
                    self._leave(journal, ours=True)
                    return
                if not _is_blank(self.output, made):
                    journal.clear()
                    raise ExistingOutput(f"{self.output}: was made from other input; {self._ways()}")
            before = compare_to_file(self.output, self.stage, digest, journal.lines(order), self.reused)
            if gone := before.get("withdrawn"):
                told = f"{len(gone)} tasks of {self.output} as it was before are withdrawn, the first is {gone[0]}"
                note(f"seal {self.stage}: {told}; {self.reused} lines are taken over")
            manifest.write_manifest(self.output, self.settings, {**facts, **before, "sha256": digest})
            journal.publish(self.output)

    def _leave(self, journal: Journal, *, ours: bool) -> None:
        """Leave FILE as it is, and a journal that is not `ours`."""
        note(f"seal {self.stage}: {self.output} is complete already; nothing to do")
        if ours:
            journal.clear()
        journal.close()

    def describe_kept(self, plan: Plan | None, written: int, *, asked: bool) -> str | None:
        """Say what is kept of a run that ends early, because it was `asked` to or by an error, and what to do.

        `written` lines have left this process. None where there is nothing to say beside the error.
        """
        how = "interrupted" if asked else "ended early"
        if plan is None:
            return f"{how}: nothing is kept; the same command begins anew" if asked else None
        done = self.journal.count(plan.wanted) if self.journal else written
        whole = f"{'at most ' if plan.optional else ''}{len(plan.wanted)}"
        if not done:
            return f"{how}: 0 of {whole} lines done; the same command begins anew" if asked else None
        if self.journal is None:
            return f"{how}: {done} of {whole} lines done, none kept; with -o FILE or --journal DIR it could go on"
        if not self.journal.path.exists():
            return None
        return f"{how}: {done} of {whole} lines done and kept in {self.journal.path}; the same command goes on"

    def close(self) -> None:
        """Close after an error; the lines stay for the next run of the same command."""
        if self.journal:
            self.journal.close()


def _explain_other_input(mine: int, count: int) -> str:
    """Say that a file has lines that this run would not make, and what --overwrite would do to the others."""
    kept = f", of which --overwrite keeps the {mine} lines that are the same" if mine else ""
    return f"was made from other input ({count} lines{kept})"


def _is_blank(output: Path, made: Mapping[str, Any]) -> bool:
    """Return True for the file of a run that made no line: there is nothing in it that another run could lose."""
    return bool(made) and output.stat().st_size == 0


def _resolve(output: Path) -> Path:
    """The file behind a link. Raises ExistingOutput for a device, a pipe or a folder, which no rename may replace."""
    if output.exists() and not output.is_file():  # asked of the link: that of /dev/stdout leads to no name
        kind = "a folder" if output.is_dir() else "a device or pipe"
        raise ExistingOutput(f"{output}: {kind}; give a file with -o, or leave -o out for stdout")
    return output.resolve() if output.is_symlink() else output
