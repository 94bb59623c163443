"""What a dry run says beyond its counts, and what a manifest has as `predicted`: rehearsal, calibration, forecast."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seal_cli.flags.forecast import ForecastFlags
from seal_cli.runs.calibrations import CalibrationStore
from seal_cli.runs.stdio import write_stdout
from seal_cli.terminal.console import note, say
from seal_cli.terminal.costs import describe_counts, describe_forecast
from stages.errors import BadLine, SealError
from stages.files import make_folder, replace_file
from stages.interfaces import FitJob
from stages.models.device import Device
from stages.models.devices.hardware import PASS_TOKENS
from stages.planning.calibration import Calibration
from stages.planning.calibrator import Calibrator
from stages.planning.forecast import Forecast, Ways, count_demand, list_cases, make_forecast
from stages.planning.rehearsal import Demand, Supposition, rehearse
from stages.planning.sizes import TokenSizer
from stages.records.jsonl import encode_line
from stages.records.record import Record
from stages.work import Facts, Listing, Source, Stage, Work

_ROUNDS = 4  # of rehearsal and calibration: a stage may ask for something else when it has heard the first answers


@dataclass(frozen=True)
class QuietSource:
    """A Source that leaves out lines that cannot be used, and tells nobody: the run has done so already."""

    facts: Facts
    folders: tuple[Path, ...]
    is_shard: bool

    def sift(self, records: Sequence[Record], check: Callable[[Record], object]) -> list[Record]:
        found = []
        for record in records:
            try:
                check(record)
            except BadLine:
                continue
            found.append(record)
        return found

    def tell_unscored(self, reasons: Sequence[str | None]) -> None:
        """Do nothing."""


@dataclass
class Rehearsals:
    """The rehearsals of a stage on the records of a run."""

    stage: Stage
    records: Sequence[Record]
    work: Work
    given: Source  # of the run
    supposition: Supposition = field(default_factory=Supposition)
    demand: Demand = field(default_factory=Demand)
    lines: list[Record] = field(default_factory=list)

    def play(
        self,
        keys: Collection[str] | None = None,
        known: Sequence[Record] = (),
        leave: Callable[[FitJob], object] = bool,
    ) -> None:
        """Rehearse the lines of these keys, or all; `known` are finished."""
        self.demand = Demand()
        if not any(hasattr(self.stage, part) for part in ("engine", "trainer", "judge")):
            return  # a program of the user's does the work
        source = QuietSource(self.given.facts, self.given.folders, self.given.is_shard)
        work = rehearse(self.stage, self.demand, self.supposition, leave).prepare(self.records, source)
        if isinstance(work, Listing):
            return
        wanted = work.plan.wanted if keys is None else [key for key in keys if key in work.plan.wanted]
        self.lines = list(work.open(known).make(dict.fromkeys(wanted)))

    def suppose(self, calibration: Calibration) -> None:
        """Let the model say what it has said to a calibration."""
        self.supposition = Supposition({kind: said for kind, said in calibration.speeches.items() if said})

    @property
    def sizer(self) -> TokenSizer:
        engine = getattr(self.stage, "engine", None)
        return TokenSizer(self.demand.model, local=not (engine and engine.served))

    def list_calls(self) -> Sequence[Any]:
        """Return what the judge's server would be asked, if the judge is behind one."""
        judge = getattr(self.stage, "judge", None)
        if judge is None or not judge.text.startswith("openai:"):
            return ()
        return list(judge.calls(list_cases(self.demand.cases)))


def find_ways(stage: Stage, flags: ForecastFlags = ForecastFlags()) -> Ways:
    """Return how the stage's work is done, as far as time follows from it."""
    engine, trainer, judge = (getattr(stage, name, None) for name in ("engine", "trainer", "judge"))
    service = getattr(engine, "service", None) or getattr(getattr(judge, "flags", None), "service", None)
    found = Ways(price_in=flags.price_in, price_out=flags.price_out)
    if engine is not None:
        usual = 256 if engine.name == "vllm" else 64
        found = replace(found, served=engine.served, batch=getattr(engine, "batch", None) or usual)
    if service is not None and service.concurrency:
        found = replace(found, at_once=service.concurrency)
    if trainer is not None:
        device: Device = trainer.device
        many = trainer.name == "batched" and not getattr(stage, "sequential", False)
        passes = {"batched": PASS_TOKENS[device.foresee()["device"]], "peft": 1 << 30}
        found = replace(
            found,
            slots=(trainer.slots or 64) if many else 1,
            pass_tokens=trainer.token_budget or passes.get(trainer.name, 2048),
        )
    return found


