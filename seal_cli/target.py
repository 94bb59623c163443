"""Where the lines of a run go: to stdout, to a FILE that appears when it is complete, or to a journal and stdout.

Also what is there already: the finished lines of a run that ended early, and the file of one that did not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seal_cli import manifest
from seal_cli.console import note
from seal_cli.journal import Journal
from seal_cli.jsonl import UsageError, claim_stdout, encode
from seal_cli.settings import differences
from stages.disk import write_all
from stages.failures import BadInput, ExistingOutput
from stages.lines import validate
from stages.plan import Plan
from stages.records import Frozen, Record
from stages.strict_json import parse_json


class Target:
    """Opened before anything is read: a file that is in the way is told at once. `settle` says how lines are made."""

    def __init__(self, stage: str, output: Path | None, *, overwrite: bool, journal: Path | None, dry: bool) -> None:
        self.stage, self.output, self.overwrite = stage, None if dry else output, overwrite
        self.settings: Mapping[str, Any] = {"stage": stage}
        self.complete: dict[str, Any] | None = None  # the manifest of FILE where this very run made it already
        self.stdout = claim_stdout()
        self.journal = None if dry else self._open(journal)

    def _open(self, folder: Path | None) -> Journal | None:
        if folder and self.output:
            raise UsageError("-o FILE keeps a journal of its own; leave out --journal, or -o")
        if folder:
            return Journal(folder / f"{self.stage}.jsonl", folder / f"{self.stage}.json")
        if not self.output:
            return None
        if self.output.is_dir():
            raise ExistingOutput(f"{self.output}: a folder; give a file with -o")
        if self.output.exists() and not self.overwrite and manifest.read(self.output).get("stage") != self.stage:
            raise ExistingOutput(f"{self.output}: exists already; give --overwrite, or another file with -o")
        part = f"{self.output.name}.part"
        return Journal(self.output.with_name(part), self.output.with_name(f"{part}.json"))

    # ---- what is there

    def settle(self, settings: Mapping[str, Any], plan: Plan | None, source: str) -> list[Record]:
        """Fixes how lines are made, and from which input (a digest); the lines that need not be made again.

        Without a plan the run begins anew. Raises ExistingOutput where another run's results are there.
        """
        self.settings = settings
        if self.output and self.output.exists() and not self.overwrite:
            self._compare(self.output, manifest.read(self.output), plan, source)
        if self.journal is None or self.complete:
            return []
        cheap = plan is None and self.journal.stage == self.stage
        self.journal.begin(settings, anew=self.overwrite or cheap, ways=self._ways())
        if plan:
            return self._resume(plan, self.journal)
        self.journal.clear()
        return []

    def _compare(self, output: Path, made: dict[str, Any], plan: Plan | None, source: str) -> None:
        """With the run that made the file which is there. A cheap stage is run once more, and its lines compared."""
        if made.get("settings") != self.settings:
            raise ExistingOutput(f"{output}: {differences(made.get('settings'), self.settings)}; {self._ways()}")
        if not manifest.is_whole(output, made):
            raise ExistingOutput(f"{output}: was changed since it was written; {self._ways()}")
        if plan and made.get("input") != source:
            raise ExistingOutput(f"{output}: was made from other input; {self._ways()}")
        self.complete = made if plan else None

    def _ways(self) -> str:
        what, other = ("-o", "file") if self.output else ("--journal", "directory")
        return f"give the same settings and input to go on, --overwrite to begin anew, or another {other} with {what}"

    def _resume(self, plan: Plan, journal: Journal) -> list[Record]:
        lines = self.load(plan, journal)
        mine = [line for line in lines if plan.has(line)]
        if len(mine) < len(lines) and not self.overwrite:
            other = next(line for line in lines if not plan.has(line))
            raise ExistingOutput(
                f"{journal.path}: holds {len(lines) - len(mine)} lines that are not of this input, the first of task "
                f"{other.task.id}; {self._ways()}"
            )
        known = [line for line in mine if plan.intact(line)]
        journal.keep({plan.key_of(line) for line in known})
        if known:
            note(f"seal {self.stage}: goes on: {len(known)} of {len(plan.wanted)} lines are in {journal.path}")
        for line in known if not self.output else ():
            write_all(self.stdout, encode(line))
        return known

    def load(self, plan: Plan, journal: Journal) -> list[Record]:
        """The lines of the journal that are whole; what a crash tore off its end is cut away."""
        return [parsed(line) for line in journal.load(lambda line: key_of(plan, line))]

    # ---- what comes

    def emit(self, key: str, line: Frozen, *, synced: bool = True) -> None:
        """One line more; with a journal it survives when this returns."""
        data = encode(line)
        if self.journal:
            self.journal.append(key, data, synced=synced)
        if not self.output:
            write_all(self.stdout, data)

    def publish(self, keys: list[str] | None, facts: Mapping[str, Any]) -> None:
        """FILE, with the lines of these keys in this order (None: as they came), and its manifest. Last of all."""
        journal = self.journal
        if journal is None:
            return
        if self.output is None:
            journal.close()
        elif self.complete:
            self._is_there(journal, ours=journal.is_of(self.settings))
        else:
            self._publish(self.output, journal, list(journal.spans) if keys is None else keys, facts)

    def _publish(self, output: Path, journal: Journal, keys: list[str], facts: Mapping[str, Any]) -> None:
        journal.arrange(keys)
        digest = journal.digest(keys)
        if output.exists() and not self.overwrite:
            if manifest.read(output).get("sha256") != digest:
                raise ExistingOutput(f"{output}: was made from other input; {self._ways()}")
            self._is_there(journal, ours=True)
            return
        manifest.write(output, self.settings, {**facts, "sha256": digest})
        journal.publish(output)

    def _is_there(self, journal: Journal, *, ours: bool) -> None:
        note(f"seal {self.stage}: {self.output} is complete already; nothing to do")
        if ours:
            journal.clear()
        journal.close()

    def close(self) -> None:
        """After an error: what is there stays for the next run of the same command."""
        if self.journal:
            self.journal.close()


def key_of(plan: Plan, line: bytes) -> str | None:
    """The key of a journal's line; None where a crash has left no whole line."""
    try:
        return plan.key_of(parsed(line)) if line.endswith(b"\n") else None
    except (ValueError, BadInput):
        return None


def parsed(line: bytes) -> Record:
    return validate(Record, parse_json(line))
