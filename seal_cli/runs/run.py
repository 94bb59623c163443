"""One run of a stage: input read, what is done already left out, the rest made, the closing line, the exit code."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from seal_cli import exit_codes
from seal_cli.exit_codes import ClosedPipe
from seal_cli.flags.shard import in_shard
from seal_cli.runs.before import none_came
from seal_cli.runs.journal import Journal
from seal_cli.runs.output import Output
from seal_cli.runs.reasons import Reasons
from seal_cli.runs.rejects import SAID, Rejects
from seal_cli.runs.stdio import encode
from seal_cli.runs.worker import CrashTracker, InFlightLog, poison_record, run_worker
from seal_cli.terminal.console import Counts, closing_line, counted, note, say
from seal_cli.terminal.display import Display
from seal_cli.terminal.progress import ProgressMeter
from stages.errors import BadInput
from stages.interfaces import Progress
from stages.records.adapter_paths import remove_path
from stages.records.frozen import FrozenModel
from stages.records.jsonl import BadLine, Lines, Reject, one_line
from stages.records.pairs import TrainingPair
from stages.records.plan import Plan
from stages.records.record import Record, SftExample

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Item = TypeVar("Item", bound=Record | SftExample | TrainingPair)
Load = Callable[[], Any]
Make = Callable[[Any, Sequence[str], Progress], Iterator[Record]]  # (what was loaded, keys, progress) → their lines
Tell = Callable[[Any], object]  # says on stderr what became of what was loaded


class Run:
    """A context manager: `read` what goes in, `settle` how, `write` or `produce` what comes out, and `code`."""

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
        self.stage = stage
        self.started, self.began = time.monotonic(), datetime.now(UTC)
        self.seconds = 0.0  # until the lines were there
        self.progress = ProgressMeter(stage)
        self.display = Display(self.progress)
        self.costly = False  # work has begun that one would not like to do again
        self.counts, self.reasons = Counts(), Reasons()
        self.about: dict[str, Any] = {}  # what else the manifest says
        self.settings: dict[str, Any] = {"stage": stage}
        self.places: list[tuple[str, int, int]] = []  # (name, line, bytes before it) of each item that was read
        self.plan: Plan | None = None
        self.came = 0  # lines that came in, whatever their shard
        self.domains: set[str] = set()  # of all lines that came in, whatever their shard
        self.editors: set[str] = set()  # the models that their self-edits name, and
        self.students: set[str] = set()  # their adapters
        self.known: list[Record] = []  # finished lines of a run before
        self.input = hashlib.sha256()
        self.refuse = rejects or Rejects(None, strict=True, most=None)
        self.target = Output(stage, output, overwrite=overwrite, journal=journal, dry=dry)

    # ---- what goes in

    @property
    def empty(self) -> bool:
        """Whether not a line has come in. A shard that none falls to may well be of a file with lines."""
        return not self.came

    def read(
        self,
        items: Iterable[Item],
        *,
        limit: int | None = None,
        shard: str | None = None,
        allow_empty: bool = False,
        name: str = "",
    ) -> list[Item]:
        """All lines that this run works on. Everything is read before a model is loaded: the stage before is done.

        Raises BadInput where none came, unless that is allowed; `name` is that of an input that is no file of lines.
        """
        found = []
        for item, place in self._placed(items, limit, shard, allow_empty=allow_empty, name=name):
            found.append(item)
            self.places.append(place)
            self.input.update(_portable_bytes(item))
        self.refuse.check(self.came)
        return found

    def stream(
        self,
        items: Iterable[Item],
        check: Callable[[Item], object],
        *,
        limit: int | None = None,
        shard: str | None = None,
        allow_empty: bool = False,
    ) -> Iterator[Item]:
        """What `read` and `sift` give, as it comes, for a stage that need not hold it. Over before `settle`."""
        good = 0
        for item, place in self._placed(items, limit, shard, allow_empty=allow_empty):
            data = encode(item)
            try:
                check(item)
            except BadLine as error:
                self.refuse(Reject(*place, one_line(str(error)), data.rstrip(b"\n")))
                continue
            good += 1
            self.input.update(data)
            yield item
        self.refuse.check(good if self.counts.read else self.came)
        self.counts.read = good

    def _placed(
        self, items: Iterable[Item], limit: int | None, shard: str | None, *, allow_empty: bool, name: str = ""
    ) -> Iterator[tuple[Item, tuple[str, int, int]]]:
        """The lines of this run, each with its file, line and offset there."""
        seen = self._seen(items)
        chosen = in_shard(seen, shard) if shard else seen
        for item in counted(islice(chosen, limit), self.counts):
            yield item, (items.name, *items.place) if isinstance(items, Lines) else (name, 0, 0)
        if self.empty:
            self.refuse.check(0)
        if self.empty and not allow_empty:
            raise BadInput(none_came(self.stage, items.name if isinstance(items, Lines) else name))
        self.progress.set_phase("planning")

    def sift(self, items: Sequence[Item], check: Callable[[Item], object]) -> list[Item]:
        """Of what `read` gave, the items that `check` takes. One for which it raises BadLine is rejected.

        Raises BadInput where it takes none.
        """
        places, self.places, good = self.places, [], []
        for item, place in zip(items, places, strict=True):
            try:
                check(item)
            except BadLine as error:
                self.refuse(Reject(*place, one_line(str(error)), encode(item).rstrip(b"\n")))
                continue
            good.append(item)
            self.places.append(place)
        self.counts.read = len(good)
        if items:
            self.refuse.check(len(good))
        if len(good) < len(items):  # else what `read` has noted of them holds
            self.input = hashlib.sha256(b"".join(map(_portable_bytes, good)))
        return good

    def tell_lost(self, reasons: Sequence[str | None]) -> None:
        """Says of which lines the work cannot be done, and why, line by line: they are carried, unscored."""
        found = [(place, why) for why, place in zip(reasons, self.places, strict=True) if why]
        for (name, line, _), why in found[:SAID]:
            note(f"seal {self.stage}: {name}:{line}: {why} (it stays unscored)")
        if len(found) > SAID:
            note(f"seal {self.stage}: {len(found) - SAID} more lines stay unscored; their answers say why")

    def _seen(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.came += 1
            self.progress.read()
            if isinstance(item, Record):
                self.domains.add(item.task.domain)
                self.editors |= {item.edit.model} if item.edit else set()
                self.students |= {item.adapter.model} if item.adapter else set()
            yield item

    def settle(self, settings: Mapping[str, Any], plan: Plan | None = None) -> None:
        """Fixes how lines are made. With a plan the run goes on where the one before ended; without, it begins anew.

        Raises ExistingOutput where another run's results are there.
        """
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        self.settings, self.plan = {"stage": self.stage, "resumes": plan is not None, **plain}, plan
        self.known = self.target.settle(self.settings, plan, self.input.hexdigest())
        if self.target.complete:
            made = self.target.complete.get("counts", {})
            self.counts = Counts(**{key: made.get(key, 0) for key in vars(self.counts)})

    # ---- what comes out

    def write_none(self, settings: Mapping[str, Any]) -> int:
        """What becomes of no lines, where they are allowed: an output without any. No model is looked at."""
        self.settle(settings)
        self.write(())
        return self.code

    def write(self, lines: Iterable[FrozenModel], *, total: int | None = None) -> None:
        """Lines that cost little: each is written as it comes. FILE is complete or absent, and made anew."""
        self.progress.begin(total)
        self.progress.set_phase("writing")
        for number, line in enumerate(lines):
            self.target.emit(str(number), line, synced=False)
            self._count(line)
            self.progress.step()

    def produce(self, load: Load, make: Make, tell: Tell = lambda loaded: None) -> None:
        """The planned lines that are not there yet: what `load` returns (a model) makes them.

        At the end, however it ends, `tell` may say what it has done.
        """
        if self.plan is None or self.target.complete or not self.plan.wanted:
            return
        make, self.costly = _telling(make, tell), True
        if self.target.journal is None:
            with self.display.apart(self.target.descriptors):
                self._work(load, make, [list(self.plan.wanted)], None)
            return
        self._supervise(self.plan, self.target.journal, load, make)
        for line in self.known:
            self._count(line)

    def _supervise(self, plan: Plan, journal: Journal, load: Load, make: Make) -> None:
        """Worker after worker, until every line is there or its record is rejected."""
        flight, suspects, rejected = InFlightLog(), CrashTracker(), set[str]()
        while left := [key for key in plan.wanted if key not in journal.spans and key not in rejected]:
            groups = suspects.groups(left, plan.unit_of)
            died = self._run_worker(lambda groups=groups: self._work(load, make, groups, flight))  # type: ignore[misc]
            self.known = self.target.load(plan, journal)
            self.target.pass_on()
            undone = dict.fromkeys(key for key in left if key not in journal.spans)
            if undone and not died and plan.optional:
                rejected.update(undone)
                break
            if undone and not died:
                raise RuntimeError(f"the stage made no line for {next(iter(undone))}")
            flying = [key for key in flight.in_work() if key in undone]
            for key in suspects.struck(flying, died, progress=len(undone) < len(left)) if died and undone else ():
                rejected.add(key)
                self.refuse(poison_record(plan.wanted[key], died))
        self.plan = plan.without(rejected)

    def _run_worker(self, work: Callable[[], None]) -> int:
        attend = None if self.target.output else self.target.pass_on
        self.display.pause()  # no thread is taken along
        return run_worker(work, attend, self.target.descriptors, self.display.start)

    def _work(self, load: Load, make: Make, groups: Sequence[Sequence[str]], flight: InFlightLog | None) -> None:
        """One group of keys after the other; with `flight` in a worker."""
        self.progress.log = flight
        self.progress.begin(sum(map(len, groups)))
        self.progress.set_phase("loading")
        loaded = load()
        for keys in groups:
            self.progress.prepare()
            if flight:
                flight.clear()
            for line in make(loaded, keys, self.progress):
                self.target.emit(self.plan.key_of(line) if self.plan else "", line)
                self._count(line)
                self.progress.step()

    def would(self, text: str, settings: "DataclassInstance") -> None:
        """What a dry run says instead of doing it."""
        say(f"seal {self.stage}: would {text}; {json.dumps(asdict(settings))}")

    def _count(self, line: FrozenModel) -> None:
        self.counts.written += 1
        if isinstance(line, Record):
            self.reasons.add(line)
            fault = line.adapter.fault if line.adapter else None
            written = line.edit if line.adapter is None else None
            lost = written is not None and written.text is None
            self.counts.failed += fault == "training" or lost
            self.counts.unreadable += fault == "edit" or bool(written and written.error and not lost)
            self.counts.unscored += bool(line.score and line.score.value is None)

    def _tally(self) -> None:
        """Rejects: of this run, or of the one that made what is there."""
        self.counts.rejected = max(self.counts.rejected, self.refuse.count)

    # ---- the end

    @property
    def code(self) -> int:
        """0, or 3 when a training failed, a line stayed unscored or was rejected. Unreadable self-edits are data."""
        self._tally()
        left = self.counts.unscored or self.counts.failed or self.counts.rejected
        return exit_codes.INCOMPLETE if left else exit_codes.DONE

    def __enter__(self) -> "Run":
        self.display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.refuse.close(ended_well=kind is None, keep=self.target.complete is not None)
            if kind is None:
                self._publish()
        except BaseException as failed:
            self._end(failed)
            raise
        self._end(error)
        if error is not None:
            self.target.close()
            return
        for told in self.reasons.told():
            say(f"seal {self.stage}: {told}")
        note(closing_line(self.stage, self.counts, self.seconds))

    def _publish(self) -> None:
        self.progress.set_phase("writing")
        self.seconds = time.monotonic() - self.started
        self._tally()
        times = {"began": self.began.isoformat(), "seconds": round(self.seconds, 3)}
        facts = {"counts": vars(self.counts), **times, "input": self.input.hexdigest()}
        self.target.publish(list(self.plan.wanted) if self.plan else None, {**self.about, **facts})

    def _end(self, error: BaseException | None) -> None:
        """No progress any more; of work that has ended early, what is safe."""
        self.display.stop()
        if self.costly and error is not None and not isinstance(error, ClosedPipe):
            told = self.target.kept(self.plan, self.counts.written, asked=exit_codes.is_signal(error))
            if told:
                say(f"seal {self.stage}: {told}")


def _portable_bytes(item: Item) -> bytes:
    """What an input line says, wherever its adapter lies."""
    return encode(remove_path(item) if isinstance(item, Record) else item)


def _telling(make: Make, tell: Tell) -> Make:
    """The same lines; when they have all been made, or making them has failed, what made them is told of."""

    def make_and_tell(loaded: Any, keys: Sequence[str], progress: Progress) -> Iterator[Record]:
        try:
            yield from make(loaded, keys, progress)
        finally:
            tell(loaded)

    return make_and_tell
