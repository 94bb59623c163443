"""Measure this machine: the real engine, trainer or judge on a few pieces of the real input, for some seconds.

Each way is measured in several shapes, the small ones first, so that rates can be told apart; what would take longer
than the time that is left is made smaller or left out.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from stages.interfaces import Completion, Engine, FitJob, Request, Trainer
from stages.judges.base import Case, Judge, grade_pairs
from stages.planning.batches import (
    SizedRequest,
    describe_batch,
    describe_batch_memory,
    describe_calls,
    make_row_batches,
)
from stages.planning.rates import Features, Measurement, add_features
from stages.planning.rehearsal import Speech
from stages.planning.sizes import TokenSizer
from stages.planning.steps import PassShape, SizedJob, describe_fit
from stages.planning.stopwatch import Stopwatch, read_device_memory, read_memory, reset_memory

_T = TypeVar("_T")
_FEW_TOKENS = 12  # of a completion that is cut to learn the speed of a step
_MANY_TOKENS = 160  # a natural completion should at least be given so many
_MOST_SPEECHES = 64


@dataclass
class Trials:
    """Measurements of one part, and the memory that it held before and while it was loaded."""

    base: int = 0  # bytes behind loading
    device_base: int = 0
    warm_s: tuple[float, float] = (0.0, 0.0)  # what the first use takes more than another: wall, processor
    made: list[Measurement] = field(default_factory=list)
    memory: list[tuple[dict[str, float], int, int]] = field(default_factory=list)  # features so far, grown, on devices
    seconds: float = 0.0  # that may be spent from `began` on
    began: tuple[float, float] = (0.0, 0.0)  # on the wall, of the processor

    def begin(self, seconds: float) -> None:
        """Let so many seconds count from here, and memory from what there is."""
        reset_memory()
        self.base, self.device_base = read_memory()[0], read_device_memory()
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        """Let so many seconds count from here."""
        self.seconds, self.began = seconds, (time.monotonic(), time.process_time())

    @property
    def left_s(self) -> float:
        """Seconds that may still be spent."""
        return self.seconds - _weigh(time.monotonic() - self.began[0], time.process_time() - self.began[1])

    @property
    def last_s(self) -> float:
        """Seconds that the last measurement has spent."""
        return _weigh(self.made[-1].wall_s, self.made[-1].cpu_s)

    def add(self, features: Features, memory: Features, watch: Stopwatch) -> None:
        """Add a measurement. Memory never shrinks, so it follows from the largest of each feature so far."""
        self.made.append(Measurement(features, watch.wall_s, watch.cpu_s))
        before = self.memory[-1][0] if self.memory else {}
        most = {name: max(before.get(name, 0.0), memory.get(name, 0.0)) for name in {**before, **memory}}
        grown, device = read_memory()[1] - self.base, read_device_memory() - self.device_base
        self.memory.append((most, max(0, grown), max(0, device)))


def _weigh(wall_s: float, cpu_s: float) -> float:
    """Return the seconds that count: those of the processor where others use it, too, and not those of all threads."""
    return min(wall_s, max(cpu_s, wall_s / 8))


def choose_evenly(items: Sequence[_T], count: int) -> list[_T]:
    """Return so many of the items, evenly spread over all."""
    count = min(count, len(items))
    return [items[place * len(items) // count] for place in range(count)]


def list_sizes(most: int) -> list[int]:
    """Return 1, 4, 16 and so on, up to the most."""
    found = [size for size in (1, 4, 16, 64, 256) if size < most]
    return [*found, most]


@dataclass
class EngineTrials(Trials):
    """Trials of an engine; the speeches that it made by itself, and how many of them were not let finish."""

    speeches: list[Speech] = field(default_factory=list)
    cut: int = 0

    def measure(
        self, engine: Engine, requests: Sequence[Request], sizer: TokenSizer, at_once: int, *, served: bool
    ) -> None:
        """Ask requests of one kind: for one token, for a few, and at last for as long as they want.

        `at_once`: completions of a batch, or open calls to a server.
        """

        def ask(some: Sequence[Request], limit: int) -> list[Completion]:
            asked = [_limit(each, limit) for each in some]
            with Stopwatch() as watch:
                found = list(engine.sample(asked))
            by_id = {each.id: each for each in found}
            rows = [sizer.make_row(each, by_id[each.id]) for each in asked]
            if served:
                self.add(describe_calls(rows, at_once), {}, watch)
                return found
            batches = list(make_row_batches(rows, at_once))
            memory = [describe_batch_memory(each) for each in batches]
            most = {name: max(each[name] for each in memory) for name in memory[0]}
            self.add(add_features(describe_batch(each) for each in batches), most, watch)
            return found

        def choose(count: int) -> Sequence[Request]:
            return _choose(requests, count)

        most = requests[0].sampling.max_tokens
        ask(choose(2), 1)
        first = self.made.pop()
        ask(choose(2), 1)
        again, size = self.made[-1], 1
        more = first.wall_s - again.wall_s, first.cpu_s - again.cpu_s
        self.warm_s = self.warm_s[0] + max(0.0, more[0]), self.warm_s[1] + max(0.0, more[1])
        for count in list_sizes(min(at_once, len(requests))):
            if count > 1 and self.last_s * 4 > self.left_s / 3:
                break
            size = count
            ask(choose(size), 1)
        if requests[0].continuation is None and most > 1:
            self._measure_writing(ask, choose, size, most)

    def _measure_writing(
        self,
        ask: Callable[[Sequence[Request], int], list[Completion]],
        choose: Callable[[int], Sequence[Request]],
        size: int,
        most: int,
    ) -> None:
        few = min(most, _FEW_TOKENS)
        for count in dict.fromkeys((1, max(1, size // 8), size)):
            ask(choose(count), few)
        step_s = self.last_s / few
        while size > 1 and step_s * min(most, _MANY_TOKENS) > self.left_s:
            size = -(-size // 4)
            step_s /= 3
        limit = max(few, min(most, int(max(self.left_s, 0.5) / max(step_s, 1e-6))))
        said = [] if few == most and size == 1 else ask(choose(size), limit)
        if said and size > 1 and self.left_s > 0.3:
            ask(choose(max(1, size // 4)), limit)
        self.speeches = _learn_speeches(said or ask(choose(1), limit), limit, most)[:_MOST_SPEECHES]
        self.cut = sum(each.finish == "length" for each in said) if limit < most else 0


def _choose(requests: Sequence[Request], count: int) -> Sequence[Request]:
    """Requests of the model alone from everywhere; those of adapters as they follow each other, as in a batch."""
    return requests[:count] if requests[0].adapter else choose_evenly(requests, count)


def _limit(request: Request, tokens: int) -> Request:
    sampling = request.sampling
    return replace(request, sampling=replace(sampling, max_tokens=min(tokens, sampling.max_tokens)))


def _learn_speeches(said: Iterable[Completion], limit: int, most: int) -> list[Speech]:
    """Return what was said. Of those that were cut short of what is allowed, guess the length.

    Ends are taken to come at random, as often as among the tokens that were seen; with no end at all, at the most.
    """
    known = [each for each in said if each.finish != "failed"]
    tokens, ends = sum(each.tokens or 0 for each in known), sum(each.finish != "length" for each in known)
    more = min(most - limit, tokens // ends if ends else most)
    found = []
    for each in known:
        is_cut = each.finish == "length" and limit < most
        count = (each.tokens or 0) + (more if is_cut else 0)
        text = each.text * (1 + (more // max(1, limit) if is_cut else 0))
        found.append(Speech(text, count, "stop" if is_cut and count < most else each.finish))
    return found


@dataclass
class TrainerTrials(Trials):
    """Trials of a trainer, and the directory of an adapter that one of them made."""

    adapter: Path | None = None

    def measure(
        self, trainer: Trainer, jobs: Sequence[FitJob], sizer: TokenSizer, slots: int, budget: int, out: Path
    ) -> None:
        """Train some jobs for an epoch, one of them for several, and then many at once."""

        def fit(some: Sequence[FitJob], epochs: int, rows: int | None = None) -> None:
            cut = [_shorten(job, epochs, rows, out / f"{len(self.made)}-{number}") for number, job in enumerate(some)]
            sized = [sizer.size_job(job)[0] for job in cut]
            features, shape = describe_fit(sized, slots, budget)
            with Stopwatch() as watch:
                results = list(trainer.fit(cut))
            self.add(features, shape.features, watch)
            self.adapter = next((each.path for each in results if each.path), self.adapter)

        fit(jobs[:1], 1, 2)
        first = self.made.pop()
        fit(jobs[:1], 1, 2)
        again = self.made[-1]
        self.warm_s = max(0.0, first.wall_s - again.wall_s), max(0.0, first.cpu_s - again.cpu_s)
        rows = len(jobs[0].lesson.examples)
        each_s = _weigh(again.wall_s, again.cpu_s) / min(2, max(1, rows))
        few = max(1, min(rows, int(self.left_s / 4 / max(each_s, 1e-6))))
        fit(jobs[:1], 1, few)
        for count in list_sizes(min(slots, len(jobs)))[1:]:
            if self.last_s * 3 > self.left_s:
                break
            fit(choose_evenly(jobs, count), 1, 1)  # what a training takes, however long it is
            fit(choose_evenly(jobs, count), 1)
        if self.last_s * 3 < self.left_s:
            fit(jobs[:1], 3, few)
        if slots == 1 and len(jobs) > 1 and self.last_s * 2 < self.left_s:
            fit(choose_evenly(jobs, 2), 1, few)


def _shorten(job: FitJob, epochs: int, rows: int | None, out: Path) -> FitJob:
    """Return the training in few epochs, of its first rows: but for the number of its steps the same."""
    lesson = replace(job.lesson, examples=job.lesson.examples[:rows])
    return replace(job, out=out, lesson=lesson, config=replace(job.config, epochs=epochs))


@dataclass
class OuterTrials(Trials):
    """Trials of the outer update; the bytes of the model that one of them wrote."""

    written: int = 0

    def measure(
        self, sizes: Sequence[int], batch: int, micro: int, train: Callable[[Sequence[int], int, int], int]
    ) -> None:
        """Train on one example and on some more: each time the model is loaded, trained and written.

        `train` trains on the examples at some places, in one epoch, with so many a step and a pass, and returns the
        bytes of the model.
        """
        for count in (1, 1, *dict.fromkeys((min(len(sizes), batch), min(len(sizes), 3 * batch)))):
            if len(self.made) > 1 and self.last_s * 2 > self.left_s:
                break
            places = choose_evenly(range(len(sizes)), count)
            step = min(batch, count)
            part = micro if step % micro == 0 else 1
            features, shape = describe_outer([sizes[place] for place in places], 1, step, part)
            with Stopwatch() as watch:
                self.written = train(places, step, part)
            self.add(features, shape.features, watch)
        first, again = self.made.pop(0), self.made[0]
        self.warm_s = max(0.0, first.wall_s - again.wall_s), max(0.0, first.cpu_s - again.cpu_s)


def describe_outer(sizes: Sequence[int], epochs: int, batch: int, micro: int) -> tuple[Features, PassShape]:
    """Return what the time of an outer update follows from, and its largest pass: all rows padded to the longest."""
    passes = [sizes[start : start + micro] for start in range(0, len(sizes), micro)]
    padded = [(len(part) * max(part), len(part) * max(part) ** 2) for part in passes]
    features = {
        "starts": 1.0,
        "steps": float(epochs * -(-len(sizes) // batch)),
        "passes": float(epochs * len(passes)),
        "tokens": float(epochs * sum(tokens for tokens, _ in padded)),
        "squares": float(epochs * sum(squares for _, squares in padded)),
    }
    return features, PassShape(max(tokens for tokens, _ in padded), max(squares for _, squares in padded), 1)


def measure_judge(trials: Trials, judge: Judge, cases: Sequence[Case], at_once: int) -> None:
    """Have a few cases graded, as many as are asked at once, and some more."""
    for count in dict.fromkeys((1, min(len(cases), 2 * at_once))):
        with Stopwatch() as watch:
            for _ in grade_pairs(judge, choose_evenly(cases, count)):
                pass
        trials.add({"rounds": float(-(-count // at_once)), "cases": float(count)}, {}, watch)


def size_jobs(jobs: Iterable[FitJob], sizer: TokenSizer) -> list[tuple[SizedJob, int]]:
    """Return each training in tokens, with those of an epoch without pads."""
    return [sizer.size_job(job) for job in jobs]


def list_rows(call: Iterable[tuple[Request, Completion]], sizer: TokenSizer) -> list[SizedRequest]:
    """Return the requests of a call in tokens."""
    return [sizer.make_row(request, completion) for request, completion in call]
