"""Protocols and data shared by stages and engines: requests and completions, jobs and results. Imports nothing heavy.

A prompt is written by a domain and rendered here, once, for sampling and for training alike.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from stages.settings import FitConfig, Sampling

MAX_ROW_TOKENS = 8192  # official self-edit.py, max_tokens: a row of few-shot training has fewer
Finish = Literal["stop", "length", "refused", "failed", "unknown"]
Unit = Literal["tokens", "requests", "verdicts"]  # what work is counted in
Prompt = str | Sequence[Mapping[str, str]]  # text, or the messages of a chat


@dataclass(frozen=True)
class Request:
    """One completion asked for. Requests with different adapters, samplings and lengths mix freely in one call.

    `schema`: a JSON Schema that the completion must obey, for engines that can see to it. `continuation`: nothing is
    written; asked for is how likely this text is behind the prompt, which only some engines tell.
    """

    id: str
    prompt: Prompt
    sampling: Sampling
    adapter: Path | None = None
    schema: Mapping[str, Any] | None = None
    continuation: str | None = None


@dataclass(frozen=True)
class Completion:
    """The text that came back, thoughts and all, without the end token. finish "length": it was cut at max_tokens.

    "refused": the model would not say more. "failed": there is no text, for `error`; ours, never a wrong answer.
    "unknown", and None for `tokens`: the server does not say. `log_probability`: of a continuation, mean per token;
    `token_log_probabilities`: of each. `prompt_tokens`: what the model read for it, a measured continuation included;
    None: not known.
    """

    id: str
    text: str
    finish: Finish
    tokens: int | None
    error: str | None = None
    log_probability: float | None = None
    prompt_tokens: int | None = None
    token_log_probabilities: tuple[float, ...] = ()


@dataclass(frozen=True)
class Probe:
    """A text whose tokens are measured, those from `first` (≥ 1) on, by engines that shall agree about them.

    `ids` are the tokens of prompt and text; a server gets these, an engine here encodes the texts itself.
    """

    prompt: Prompt
    text: str
    ids: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class Example:
    """One training sequence. The loss is on the completion; on every token if `loss_on_prompt`, or without a prompt."""

    prompt: Prompt
    completion: str
    loss_on_prompt: bool = False
    weight: float = 1.0  # of its loss; below 0 the completion is unlearned
    rejected: str | None = None  # the completion that the model is to like less than this one


@dataclass(frozen=True)
class TrainingSet:
    """A self-edit turned into training data, with the hyper-parameters it chose itself (fields of FitConfig)."""

    examples: tuple[Example, ...]
    chosen: Mapping[str, Any] = field(default_factory=dict)
    replayed: int = 0  # how many of the examples, the first ones, are not of the self-edit


@dataclass(frozen=True)
class FitJob:
    """One adapter to train: what, how, from which seed, and the directory it is written to.

    `about`: what else its record says of how it was trained.
    """

    id: str
    lesson: TrainingSet
    config: FitConfig
    seed: int
    out: Path
    about: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class FitResult:
    """The outcome of a job. `error` is a failure of this training alone (it diverged); path is then None."""

    id: str
    path: Path | None
    sequences: int
    tokens: int
    steps: int
    loss_first: float
    loss_last: float
    error: str | None = None


def make_failed_result(job: FitJob, error: object) -> FitResult:
    """Make the result of a job that was not started."""
    return FitResult(job.id, None, 0, 0, 0, float("nan"), float("nan"), str(error))


class WorkLog(Protocol):
    """Records which jobs or requests are in work, so that a crash can be blamed on one of them."""

    def begin_work(self, names: Iterable[str]) -> None:
        """Note that work on these begins: if the process dies now, one of them may have killed it."""

    def end_work(self, names: Iterable[str]) -> None:
        """Note that work on these is over, whatever came of it."""

    def give_up(self, names: Sequence[str]) -> None:
        """Note that these will not be made: each has killed its worker, and alone once more."""


class Progress(WorkLog, Protocol):
    """Shows a person how far the work has come. Stages, engines and trainers report to it."""

    def expect(self, amount: int, unit: Unit = "tokens", *, steps: int = 0) -> None:
        """Announce how much there is to do: tokens to train on (once per epoch, unpadded), requests, or verdicts.

        `steps`: optimizer steps, where their number is known; one of few tokens is not as quick as they are few.
        """

    def add_trained(self, tokens: int) -> None:
        """Count more of the expected tokens as done: trained, or written towards a budget."""

    def advance(self, amount: int) -> None:
        """Count more verdicts or optimizer steps as done."""

    def add_written(self, tokens: int, ended: int = 0) -> None:
        """Count more sampled tokens, and how many completions of the current batch ended with them."""

    def add_usage(self, read: int | None, written: int | None) -> None:
        """Count a completion, with the tokens that were read for it and written, for what the run has cost."""

    def set_phase(self, name: str) -> None:
        """Name what is done from here on, as a participle: training, judging."""

    def note(self, text: str) -> None:
        """Tell the user something."""


class NullProgress:
    """A Progress that does nothing."""

    def begin_work(self, names: Iterable[str]) -> None: ...
    def end_work(self, names: Iterable[str]) -> None: ...
    def give_up(self, names: Sequence[str]) -> None: ...
    def expect(self, amount: int, unit: Unit = "tokens", *, steps: int = 0) -> None: ...
    def add_trained(self, tokens: int) -> None: ...
    def advance(self, amount: int) -> None: ...
    def add_written(self, tokens: int, ended: int = 0) -> None: ...
    def add_usage(self, read: int | None, written: int | None) -> None: ...
    def set_phase(self, name: str) -> None: ...
    def note(self, text: str) -> None: ...


class PartialProgress(NullProgress):
    """A Progress that passes on what these methods are told, and does nothing of the others."""

    def __init__(self, progress: Progress, *methods: str) -> None:
        for name in methods:
            setattr(self, name, getattr(progress, name))


class MappedProgress(PartialProgress):
    """A Progress that passes everything on, and translates the names of what is in work: from requests to lines.

    `lines`: by the name of a request or a job, the lines that come of it.
    """

    def __init__(self, progress: Progress, lines: Mapping[str, tuple[str, ...]]) -> None:
        told = "expect", "add_trained", "advance", "add_written", "add_usage", "set_phase", "note"
        super().__init__(progress, *told)
        self.progress, self.lines = progress, lines

    def begin_work(self, names: Iterable[str]) -> None:
        self.progress.begin_work(line for name in names for line in self.lines[name])

    def end_work(self, names: Iterable[str]) -> None:
        self.progress.end_work(line for name in names for line in self.lines[name])


def group_by_adapter(requests: Iterable[Request]) -> dict[Path | None, list[Request]]:
    """Group requests: those without an adapter first, then each adapter's, in order of first appearance."""
    groups: dict[Path | None, list[Request]] = {None: []}
    for request in requests:
        groups.setdefault(request.adapter, []).append(request)
    return groups


