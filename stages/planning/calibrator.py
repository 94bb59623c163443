"""Calibrate a stage: load what it loads, and measure it on pieces of what it asks for, for some seconds a part."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.interfaces import Engine, Request
from stages.planning.calibration import Calibration, PartSpeed
from stages.planning.forecast import Ways, list_cases
from stages.planning.measuring import (
    EngineTrials,
    OuterTrials,
    TrainerTrials,
    Trials,
    measure_judge,
)
from stages.planning.rehearsal import Demand, get_kind
from stages.planning.sizes import TokenSizer, count_letters
from stages.planning.stopwatch import Stopwatch, read_memory, reset_memory
from stages.settings import SftConfig
from stages.trainers.local import TINKER

_SECONDS = 8.0  # for the measurements of a part, beside what loading takes


@dataclass
class Calibrator:
    """Measures what a stage's parts take. `keep`: where an adapter that was made stays, if anywhere."""

    stage: Any
    ways: Ways
    calibration: Calibration = field(default_factory=Calibration)
    keep: Callable[[Path], object] = bool
    engine: Engine | None = None
    trials: EngineTrials = field(default_factory=EngineTrials)
    loading: tuple[float, float, int] = (0.0, 0.0, 0)

    def measure(self, demand: Demand, sizer: TokenSizer) -> bool:
        """Measure what the demand asks for and was not yet measured. Returns True if it heard something new."""
        found = self.calibration
        new = [kind for kind in _list_kinds(demand) if kind not in found.speeches]
        for kind in new:
            self._measure_engine(kind, [each for each in demand.requests if get_kind(each) == kind], demand, sizer)
        if demand.jobs and "trainer" not in found.parts and self.stage.trainer.name != TINKER:
            self._measure_trainer(demand, sizer)
        return bool(new)

    def _measure_engine(self, kind: str, requests: Sequence[Request], demand: Demand, sizer: TokenSizer) -> None:
        if self.engine is None:
            adapters = list(dict.fromkeys(each.adapter for each in demand.requests if each.adapter))
            self.engine, self.loading = _load(lambda: self.stage.engine.load(demand.model, adapters))
            self.trials.begin(_SECONDS)
        trials, size = self.trials, self.ways.at_once if self.ways.served else self.ways.batch
        trials.restart(_SECONDS)
        trials.measure(self.engine, requests, sizer, size, served=self.ways.served)
        self.calibration.speeches[kind] = trials.speeches
        lengths = [each.tokens for each in trials.speeches]
        if lengths:
            cut = f", {trials.cut} of them cut short and guessed" if trials.cut else ""
            mean = sum(lengths) / len(lengths)
            self.calibration.notes.append(f"{kind}: {mean:.0f} tokens a completion (mean of {len(lengths)}{cut})")
        self.calibration.parts["engine"] = PartSpeed.of(trials, self.loading)

    def _measure_trainer(self, demand: Demand, sizer: TokenSizer) -> None:
        source = self.stage.trainer.for_method(demand.jobs[0].config.method)
        trainer, loading = _load(lambda: source.load(demand.model))
        trials = TrainerTrials()
        trials.begin(_SECONDS)
        with TemporaryDirectory() as scratch:
            trials.measure(trainer, demand.jobs, sizer, self.ways.slots, self.ways.pass_tokens, Path(scratch))
            written = 0
            if trials.adapter:
                written = sum(file.stat().st_size for file in trials.adapter.rglob("*") if file.is_file())
                self.keep(trials.adapter)
        self.calibration.parts["trainer"] = PartSpeed.of(trials, loading, written=written)

    def measure_judge(self, demand: Demand, calls: Sequence[Any]) -> None:
        """Have the judge grade a few of the cases, if it is here or behind a server."""
        cases = list_cases(demand.cases)
        if not cases or "judge" in self.calibration.parts:
            return
        if calls:  # else all that a server would be asked is known already
            wanted = {call.id for call in calls}
            cases = [case for case in cases if _name(case) in wanted] or cases
        judge, loading = _load(self.stage.judge.load)
        trials = Trials()
        trials.begin(_SECONDS)
        measure_judge(trials, judge, cases, self.ways.at_once if calls else 64)
        usage = getattr(getattr(judge, "transport", None), "usage", None)
        more: dict[str, Any] = {}
        if usage and usage.prompt_tokens:
            known = {call.id: call for call in calls}
            letters = [count_letters(call.body["messages"]) for call in known.values()]
            mean = sum(letters) / len(letters)
            more["letters_per_token"] = mean * usage.calls / usage.prompt_tokens
            more["tokens_per_answer"] = usage.completion_tokens / usage.calls
        self.calibration.parts["judge"] = PartSpeed.of(trials, loading, **more)


def calibrate_outer(
    sizes: Sequence[int], config: SftConfig, train: Callable[[Sequence[int], SftConfig, Path], object]
) -> Calibration:
    """Measure the outer update on examples of so many tokens.

    `train` trains on those at some places by settings, and writes a model to a path.
    """
    trials = OuterTrials()

    def train_some(places: Sequence[int], step: int, micro: int) -> int:
        few = replace(config, epochs=1, batch_size=step, micro_batch=micro)
        with TemporaryDirectory() as scratch:
            train(places, few, Path(scratch) / "model")
            return sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file())

    trials.begin(3 * _SECONDS)
    trials.measure(sizes, config.batch_size, config.micro_batch, train_some)
    speed = PartSpeed.of(trials, (0.0, 0.0, 0), written=trials.written)
    return Calibration({"outer": speed})


def _load(load: Callable[[], Any]) -> tuple[Any, tuple[float, float, int]]:
    """Return what was loaded, and the seconds and the peak of memory of loading."""
    reset_memory()
    with Stopwatch() as watch:
        loaded = load()
    return loaded, (watch.wall_s, watch.cpu_s, read_memory()[1])


def _list_kinds(demand: Demand) -> Iterator[str]:
    """The kinds of requests, those without an adapter first."""
    kinds = dict.fromkeys(map(get_kind, demand.requests))
    yield from sorted(kinds, key=lambda kind: "adapter" in kind)


def _name(case: Any) -> str:
    from stages.judges.openai import get_case_id

    return get_case_id(case)
