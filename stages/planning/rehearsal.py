"""A rehearsal: a stage's own code, with an engine, a trainer and a judge that answer at once and write down their part.

So nothing of a stage is counted twice over: how many requests, trainings and verdicts it comes to is what it asks for.
What the model would say is supposed: texts that a calibration has heard, or as many tokens as are allowed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from stages.interfaces import Completion, Engine, FitJob, FitResult, NullProgress, Progress, Request, Trainer
from stages.judges.base import Case, Judge, Verdict
from stages.records.frozen import derive_seed
from stages.services.base import Call
from stages.settings import FitConfig
from stages.trainers.local import LocalTrainer

_LENGTH = 4  # letters that a token of a supposed text has
_WORD = "said "


def get_kind(request: Request) -> str:
    """Return what tells requests apart whose answers differ in length and speed: `drawn 512`, `greedy 64 adapter`."""
    if request.continuation is not None:
        return "measured adapter" if request.adapter else "measured"
    way = "drawn" if request.sampling.temperature > 0 else "greedy"
    until = "".join(f" until {stop!r}" for stop in request.sampling.stop)
    return f"{way} {request.sampling.max_tokens}{until}{' adapter' if request.adapter else ''}"


@dataclass(frozen=True)
class Speech:
    """What a model has said or may say: the text and how it ended; tokens without the end token."""

    text: str
    tokens: int
    finish: str


@dataclass(frozen=True)
class Supposition:
    """What a model would say: speeches by the kind of request; of a kind without any, all tokens that are allowed.

    `default` stands for such a text where one must be readable. `adapters`: directories that stand for those that are
    still to be trained, by what tells their shapes apart.
    """

    speeches: Mapping[str, Sequence[Speech]] = field(default_factory=dict)
    default: str | None = None

    def answer(self, request: Request) -> Completion:
        """Return the completion of a request; which of the speeches it is follows from its id."""
        if request.continuation is not None:
            return Completion(request.id, request.continuation, "stop", None, log_probability=-1.0)
        if known := self.speeches.get(get_kind(request)):
            said = known[derive_seed(0, request.id) % len(known)]
            return Completion(request.id, said.text, said.finish, said.tokens)  # type: ignore[arg-type]
        most = request.sampling.max_tokens
        text = self.default if self.default is not None else _WORD * (most * _LENGTH // len(_WORD) or 1)
        return Completion(request.id, text, "stop", most)


@dataclass
class Demand:
    """What a stage asks for: the calls of its engine with the supposed completions, the calls of its trainer, cases."""

    asked: list[list[tuple[Request, Completion]]] = field(default_factory=list)
    fitted: list[list[FitJob]] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    stacked: dict[Path, int] = field(default_factory=dict)  # how many updates a step of a sequence writes: all so far
    model: str = ""  # that is asked or trained

    @property
    def requests(self) -> list[Request]:
        return [request for call in self.asked for request, _ in call]

    @property
    def jobs(self) -> list[FitJob]:
        return [job for call in self.fitted for job in call]

    @property
    def written(self) -> int:
        """Updates that are written: one a training, and each of a sequence again with every step after it."""
        return sum(self.stacked.values()) + sum(job.out not in self.stacked for job in self.jobs)


@dataclass(frozen=True)
class RehearsedEngine:
    """An EngineSource in the place of another one, whose engine writes down what it is asked."""

    source: Any  # the EngineSource
    demand: Demand
    supposition: Supposition

    @property
    def name(self) -> str:
        return str(self.source.name)

    @property
    def served(self) -> bool:
        return bool(self.source.served)

    @property
    def chats(self) -> bool:
        return bool(self.source.chats)

    def choose(self, named: Collection[str], moved: str | None = None) -> str:
        return str(self.source.choose(named, moved))

    def settings(self, model: str) -> Mapping[str, Any]:
        return {"engine": self.name, "model": model}

    def load(self, model: str, adapters: Sequence[Path] = ()) -> Engine:
        self.demand.model = model
        return _Scribe(model, self.demand, self.supposition)

    def calls(self, model: str, requests: Iterable[Request]) -> Iterator[Call]:
        found: Iterator[Call] = self.source.calls(model, requests)
        return found

    def find_unusable(self, adapters: Mapping[Path, str], model: str, folders: Sequence[Path]) -> dict[Path, Exception]:
        found: dict[Path, Exception] = self.source.find_unusable(adapters, model, folders)
        return found

    def find_moved(self, adapters: Mapping[Path, str], folders: Sequence[Path]) -> str | None:
        found: str | None = self.source.find_moved(adapters, folders)
        return found

    def find_foreign(self, adapters: Mapping[Path, str], model: str) -> set[str]:
        return set()


@dataclass
class _Scribe:
    model: str
    demand: Demand
    supposition: Supposition

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        call = [(request, self.supposition.answer(request)) for request in requests]
        self.demand.asked.append(call)
        return (completion for _, completion in call)


@dataclass(frozen=True)
class RehearsedTrainer(LocalTrainer):
    """A LocalTrainer that writes down what it is to train. `leave` is told of each job, and may leave its directory."""

    demand: Demand = field(default_factory=Demand)
    leave: Callable[[FitJob], object] = bool

    def load(self, model: str) -> Trainer:
        self.demand.model = model
        return _Apprentice(model, self.demand, self.leave)

    def load_stack(self, model: str) -> Any:
        self.demand.model = model
        return _Apprentice(model, self.demand, self.leave)

    def make_check(self, model: str) -> Callable[[Path], bool]:
        return lambda path: True


@dataclass
class _Apprentice:
    model: str
    demand: Demand
    leave: Callable[[FitJob], object]

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        found = list(jobs)
        self.demand.fitted.append(found)
        for job in found:
            self.leave(job)
            rows, size = len(job.lesson.examples), job.config.batch_size * job.config.accumulation
            steps = job.config.epochs * -(-rows // size)
            yield FitResult(job.id, job.out, rows, 0, steps, 1.0, 1.0)

    @property
    def answering(self) -> Engine:
        """What a gate asks."""
        return _Scribe(self.model, self.demand, Supposition())

    def fit_on(
        self,
        before: Path | None,
        job: FitJob,
        progress: Progress = NullProgress(),
        accept: Callable[[Path], bool] | None = None,
    ) -> FitResult:
        """Write down a step of a sequence, and what its gate asks."""
        self.demand.stacked[job.out] = 1 + self._count(before)
        (result,) = self.fit([job], progress)
        if accept:
            accept(job.out)
        return result

    def keep(self, before: Path | None, config: FitConfig, out: Path) -> Path:
        self.demand.stacked[out] = self._count(before) or 1
        return out

    def _count(self, before: Path | None) -> int:
        return self.demand.stacked.get(before, 0) if before else 0


@dataclass(frozen=True)
class RehearsedJudge:
    """A JudgeSource in the place of another one, whose judge writes down the cases, and says yes to half of them."""

    source: Any  # the JudgeSource
    demand: Demand

    @property
    def text(self) -> str:
        return str(self.source.text)

    @property
    def offline(self) -> bool:
        return bool(self.source.offline)

    def settings(self) -> str:
        return self.text

    def limits(self) -> Mapping[str, Any]:
        return {}

    def probe(self) -> None:
        """Ask nobody."""

    def load(self) -> Judge:
        return _Assessor(self.text, self.demand)

    def calls(self, cases: Iterable[Case]) -> Iterator[Call]:
        return iter(())


@dataclass
class _Assessor:
    name: str
    demand: Demand

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            self.demand.cases.append(case)
            yield Verdict(derive_seed(0, f"{case.question} {case.gold} {case.prediction}") % 2 == 0)


def rehearse(stage: Any, demand: Demand, supposition: Supposition, leave: Callable[[FitJob], object] = bool) -> Any:
    """Return the stage with an engine, a trainer and a judge that write down what they are asked for."""
    parts: dict[str, Any] = {}
    if hasattr(stage, "engine"):
        parts["engine"] = RehearsedEngine(stage.engine, demand, supposition)
    if hasattr(stage, "judge"):
        parts["judge"] = RehearsedJudge(stage.judge, demand)
    if isinstance(trainer := getattr(stage, "trainer", None), LocalTrainer):
        own = {name: getattr(trainer, name) for name in (each.name for each in fields(LocalTrainer))}
        parts["trainer"] = RehearsedTrainer(**own, demand=demand, leave=leave)
    return replace(stage, **parts)