Hear = Callable[[str, str], object]  # told of a request's id and the text that it has so far


class Engine(Protocol):
    """Generates completions. `model` is the name written into records.

    One that can tell a text while it is written has an attribute `hear`, None, in which a Hear may be put. The text may
    begin anew, where a request is asked again; the completion counts.
    """

    model: str

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        """Yield one completion per request, in any order, as they finish."""


def sample_all(
    requests: Sequence[tuple[str, Request]], engine: Engine, progress: Progress, what: str = ""
) -> Iterator[Completion]:
    """Yield the completions of requests as they come; each request is given with the key of the line that it is of.

    Notes behind the last one how many of `what` were cut off, where that is something to know. Raises RuntimeError
    where the engine gives none for some.
    """
    progress.expect(len(requests), "requests")
    named = MappedProgress(progress, {request.id: (key,) for key, request in requests})
    missing, cut = {request.id: None for _, request in requests}, 0
    for completion in engine.sample([request for _, request in requests], named) if requests else ():
        missing.pop(completion.id, None)
        cut += completion.finish == "length"
        progress.add_usage(completion.prompt_tokens, completion.tokens)
        yield completion
    if cut and what:
        progress.note(f"{cut} of {len(requests)} {what} were cut off at --max-tokens")
    if missing:
        told = f"{len(missing)} requests, the first is {next(iter(missing))}"
        raise RuntimeError(f"the engine gave no completion for {told}")


class Trainer(Protocol):
    """Trains adapters, many jobs at once. Results come as jobs finish, in any order."""

    model: str

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """Yield one result per job. A job that cannot be trained gives a result with its error; the others go on."""
