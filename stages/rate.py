"""edit → score: self-edits rated without training, by a model with a rubric (SEAL's proxy reward) or by a program.

A reply that gives no points leaves the self-edit unscored: a rater that writes prose has not said that it is bad.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stages.domains.base import Domain, find_domain
from stages.errors import BadConfig, BadLine
from stages.interfaces import Completion, Engine, NullProgress, Progress, Request, sample_all
from stages.judges.command import CommandRater
from stages.records.frozen import content_id
from stages.records.record import Record, Section, SelfEdit
from stages.records.score import Rating, Score
from stages.records.stored.by_key import RecordsByKey
from stages.records.thoughts import explain_no_answer, extract_answer, get_learnable_text
from stages.scoring.rubric import SEAL_SCALE, RatingScale
from stages.services.base import report_engine
from stages.settings import Sampling
from stages.sources.repeats import UniqueLines
from stages.tokens.token_counts import count_crowded
from stages.work import WHOLE_INPUT, EngineSource, Listing, Plan, Source, WholeSource, Work, describe_plan

_FIELD = re.compile(r"\{(title|context|completion)\}")


@dataclass(frozen=True)
class Rate:
    """Lets a model rate self-edits by a rubric, without training."""

    engine: EngineSource
    scale: RatingScale = SEAL_SCALE
    chat: bool | None = None
    name: str = "rate"
    needs: tuple[Section, ...] = ("edit",)

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work | Listing:
        source = source or WholeSource(records)
        if not source.facts.lines:
            return Listing(WHOLE_INPUT)
        rubric, domain = self.scale.read(), find_domain(source.facts.domains)
        _refuse_choices(domain)
        lines = source.sift(records, RateableCheck())
        model = self.engine.choose(source.facts.editors)
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=self.scale.max_tokens)
        chat = self.engine.chats if self.chat is None else self.chat

        def ask(lines: Iterable[Record]) -> Iterator[Request]:
            return (make_request(line, rubric, sampling, chat=chat) for line in lines if says_something(line))

        todo = plan(lines)
        return Work(
            plan=todo,
            settings=lambda: {
                **{"rubric": content_id(rubric), "lowest": self.scale.lowest, "highest": self.scale.highest},
                **{"chat": chat, "sampling": sampling.settings, **self.engine.settings(model), **WHOLE_INPUT},
            },
            summary=describe_plan(f"let {model} rate {len(lines)} self-edits", sampling),
            open=lambda finished: _Rater(todo.wanted, self.engine.load(model), ask, self.scale),
            leased=todo.wanted,
            count_misfits=lambda: count_crowded(model, (request.prompt for request in ask(lines))),
            calls=lambda: self.engine.calls(model, ask(lines)),
        )


@dataclass(frozen=True)
class _Rater:
    lines: Mapping[str, Record]  # by their keys
    engine: Engine
    ask: Callable[[Iterable[Record]], Iterator[Request]]
    scale: RatingScale

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        wanted = {key: self.lines[key] for key in keys}
        return run(wanted, list(self.ask(wanted.values())), self.engine, self.scale, progress=progress)

    def report(self) -> Iterator[str]:
        return report_engine(self.engine)


@dataclass(frozen=True)
class RateByProgram:
    """Lets a program rate self-edits, without a model. `timeout_s`: how long it may be silent, if not the default."""

    command: str
    timeout_s: float | None = None
    name: str = "rate"
    needs: tuple[Section, ...] = ("edit",)

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work | Listing:
        source, rater = source or WholeSource(records), CommandRater(self.command, timeout_s=self.timeout_s)
        if not source.facts.lines:
            return Listing(WHOLE_INPUT)
        _refuse_choices(find_domain(source.facts.domains), "a program")
        lines = source.sift(records, RateableCheck())
        todo = plan(lines)
        return Work(
            plan=todo,
            settings=lambda: {"program": self.command, **WHOLE_INPUT},
            summary=f"let {self.command} rate {len(lines)} self-edits",
            open=lambda finished: _ProgramWorker(todo.wanted, rater),
            leased=todo.wanted,
        )


@dataclass(frozen=True)
class _ProgramWorker:
    lines: Mapping[str, Record]  # by their keys
    rater: CommandRater

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        return rate_by_program([self.lines[key] for key in keys], self.rater, progress)

    def report(self) -> Iterator[str]:
        return iter(())


def _refuse_choices(domain: Domain, who: str = "a rubric") -> None:
    """Raise BadConfig where a self-edit is no text that can be rated by reading it."""
    if domain.schema() is not None:
        raise BadConfig(f"self-edits of the domain {domain.name} are choices, no texts; {who} has nothing to rate")


class RateableCheck:
    """Checks one line after another: raises BadLine for a self-edit that comes twice."""

    def __init__(self) -> None:
        self.distinct = UniqueLines()

    def __call__(self, line: Record) -> None:
        key = make_key(line)
        self.distinct.add(
            line.task, key, f"self-edit {_edit_of(line).id} occurs twice; give the lines of `seal generate`"
        )


def _edit_of(line: Record) -> SelfEdit:
    """Return the line's self-edit. Raises BadLine where there is none."""
    if line.edit is None:
        raise BadLine(f"task {line.task.id} has no edit (run `seal generate` first)")
    return line.edit


