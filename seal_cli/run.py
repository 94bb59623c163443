"""One run of a stage: input read and counted, lines written where they survive, what is done already left out."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from seal_cli import errors, manifest
from seal_cli.console import Counts, Meter, closing_line, counted, meter, note
from seal_cli.journal import Journal
from seal_cli.jsonl import UsageError, claim_stdout, encode
from seal_cli.rejects import Rejects
from seal_cli.settings import differences
from seal_cli.worker import Flight, Suspects, run_worker
from stages.disk import write_all
from stages.failures import BadConfig, BadInput, ExistingOutput
from stages.lines import Reject, validate
from stages.plan import Plan
from stages.records import Frozen, Record, SftExample, content_id
from stages.strict_json import parse_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Item = TypeVar("Item", bound=Record | SftExample)
Make = Callable[[Any, Sequence[str], Any], Iterator[Record]]  # (what was loaded, keys, watch) → their lines


class Run:
    """A context manager around a stage: `read` what goes in, `settle` how, `write` or `produce` what comes out, `code`.

    Lines go to stdout, to FILE by way of a journal, or with `journal` to both a journal and stdout.
    """

    def __init__(
        self,
        stage: str,
        *,
        output: Path | None,
        overwrite: bool,
        journal: Path | None = None,
        rejects: Rejects | None = None,
        dry: bool = False,
    ) -> None:
        self.stage, self.output, self.overwrite = stage, None if dry else output, overwrite
        self.started = time.monotonic()
        self.counts = Counts()
        self.about: dict[str, Any] = {}  # what else the manifest says
        self.settings: dict[str, Any] = {"stage": stage}
        self.complete = False  # FILE is there already, made by this very run
        self.plan: Plan | None = None
        self.known: list[Record] = []  # finished lines of a run before
        self.input = hashlib.sha256()
        self.refuse = rejects or Rejects(None, strict=True, most=None)
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

    # ---- what goes in

    def read(self, items: Iterable[Item], *, limit: int | None = None, shard: str | None = None) -> list[Item]:
        """All lines that this run works on. Everything is read before a model is loaded: the stage before is done."""
        chosen = in_shard(items, shard) if shard else items
        found = list(counted(islice(chosen, limit), self.counts))
        self.refuse.check(self.counts.read)
        for item in found:
            self.input.update(encode(item))
        return found

    def settle(self, settings: Mapping[str, Any], plan: Plan | None = None) -> None:
        """Fixes how lines are made. With a plan the run goes on where the one before ended; without, it begins anew.

        Raises ExistingOutput where another run's results are there. Sets `complete` where this run's are.
        """
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        self.settings, self.plan = {"stage": self.stage, **plain}, plan
        if self.output and self.output.exists() and not self.overwrite:
            self._compare(self.output, manifest.read(self.output))
        if self.journal is None or self.complete:
            return
        cheap = plan is None and self.journal.stage == self.stage
        self.journal.begin(self.settings, anew=self.overwrite or cheap, ways=self._ways())
        if plan is None:
            self.journal.clear()
        else:
            self._resume(plan, self.journal)

    def _compare(self, output: Path, made: Mapping[str, Any]) -> None:
        """With the run that made the file which is there."""
        if made.get("settings") != self.settings:
            raise ExistingOutput(f"{output}: {differences(made.get('settings'), self.settings)}; {self._ways()}")
        if not manifest.is_whole(output, made):
            raise ExistingOutput(f"{output}: was changed since it was written; {self._ways()}")
        if self.plan and made.get("input") != self.input.hexdigest():
            raise ExistingOutput(f"{output}: was made from other input; {self._ways()}")
        self.complete = self.plan is not None
        self.counts = Counts(**made["counts"]) if self.complete else self.counts

    def _ways(self) -> str:
        what, other = ("-o", "file") if self.output else ("--journal", "directory")
        return f"give the same settings and input to go on, --overwrite to begin anew, or another {other} with {what}"

    def _resume(self, plan: Plan, journal: Journal) -> None:
        lines = [_record(line) for line in journal.load(lambda line: key_of(plan, line))]
        mine = [line for line in lines if plan.has(line)]
        if len(mine) < len(lines) and not self.overwrite:
            other = next(line for line in lines if not plan.has(line))
            raise ExistingOutput(
                f"{journal.path}: holds {len(lines) - len(mine)} lines that are not of this input, the first of task "
                f"{other.task.id}; {self._ways()}"
            )
        self.known = [line for line in mine if plan.intact(line)]
        journal.keep({plan.key_of(line) for line in self.known})
        if self.known:
            note(f"seal {self.stage}: goes on: {len(self.known)} of {len(plan.wanted)} lines are in {journal.path}")
        for line in self.known if not self.output else ():
            write_all(self.stdout, encode(line))

    # ---- what comes out

    def write(self, lines: Iterable[Frozen], *, total: int | None = None) -> None:
        """Lines that cost little: each is written as it comes. FILE is complete or absent, and made anew."""
        progress = meter(self.stage, total)
        try:
            for number, line in enumerate(lines):
                self._emit(str(number), line, synced=False)
                self._count(line)
                progress.step()
        finally:
            progress.close()

    def produce(self, load: Callable[[], Any], make: Make) -> None:
        """The planned lines that are not there yet: what `load` returns (a model) makes them."""
        if self.plan is None or self.complete:
            return
        if self.journal is None:
            self._work(load, make, [list(self.plan.wanted)], meter(self.stage, len(self.plan.wanted)))
            return
        self._supervise(self.plan, self.journal, load, make)
        for line in self.known:
            self._count(line)

    def _supervise(self, plan: Plan, journal: Journal, load: Callable[[], Any], make: Make) -> None:
        """Worker after worker, until every line is there or its record is rejected."""
        flight, suspects, rejected = Flight(), Suspects(), set[str]()
        while left := [key for key in plan.wanted if key not in journal.spans and key not in rejected]:
            groups = suspects.groups(left)
            died = run_worker(lambda groups=groups: self._fly(flight, load, make, groups))  # type: ignore[misc]
            self.known = [_record(line) for line in journal.load(lambda line: key_of(plan, line))]
            flying = [key for key in dict.fromkeys(flight.keys()) if key not in journal.spans]
            if not died and not all(key in journal.spans for key in left):
                raise RuntimeError(
                    f"the stage made no line for {next(key for key in left if key not in journal.spans)}"
                )
            progress = any(key in journal.spans for key in left)
            for key in suspects.struck(flying, died, progress) if died else ():
                rejected.add(key)
                self.refuse(poison(plan.wanted[key], died))
        self.plan = Plan(plan.section, {k: v for k, v in plan.wanted.items() if k not in rejected}, plan.key_of)

    def _fly(self, flight: Flight, load: Callable[[], Any], make: Make, groups: Sequence[Sequence[str]]) -> None:
        """In the worker."""
        flight.meter = meter(self.stage, sum(map(len, groups)))
        self._work(load, make, groups, flight.meter, flight)

    def _work(
        self, load: Callable[[], Any], make: Make, groups: Sequence[Sequence[str]], progress: Meter, flight: Any = None
    ) -> None:
        try:
            loaded = load()
            for keys in groups:
                if flight:
                    flight.clear()
                for line in make(loaded, keys, flight or progress):
                    self._emit(self.plan.key_of(line) if self.plan else "", line)
                    self._count(line)
                    progress.step()
        finally:
            progress.close()

    def _emit(self, key: str, line: Frozen, *, synced: bool = True) -> None:
        data = encode(line)
        if self.journal:
            self.journal.append(key, data, synced=synced)
        if not self.output:
            write_all(self.stdout, data)

    def would(self, text: str, settings: "DataclassInstance") -> None:
        """What a dry run says instead of doing it."""
        note(f"seal {self.stage}: would {text}; {json.dumps(asdict(settings))}")

    def _count(self, line: Frozen) -> None:
        self.counts.written += 1
        if isinstance(line, Record):
            fault = line.adapter.fault if line.adapter else None
            self.counts.failed += fault == "training"
            self.counts.unreadable += fault == "edit"
            self.counts.unscored += bool(line.score and line.score.value is None)

    # ---- the end

    @property
    def code(self) -> int:
        """0, or 3 when a training failed, a line stayed unscored or was rejected. Unreadable self-edits are data."""
        self.counts.rejected = self.counts.rejected or self.refuse.count
        left = self.counts.unscored or self.counts.failed or self.counts.rejected
        return errors.INCOMPLETE if left else errors.DONE

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse.close()
        if kind is None:
            self._end()
        elif self.journal:
            self.journal.close()

    def _end(self) -> None:
        seconds = time.monotonic() - self.started
        self.counts.rejected = self.counts.rejected or self.refuse.count
        if self.complete and self.journal:
            note(f"seal {self.stage}: {self.output} is complete already; nothing to do")
            self.journal.discard() if self.journal.is_of(self.settings) else self.journal.close()
        elif self.output and self.journal:
            self._publish(self.output, self.journal, seconds)
        elif self.journal:
            self.journal.close()
        note(closing_line(self.stage, self.counts, seconds))

    def _publish(self, output: Path, journal: Journal, seconds: float) -> None:
        keys = list(self.plan.wanted) if self.plan else list(journal.spans)
        journal.arrange(keys)
        digest = journal.digest(keys)
        if output.exists() and not self.overwrite:
            self._same(output, journal, digest)
            return
        facts = {"counts": vars(self.counts), "seconds": round(seconds, 3), "input": self.input.hexdigest()}
        manifest.write(output, self.settings, {**self.about, **facts, "sha256": digest})
        journal.publish(output)

    def _same(self, output: Path, journal: Journal, digest: str) -> None:
        """A cheap stage made once more what is there already."""
        if manifest.read(output).get("sha256") != digest:
            raise ExistingOutput(f"{output}: was made from other input; {self._ways()}")
        note(f"seal {self.stage}: {output} is complete already; nothing to do")
        journal.discard()


def key_of(plan: Plan, line: bytes) -> str | None:
    """The key of a journal's line; None where a crash has left no whole line."""
    try:
        return plan.key_of(_record(line)) if line.endswith(b"\n") else None
    except (ValueError, BadInput):
        return None


def _record(line: bytes) -> Record:
    return validate(Record, parse_json(line))


def poison(record: Record, signum: int) -> Reject:
    """A record whose work killed its worker twice."""
    import signal

    reason = f"its worker died twice, the last time of {signal.Signals(signum).name}"
    return Reject(f"task {record.task.id}", 0, 0, reason, encode(record).rstrip(b"\n"))


def in_shard(items: Iterable[Item], shard: str) -> Iterator[Item]:
    """The lines whose task falls to shard i of n by its id. All lines of a task stay together."""
    part, _, whole = shard.partition("/")
    if not (part.isdecimal() and whole.isdecimal() and 1 <= int(part) <= int(whole)):
        raise BadConfig(f"--shard {shard}: take i/n with 1 ≤ i ≤ n, for example 1/4")
    wanted, count = int(part) - 1, int(whole)
    return (item for item in items if int(content_id("shard", task_id(item)), 16) % count == wanted)


def task_id(item: Record | SftExample) -> str:
    return item.task.id if isinstance(item, Record) else item.task_id
