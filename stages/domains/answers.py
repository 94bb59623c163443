"""Answers: the requests for them, the sets that belong together as completions come, and score lines of them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stages.domains.base import GradableAnswer, Query, Voting
from stages.errors import BadConfig, BadLine
from stages.fingerprints import WatchedFolders, fingerprint_folder
from stages.interfaces import Completion, Request
from stages.judges.base import Verdict
from stages.records.frozen import content_id
from stages.records.record import Adapter, Record
from stages.records.score import AnchorAnswers, Answer, GridAnswer, make_retention, make_score
from stages.records.task import Task
from stages.scoring.grading import (
    AnswerKey,
    get_adapter_key,
    get_baseline_key,
    get_owner_id,
    list_missing_keys,
    list_parts,
)
from stages.settings import Sampling
from stages.sources.repeats import UniqueLines

Queries = Mapping[str, Sequence[Query]]  # by the task's id


@dataclass(frozen=True)
class Answered:
    """All answers of an adapter to its task, or of the plain model to a task."""

    owner: AnswerKey
    task: Task
    completions: tuple[Completion, ...]  # in the order of the task's queries


def _request_id(owner: AnswerKey, query: Query) -> str:
    """Hash ids into a request's id; ids of tasks, adapters and questions may hold any text."""
    return content_id(*owner, query.id)


def list_keyed_requests(
    lines: Sequence[Record],
    queries: Queries,
    sampling: Sampling,
    known: Collection[AnswerKey],
    anchors: Sequence[Task] = (),
) -> Iterator[tuple[str, Request]]:
    """Yield (line's key, request): a task's baseline before its first line, then each adapter's questions, once."""
    asked = set(known)
    for line, part in ((each, part) for each in lines for part in list_parts(each, anchors)):
        lacking = list_missing_keys(part, asked)
        for owner in lacking:
            path = part.adapter.path if part.adapter and owner == get_adapter_key(part) else None
            for query in queries[part.task.id]:
                name, text = _request_id(owner, query), query.continuation
                own = Request(name, query.prompt, sampling, Path(path) if path else None, continuation=text)
                yield get_owner_id(line), own
        asked.update(lacking)


def collect_answers(
    lines: Sequence[Record], queries: Queries, known: Collection[AnswerKey], completions: Iterable[Completion]
) -> Iterator[Answered]:
    """Yield each set of answers as soon as its last one has come."""
    tasks = {owner: line.task for line in lines for owner in list_missing_keys(line, known)}
    missing = {owner: len(queries[task.id]) for owner, task in tasks.items()}
    places = {_request_id(owner, query): owner for owner, task in tasks.items() for query in queries[task.id]}
    texts: dict[str, Completion] = {}
    for completion in completions:
        texts[completion.id] = completion
        owner = places[completion.id]
        missing[owner] -= 1
        if not missing[owner]:
            task = tasks[owner]
            own = (texts.pop(_request_id(owner, query)) for query in queries[task.id])
            yield Answered(owner, task, tuple(own))


@dataclass(frozen=True)
class Graded:
    """One set of answers (an adapter's or the plain model's) and their verdicts, in the same order."""

    replies: tuple[GradableAnswer, ...]
    verdicts: tuple[Verdict, ...]


def read_baselines(line: Record) -> Iterator[tuple[AnswerKey, Graded]]:
    """Yield the plain model's answers to the task, and to anchors, where a finished score line has all of them scored.

    Others are asked and judged again.
    """
    if line.score is None or line.adapter is None:
        return
    found: list[tuple[AnswerKey, Sequence[Answer]]] = [(get_baseline_key(line), line.score.answers)]
    for anchor in line.score.retention.anchors if line.score.retention else ():
        found.append((("task", anchor.task_id), anchor.answers))
    for key, answers in found:
        if answers and all(None not in (answer.baseline_prediction, answer.baseline_correct) for answer in answers):
            yield key, read_baseline(answers)


