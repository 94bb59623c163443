"""One run of a stage: read the input, skip what is done, make the rest, say the closing line and the exit code."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from seal_cli import exit_codes
from seal_cli.exit_codes import ClosedPipe
from seal_cli.runs.account import Account
from seal_cli.runs.input import Input
from seal_cli.runs.journal import Journal
from seal_cli.runs.output import Output
from seal_cli.runs.rejects import Rejects
from seal_cli.runs.summary import Counts, Reasons
from seal_cli.runs.worker import CrashTracker, InFlightLog, poison_record, run_worker
from seal_cli.terminal.console import note, say
from seal_cli.terminal.display import Display
from seal_cli.terminal.progress import ProgressMeter
from stages.checks.energy import EnergyMeter
from stages.models.checkpoints import check_unchanged
from stages.records.frozen import FrozenModel
from stages.records.jsonl import EncodedLine
from stages.records.record import Record
from stages.work import Plan, Work

Predict = Callable[[Sequence[str], Sequence[Record]], dict[str, Any]]  # lines by their keys, beside finished ones


class Run:
    """A context manager: read `input`, `configure` how, `write` or `produce` lines; `code` is the exit code."""

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
        self.account, self.energy = Account(), EnergyMeter()
        self.costly = False  # work has begun that one would not like to do again
        self.counts, self.reasons = Counts(), Reasons()
        self.about: dict[str, Any] = {}  # what else the manifest says
        self.settings: dict[str, Any] = {"stage": stage}
        self.plan: Plan | None = None
        self.predict: Predict | None = None
        self.before = 0  # lines that an earlier try had made
        self.known: Sequence[Record] = ()  # lines that are finished, of this run or the one before
        self.refuse = rejects or Rejects(None, strict=True, most=None)
        self.input = Input(stage, self.refuse, self.counts, self.progress)
        self.output = Output(stage, output, overwrite=overwrite, journal=journal, dry=dry)

    def configure(self, settings: Mapping[str, Any], plan: Plan | None = None) -> None:
        """Freeze the run's settings. With a plan, resume a previous run; without one, start over.

        Paths in the settings are told from where the lines are kept. Raises ExistingOutput where another run's results
        are there.
        """
        plain: dict[str, Any] = json.loads(json.dumps(settings, default=self.output.tell_place))
        self.settings, self.plan = {"stage": self.stage, "resumes": plan is not None, **plain}, plan
        self.known = self.output.configure(self.settings, plan, self.input.digests)
        if self.output.complete:
            made = self.output.complete.get("counts", {})
            for key in vars(self.counts):
                setattr(self.counts, key, made.get(key, 0))
        else:
            self.energy.begin()

    # ---- what comes out

    def write(self, lines: Iterable[FrozenModel], *, total: int | None = None) -> None:
        """Write lines that cost little as they come. FILE is complete or absent, and made anew."""
        self.progress.begin(total)
        self.progress.set_phase("writing")
        for number, line in enumerate(lines):
            self.output.emit(str(number), line, synced=False)
            self._count(line)
            self.progress.step()

    def produce(self, work: Work) -> None:
        """Make the planned lines that are not there yet."""
        if self.plan is None or self.output.complete or not self.plan.wanted:
            return
        self.costly = True
        if self.output.journal is None:
            with self.display.apart(self.output.descriptors):
                self._work(work, [list(self.plan.wanted)], None)
            return
        for line in self.known:
            self._count(line)
        self.before = len(self.known)
        self._supervise(work, self.plan, self.output.journal)

    def _supervise(self, work: Work, plan: Plan, journal: Journal) -> None:
        """Run worker after worker, until every line is there or its record is rejected."""
        log, tracker, rejected = InFlightLog(), CrashTracker(), set[str]()
        while left := [key for key in plan.wanted if key not in journal.spans and key not in rejected]:
            groups = tracker.group(left, plan.unit_of)
            signum = self._run_worker(work, groups, log)
            self.known = self.output.load(plan, journal, self._count)
            self.output.pass_on()
            for key in log.given_up():
                if key not in rejected and key not in journal.spans:
                    rejected.add(key)
                    self.refuse(poison_record(plan.wanted[key]))
            undone = dict.fromkeys(key for key in left if key not in journal.spans and key not in rejected)
            if undone and not signum and plan.optional:
                rejected.update(undone)
            elif undone and not signum:
                raise RuntimeError(f"the stage made no line for {next(iter(undone))}")
            elif undone:
                in_work = [key for key in log.in_work() if key in undone]
                for key in tracker.record_crash(in_work, signum, progress=len(undone) < len(left)):
                    rejected.add(key)
                    self.refuse(poison_record(plan.wanted[key], signum))
        self.plan = plan.without(rejected)

    def _run_worker(self, work: Work, groups: Sequence[Sequence[str]], log: InFlightLog) -> int:
        attend = None if self.output.output else self.output.pass_on
        self.display.pause()  # no thread is taken along
        return run_worker(lambda: self._work(work, groups, log), attend, self.output.descriptors, self.display.start)

    def _work(self, work: Work, groups: Sequence[Sequence[str]], log: InFlightLog | None) -> None:
        """Make one group of keys after the other; with a `log`, in a worker."""
        self.account.begin()
        if self.predict:
            self.account.predict(partial(self.predict, list(chain.from_iterable(groups)), self.known))
        self.progress.log = log
        self.progress.begin(sum(map(len, groups)) if work.countable else None)
        self.progress.set_phase("loading")
        worker = work.open(self.known)
        self.account.end_loading()
        made: list[Record] = []
        if work.conclude and log is None:
            self.known = made
        check_unchanged(self.settings)
        try:
            for keys in groups:
                self.progress.prepare()
                if log:
                    log.clear()
                for line in worker.make(dict.fromkeys(keys), self.progress):
                    more = getattr(worker, "has_more", False)
                    size = self.output.emit(None, line, more=more)
                    self.account.add_line(line, size)
                    self._count(line)
                    if self.known is made:
                        made.append(line)
                    self.progress.step()
        finally:
            self.account.end(worker)
            for told in worker.report():
                note(f"seal {self.stage}: {told}")

    def describe(self, summary: str, misfits: int = 0, told: str = "") -> int:
        """Say what would be done, instead of doing it; return the exit code."""
        say(f"seal {self.stage}: would {summary}")
        self.counts.failed += misfits
        if misfits:
            say(f"seal {self.stage}: {told}")
        return self.code

    def _count(self, line: FrozenModel | EncodedLine) -> None:
        if not isinstance(line, EncodedLine):  # which whoever loads it will count
            self.counts.add(line)
            self.reasons.add(line)

    # ---- the end

    @property
    def code(self) -> int:
        """0, or 3 when a training failed, a line stayed unscored or was rejected. Unreadable self-edits are data."""
        left = self.counts.unscored or self.counts.failed or self.counts.rejected or self.refuse.count
        return exit_codes.INCOMPLETE if left else exit_codes.DONE

    def __enter__(self) -> "Run":
        self.display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.refuse.close(ended_well=error is None, keep=self.output.complete is not None)
            if error is None:
                self._publish()
        except BaseException as failed:
            error = failed
            raise
        finally:
            self.display.stop()
            if error is not None:
                self._give_up(error)
        if error is None:
            for told in self.reasons.describe():
                say(f"seal {self.stage}: {told}")
            note(self.counts.describe(self.stage, self.seconds))

    def _publish(self) -> None:
        self.progress.set_phase("writing")
        self.seconds = time.monotonic() - self.started
        self.counts.rejected = max(self.counts.rejected, self.refuse.count)  # or the run's that made what is there
        times = {"began": self.began.isoformat(), "seconds": round(self.seconds, 3)}
        facts = {"counts": self.counts.list_facts(), **times, **self.input.digests}
        if self.costly:
            made = self.counts.written - self.before
            facts |= self.account.predicted
            told = self.account.describe(self.progress, made, self.before)
            facts["actual"] = {**told, "joules": self.energy.read()}
        self.output.publish(list(self.plan.wanted) if self.plan else None, {**self.about, **facts})

    def _give_up(self, error: BaseException) -> None:
        """Of costly work that has ended early, say what is safe; leave it for the next run of the same command."""
        if self.costly and not isinstance(error, ClosedPipe):
            told = self.output.describe_kept(self.plan, self.counts.written, asked=exit_codes.is_signal(error))
            if told:
                say(f"seal {self.stage}: {told}")
        self.output.close()