def make_key(line: Record) -> str:
    return f"{line.task.id}/{_edit_of(line).id}"


def plan(lines: Iterable[Record]) -> Plan:
    """Plan a line for each self-edit. One that the rater failed to rate is rated again."""
    wanted = RecordsByKey(lines, lambda line: (make_key(line),), partial(Record.grow, adapter=None, score=None))
    return Plan("score", wanted, make_key, _is_rated)


def _is_rated(line: Record) -> bool:
    return line.score is not None and line.score.value is not None


def says_something(line: Record) -> bool:
    """Tell whether there is a text to rate."""
    edit = _edit_of(line)
    return edit.error is None and edit.text is not None and bool(get_learnable_text(edit.completion).strip())


def make_request(line: Record, rubric: str, sampling: Sampling, *, chat: bool) -> Request:
    """Ask for the rating of the line's self-edit, without its thoughts. Braces in a text have no effect."""
    values = _describe(line)
    text = _FIELD.sub(lambda match: values[match[1]], rubric)
    return Request(make_key(line), [{"role": "user", "content": text}] if chat else text, sampling)


def run(
    lines: Mapping[str, Record],
    requests: Sequence[Request],
    engine: Engine,
    scale: RatingScale = SEAL_SCALE,
    *,
    progress: Progress = NullProgress(),
) -> Iterator[Record]:
    """Yield the lines, each with its rating as its score, as they come; `requests` are those of `make_request`.

    A self-edit that says nothing, or cannot be read, is worth 0 without asking: the editor's failure. One that was
    never written stays unscored.
    """
    asked, judge = {request.id for request in requests}, f"rubric:{engine.model}"
    yield from (_score(line, judge, _rate_unasked(line)) for key, line in lines.items() if key not in asked)
    for completion in sample_all([(request.id, request) for request in requests], engine, progress):
        yield _score(lines[completion.id], judge, _read_rating(completion, scale))


def rate_by_program(
    lines: Iterable[Record], rater: CommandRater, progress: Progress = NullProgress()
) -> Iterator[Record]:
    """Yield each line with its rating by the program; what says nothing, or was never written, it is not asked about.

    A value that is none leaves the self-edit unscored. Raises as `ask_program` does.
    """
    asked = []
    for line in lines:
        if says_something(line):
            asked.append(line)
        else:
            yield _score(line, rater.name, _rate_unasked(line))
    progress.expect(len(asked), "verdicts")

    def tell() -> Iterator[Mapping[str, str]]:
        for line in asked:
            progress.begin_work([make_key(line)])
            yield _describe(line)

    for line, found in zip(asked, rater.rate(tell()), strict=True):
        progress.advance(1)
        error = found.reason if found.value is None else None
        said = None if found.value is None else found.reason
        yield _score(line, rater.name, Rating(text=said, points=found.value, value=found.value, error=error))
        progress.end_work([make_key(line)])


def _describe(line: Record) -> Mapping[str, str]:
    """The passage and the self-edit, without its thoughts."""
    said = get_learnable_text(_edit_of(line).completion).strip()
    return {"title": line.task.name, "context": line.task.text, "completion": said}


def _rate_unasked(line: Record) -> Rating:
    edit = _edit_of(line)
    if edit.text is None:
        why = f"it was never written ({edit.error or explain_no_answer(edit.finish)}); run `seal generate` again"
        return Rating(text=None, points=None, value=None, error=why)
    return Rating(text=None, points=None, value=0.0, error=edit.error or "it says nothing")


def _read_rating(completion: Completion, scale: RatingScale) -> Rating:
    said = extract_answer(completion.text, completion.finish)
    if completion.error or said is None:
        why = completion.error or explain_no_answer(completion.finish)
        return Rating(text=None if completion.error else completion.text, points=None, value=None, error=why)
    points, error = scale.read_points(said)
    whole = said.rpartition("\n")[0] if completion.finish == "length" else said
    if error is None and scale.read_points(whole)[0] != points:  # half a number is another one
        points, error = None, f"truncated: the score in {said[-60:]!r} may go on; give more --max-tokens"
    value = None if points is None else (points - scale.lowest) / (scale.highest - scale.lowest)
    return Rating(text=completion.text, points=points, value=value, error=error)


def _score(line: Record, judge: str, rating: Rating) -> Record:
    """The line with its rating."""
    bounds = (0.0, 1.0) if rating.value is None else (rating.value, rating.value)
    score = Score(
        value=rating.value,
        bounds=bounds,
        baseline=None,
        model=_edit_of(line).model,
        judge=judge,
        answers=(),
        rating=rating,
    )
    return line.grow(adapter=None, score=score)
