"""What a stage's work will cost: counts by a rehearsal, seconds, memory and bytes by a calibration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.interfaces import MAX_ROW_TOKENS
from stages.judges.base import Case
from stages.planning.batches import describe_batch, describe_batch_memory, describe_calls, make_row_batches
from stages.planning.calibration import Calibration, PartSpeed
from stages.planning.measuring import describe_outer, list_rows, size_jobs
from stages.planning.rates import Features, add_features
from stages.planning.rehearsal import Demand
from stages.planning.sizes import LETTERS_PER_TOKEN, TokenSizer, count_letters
from stages.planning.steps import PassShape, describe_fit
from stages.settings import SftConfig

_VERDICT_TOKENS = 2.0  # of a judge behind a server: yes or no


@dataclass(frozen=True)
class Ways:
    """How the work is done, as far as its time follows from it."""

    batch: int = 64  # completions at once
    served: bool = False
    at_once: int = 16  # open calls to a server
    slots: int = 1  # adapters in work
    pass_tokens: int = MAX_ROW_TOKENS
    price_in: float | None = None  # for a million tokens
    price_out: float | None = None


@dataclass
class Forecast:
    """What is forecast, by the keys of a manifest's `actual`; None: not known. `assumed`: what it rests on."""

    values: dict[str, Any] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    features: dict[str, Features] = field(default_factory=dict)  # by part
    memory: dict[str, Features] = field(default_factory=dict)

    def price(self, ways: Ways) -> None:
        """Say what the tokens at services cost, where there are prices."""
        if ways.price_in is None and ways.price_out is None:
            self.values["cost"] = None
            return
        read, said = self.values["call_tokens_in"], self.values["call_tokens_out"]
        self.values["cost"] = round(((ways.price_in or 0) * read + (ways.price_out or 0) * said) / 1e6, 6)

    def time(self, calibration: Calibration) -> None:
        """Say what the work takes by a calibration; where a part was not measured, nothing."""
        names = ("load_s", "work_s", "load_cpu_s", "work_cpu_s", "peak_bytes", "device_peak_bytes")
        self.values |= dict.fromkeys(names)
        if any(part not in calibration.parts for part in self.features):
            return
        sums, peaks = [0.0] * 4, (0, 0)
        for name, features in self.features.items():
            part = calibration.parts[name]
            wall, cpu = part.tell_seconds(features)
            sums = [one + more for one, more in zip(sums, (part.load_s, wall, part.load_cpu_s, cpu), strict=True)]
            memory = part.tell_memory(self.memory.get(name, {}))
            peaks = max(peaks[0], memory[0]), max(peaks[1], memory[1])
        found = [*(round(seconds, 3) for seconds in sums), peaks[0], peaks[1] or None]
        self.values |= dict(zip(names, found, strict=True))
        self.assumed += calibration.notes