def read_baseline(answers: Sequence[Answer]) -> Graded:
    """Return the plain model's part of answers that were graded."""
    verdicts = [Verdict(answer.baseline_correct, None) for answer in answers]
    polls = [Voting(answer.baseline_attempts) if isinstance(answer, GridAnswer) else None for answer in answers]
    replies = [
        GradableAnswer(answer.id, answer.baseline_prediction, verdict, poll, answer.chunks)
        for answer, verdict, poll in zip(answers, verdicts, polls, strict=True)
    ]
    return Graded(tuple(replies), tuple(verdicts))


def make_score_line(
    line: Record, done: Mapping[AnswerKey, Graded], model: str, judge_name: str, anchors: Sequence[Task] = ()
) -> Record:
    """Return the line with its score. Without an adapter the value is the plain model's accuracy."""
    if line.adapter is None:
        answers = [_answer(*own, None) for own in _pairs(done[get_baseline_key(line)])]
    else:
        answers = _make_answers(line, done)
    score, kept = make_score(answers, model=model, judge=judge_name), []
    for part in list_parts(line, anchors)[1:]:
        kept.append(AnchorAnswers(task_id=part.task.id, answers=tuple(_make_answers(part, done, known=True))))
    retention = make_retention(kept, judge_name) if kept else None
    return line.grow(score=score.model_copy(update={"retention": retention}) if retention else score)


def _make_answers(line: Record, done: Mapping[AnswerKey, Graded], *, known: bool = False) -> list[Answer]:
    """Make the answers of a line's adapter, beside those of the plain model. `known`: to an anchor."""
    baseline, adapter = done[get_baseline_key(line)], line.adapter
    own = done[get_adapter_key(line)] if adapter and adapter.path else _lost(baseline, adapter, known=known)
    return make_paired_answers(own, baseline)


def make_paired_answers(own: Graded, baseline: Graded) -> list[Answer]:
    """Return the answers with an adapter beside those of the plain model."""
    return [_answer(*now, before) for now, before in zip(_pairs(own), _pairs(baseline), strict=True)]


def _pairs(graded: Graded) -> Iterator[tuple[GradableAnswer, Verdict]]:
    return zip(graded.replies, graded.verdicts, strict=True)


def _lost(baseline: Graded, adapter: Adapter | None, *, known: bool) -> Graded:
    """Return the answers of a missing adapter: wrong if that is the self-edit's fault.

    What was `known` is known as before where a self-edit gave no adapter: the model has not changed.
    """
    unread, error = adapter is not None and adapter.fault == "edit", adapter.error if adapter else None
    said = [replace(reply, prediction=None, poll=reply.poll and Voting()) for reply in baseline.replies]
    if known and unread:
        return Graded(tuple(said), tuple(Verdict(each.correct, error) for each in baseline.verdicts))
    return Graded(tuple(said), (Verdict(False if unread else None, error),) * len(said))


def _answer(reply: GradableAnswer, verdict: Verdict, before: tuple[GradableAnswer, Verdict] | None) -> Answer:
    found = {
        "id": reply.id,
        "prediction": reply.prediction,
        "correct": verdict.correct,
        "reason": verdict.reason,
        "baseline_prediction": before[0].prediction if before else None,
        "baseline_correct": before[1].correct if before else None,
        "chunks": reply.chunks,
    }
    if reply.poll is None:
        return Answer.model_validate(found)
    tried = before[0].poll.attempts if before and before[0].poll else ()
    poll = {"attempts": reply.poll.attempts, "votes": reply.poll.votes, "baseline_attempts": tried}
    return GridAnswer.model_validate({**found, **poll})


def without_lost_adapter(line: Record, lost: Mapping[str, str]) -> Record:
    """Return the line as if its training had failed, if its adapter cannot be used."""
    path = line.adapter.path if line.adapter else None
    if line.adapter is None or path is None or path not in lost:
        return line
    update = {"path": None, "fault": "training", "error": lost[path]}
    return line.grow(adapter=line.adapter.model_copy(update=update))