def tell_forecast(rehearsals: Rehearsals, describe: Callable[[], int], stdout: int, flags: ForecastFlags) -> int:
    """Say what a dry run comes to: what can be counted without a model, and all the rest if it is asked for.

    `describe` says what would be done, and returns the exit code. It loads what a calibration is to see loaded.
    """
    name = rehearsals.stage.name
    asked = forecast_run(rehearsals, flags) if flags.is_asked else None
    code = describe()
    if asked is None:
        try:
            rehearsals.play()
        except SealError as error:
            note(f"seal {name}: cannot be counted beforehand: {error}")
        else:
            note(f"seal {name}: {describe_counts(count_demand(rehearsals.demand, len(rehearsals.lines)))}")
        return code
    found, is_calibrated = asked
    if flags.as_json:
        told = {"stage": name, "model": rehearsals.demand.model, "calibrated": is_calibrated}
        told |= {**found.values, "assumed": found.assumed}
        write_stdout(stdout, (json.dumps(told, ensure_ascii=False) + "\n").encode())
    say(f"seal {name}: {describe_forecast(found.values)}")
    for assumed in found.assumed:
        note(f"seal {name}: assumed: {assumed}")
    if not is_calibrated:
        note(f"seal {name}: seconds and memory: give --calibrate once; tokens back are the most that are allowed")
    return code


def forecast_run(rehearsals: Rehearsals, flags: ForecastFlags) -> tuple[Forecast, bool]:
    """Forecast all lines of a run, after a calibration if that is asked for. Also: whether there is one."""
    stage, ways = rehearsals.stage, find_ways(rehearsals.stage, flags)
    store = CalibrationStore.of(stage.name, rehearsals.work.settings(), ways.at_once)
    there = None if flags.calibrate else store.read()
    calibrator = Calibrator(stage, ways, there or Calibration(), store.keep_adapter)
    for _ in range(_ROUNDS):
        rehearsals.suppose(calibrator.calibration)
        rehearsals.play()
        if not flags.calibrate or not calibrator.measure(rehearsals.demand, rehearsals.sizer):
            break
    calls = rehearsals.list_calls()
    if flags.calibrate:
        calibrator.measure_judge(rehearsals.demand, calls)
        store.write(calibrator.calibration)
    if flags.suppose:
        rehearsals.play(leave=lambda job: _leave(job, store.adapter))
        make_folder(flags.suppose.parent)
        replace_file(flags.suppose, b"".join(map(encode_line, rehearsals.lines)))
    return _finish(rehearsals, ways, calibrator.calibration, calls), flags.calibrate or there is not None


def _finish(rehearsals: Rehearsals, ways: Ways, calibration: Calibration, calls: Sequence[Any]) -> Forecast:
    found = make_forecast(rehearsals.demand, rehearsals.sizer, ways, calibration, calls=calls)
    size = sum(len(encode_line(line)) for line in rehearsals.lines)
    found.values = {"lines": len(rehearsals.lines), **found.values, "line_bytes": size}
    return found


def _leave(job: FitJob, adapter: Path) -> None:
    """Leave a link to an adapter of that shape in the place of one that is not trained."""
    if adapter.is_dir() and not job.out.exists():
        make_folder(job.out.parent)
        job.out.symlink_to(adapter.resolve())


def predict_lines(
    rehearsals: Rehearsals, settings: Mapping[str, Any]
) -> Callable[[Collection[str], Sequence[Record]], dict[str, Any]] | None:
    """Return what forecasts the lines of some keys by the calibration in the cache; None where there is none."""
    ways = find_ways(rehearsals.stage)
    calibration = CalibrationStore.of(rehearsals.stage.name, settings, ways.at_once).read()
    if calibration is None:
        return None
    known = calibration

    def predict(keys: Collection[str], finished: Sequence[Record]) -> dict[str, Any]:
        rehearsals.suppose(known)
        rehearsals.play(keys, finished)
        return _finish(rehearsals, ways, known, rehearsals.list_calls()).values

    return predict