def count_demand(demand: Demand, lines: int) -> dict[str, Any]:
    """Return what is known without a model: requests, trainings, steps, and bounds of tokens."""
    steps = sum(job.config.epochs * -(-len(job.lesson.examples) // _get_step(job)) for job in demand.jobs)
    return {
        "lines": lines,
        "requests": len(demand.requests),
        "letters_in": sum(count_letters(request.prompt) for request in demand.requests),
        "most_tokens_out": sum(each.sampling.max_tokens for each in demand.requests if each.continuation is None),
        "trainings": len(demand.jobs),
        "steps": steps,
        "letters_trained": sum(
            job.config.epochs * sum(count_letters(row.prompt) + len(row.completion) for row in job.lesson.examples)
            for job in demand.jobs
        ),
        "verdicts": len(demand.cases),
    }


def _get_step(job: Any) -> int:
    size: int = job.config.batch_size * job.config.accumulation
    return size


def make_forecast(
    demand: Demand, sizer: TokenSizer, ways: Ways, calibration: Calibration, *, calls: Collection[Any] = ()
) -> Forecast:
    """Forecast a stage that was rehearsed. `calls`: those that its judge's server would get."""
    found = Forecast()
    rows = [list_rows(call, sizer) for call in demand.asked]
    flat = [row for call in rows for row in call]
    said = sum(completion.tokens or 0 for call in demand.asked for _, completion in call)
    sized = [size_jobs(jobs, sizer) for jobs in demand.fitted]
    judge = calibration.parts.get("judge")
    read = round(sum(map(_count_call, calls)) / (_get_letters(judge) or LETTERS_PER_TOKEN))
    answered = round(len(calls) * ((judge.tokens_per_answer if judge else None) or _VERDICT_TOKENS))
    asked_there = sum(row.prompt for row in flat) if ways.served else 0
    found.values = {
        "requests": len(flat),
        "tokens_in": sum(row.prompt for row in flat),
        "tokens_out": said,
        "trainings": len(demand.jobs),
        "steps": sum(job.steps for jobs in sized for job, _ in jobs),
        "tokens_trained": sum(job.epochs * tokens for jobs in sized for job, tokens in jobs),
        "calls": len(calls) + (len(flat) if ways.served else 0),
        "call_tokens_in": read + asked_there,
        "call_tokens_out": answered + (said if ways.served else 0),
    }
    trainer = calibration.parts.get("trainer")
    found.values["model_bytes"] = demand.written * trainer.written if trainer else 0 if not demand.jobs else None
    _describe_engine(found, rows, ways)
    _describe_trainer(found, [[job for job, _ in jobs] for jobs in sized], ways)
    if demand.cases:
        at_once = ways.at_once if calls else 1
        count = len(calls) or len(demand.cases)
        found.features["judge"] = {"rounds": float(-(-count // at_once)), "cases": float(count)}
    found.price(ways)
    found.time(calibration)
    return found


def _describe_engine(found: Forecast, calls: Sequence[Sequence[Any]], ways: Ways) -> None:
    """Put in what the time and the memory of the engine follow from."""
    if not any(calls):
        return
    if ways.served:
        found.features["engine"] = add_features(describe_calls(rows, ways.at_once) for rows in calls if rows)
        return
    batches = [batch for rows in calls for batch in make_row_batches(rows, ways.batch)]
    found.features["engine"] = add_features(map(describe_batch, batches))
    memory = [describe_batch_memory(batch) for batch in batches]
    found.memory["engine"] = {name: max(each[name] for each in memory) for name in memory[0]}


def _describe_trainer(found: Forecast, calls: Sequence[Any], ways: Ways) -> None:
    """Put in what the time and the memory of the trainer follow from."""
    if not any(calls):
        return
    shape, features = PassShape(), list[Features]()
    for jobs in calls:
        own, most = describe_fit(jobs, ways.slots, ways.pass_tokens)
        features.append(own)
        shape = shape.grow(most)
    found.features["trainer"] = add_features(features)
    found.memory["trainer"] = shape.features


def make_outer_forecast(sizes: Sequence[int], config: SftConfig, calibration: Calibration) -> Forecast:
    """Forecast the outer update on examples of so many tokens each."""
    found = Forecast()
    features, shape = describe_outer(sizes, config.epochs, config.batch_size, config.micro_batch)
    outer = calibration.parts.get("outer")
    found.values = {
        **{"requests": 0, "tokens_in": 0, "tokens_out": 0, "trainings": 1, "steps": int(features["steps"])},
        **{"tokens_trained": config.epochs * sum(sizes), "calls": 0, "call_tokens_in": 0, "call_tokens_out": 0},
        **{"cost": None, "model_bytes": outer.written if outer else None},
    }
    found.features["outer"], found.memory["outer"] = features, shape.features
    found.time(calibration)
    return found


def _count_call(call: Any) -> int:
    """Letters of the messages or the prompt of a call."""
    body: Mapping[str, Any] = call.body
    return count_letters(body.get("messages") or body.get("prompt") or "")


def _get_letters(part: PartSpeed | None) -> float | None:
    return part.letters_per_token if part else None


def list_cases(cases: Sequence[Case]) -> list[Case]:
    """Return the cases that a judge is asked about: each once, and none that is empty."""
    return [case for case in dict.fromkeys(cases) if case.prediction.strip()]