# ---- the files that answered


def watch_adapters(lines: Iterable[Record]) -> WatchedFolders:
    """Watch the adapters of lines, which are to be asked now."""
    return WatchedFolders(line.adapter.path for line in lines if line.adapter and line.adapter.path)


def add_fingerprint(line: Record, watched: WatchedFolders) -> Record:
    """Return a score line that names the files of its adapter. Raises BadInput where they were changed meanwhile."""
    path = line.adapter.path if line.adapter else None
    found = watched.read(path) if path else None
    return line.grow(score=line.score.model_copy(update={"fingerprint": found})) if line.score and found else line


class UnchangedAdapters:
    """Says whether a score line is whole, and its adapter's files are those that answered, as far as they are there.

    A line that does not say which files answered is believed.
    """

    def __init__(self, is_whole: Callable[[Record], bool]) -> None:
        self.is_whole = is_whole
        self.found: dict[str, str | None] = {}

    def __call__(self, line: Record) -> bool:
        path, said = line.adapter.path if line.adapter else None, line.score.fingerprint if line.score else None
        if path is None or said is None or not self.is_whole(line):
            return self.is_whole(line)
        if path not in self.found:
            self.found[path] = fingerprint_folder(Path(path)) if Path(path).is_dir() else None
        return self.found[path] in (said, None)


class _Checker(Protocol):
    def check(self, task: Task) -> None:
        """Raise BadLine for a task that cannot be scored."""


class Scorable:
    """Checks one line after another: raises BadLine for one that cannot be scored, or would be counted twice.

    `on_others`: the line's adapter is to answer other tasks, and its own need no questions.
    """

    def __init__(self, domain: _Checker, *, on_others: bool = False) -> None:
        self.domain, self.distinct, self.on_others = domain, UniqueLines(), on_others

    def __call__(self, line: Record) -> None:
        if not self.on_others:
            self.domain.check(line.task)
        elif not line.adapter and not line.edit:
            raise BadLine(f"task {line.task.name!r} has no adapter for --on to ask; the plain model is: seal eval FILE")
        if line.edit and not line.adapter:
            raise BadLine(f"task {line.task.name!r} has an edit but no adapter (run `seal adapt` first)")
        if line.adapter and not line.adapter.path and not line.adapter.error:
            raise BadLine(f"adapter {line.adapter.id} was imported without its weights (run `seal adapt` first)")
        owner = get_owner_id(line)
        self.distinct.add(line.task, owner, f"{'adapter' if line.adapter else 'task'} {owner} occurs twice")


def answered_chat(given: bool | None, usual: bool, trained: Collection[bool]) -> bool:
    """Return whether questions go through a chat template: as the flag says, or as the adapters' training tasks did.

    `trained`: how they did, of adapters that say. Raises BadConfig where these differ from the flag or each other.
    """
    if len(trained) > 1:
        raise BadConfig("some adapters were trained on chats, others on text; take them apart by .adapter.fit.chat")
    if given is not None and trained and given not in trained:
        flag, way = ("--chat", "text") if given else ("--no-chat", "chats")
        raise BadConfig(f"{flag}: the adapters were trained on {way}; leave it out")
    return next(iter(trained), usual) if given is None else given


def survey_adapters(lines: Iterable[Record]) -> tuple[dict[Path, str], list[str], set[bool]]:
    """Return the adapters' directories with the models that they were trained on, each line's own or "", and whether
    they were trained on chats, as far as they say so. The lines are read but once, which may be many.
    """
    found, named, chats = dict[Path, str](), list[str](), set[bool]()
    for adapter in (line.adapter for line in lines):
        named.append(adapter.path or "" if adapter else "")
        if adapter and adapter.path:
            found[Path(adapter.path)] = adapter.model
            chats |= {adapter.fit["chat"]} if "chat" in adapter.fit else set()
    return found, named, chats
