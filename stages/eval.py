"""adapter → score: the student answers the task's questions with the passage out of sight (SEAL section 3.1).

What is asked, and what the answers come to, is the domain's. Lines without an adapter are answered by the model as it
is: the baseline row, or with `in_context` the oracle row.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from stages.domains.answers import (
    Answered,
    Graded,
    Scorable,
    UnchangedAdapters,
    add_fingerprint,
    answered_chat,
    collect_answers,
    list_keyed_requests,
    make_score_line,
    read_baselines,
    survey_adapters,
    watch_adapters,
    without_lost_adapter,
)
from stages.domains.base import Domain, GradableAnswer, find_domain, refuse_flags
from stages.domains.likelihood import LikelihoodMeter, LikelihoodOf, LikelihoodWorker, is_measured
from stages.domains.retrieval.chunks import retrieve_chunks
from stages.files import hold_folders
from stages.interfaces import Completion, Engine, NullProgress, Progress, Prompt, sample_all
from stages.judges.base import FallbackJudge, Judge
from stages.records.record import Record, Section
from stages.records.stored.by_key import RecordsByKey
from stages.records.task import Task
from stages.scoring.exams import identify_tasks, list_exam_lines, read_exam, refuse_other_tasks, require_adapters
from stages.scoring.grading import (
    AnswerKey,
    PendingLines,
    get_owner_id,
    grade_groups,
    grade_without_judge,
    is_answered,
    list_parts,
)
from stages.services.base import report_engine, report_judge
from stages.settings import ANSWERING, Retrieval, Sampling
from stages.tokens.token_counts import count_crowded, count_overlong
from stages.work import WHOLE_INPUT, EngineSource, JudgeSource, Listing, Plan, Source, WholeSource, Work, describe_plan


@dataclass(frozen=True)
class Eval:
    """Lets the student answer each task's questions without its passage, with and without the adapter."""

    engine: EngineSource
    judge: JudgeSource
    in_context: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    chat: bool | None = None
    judge_given: str | None = None  # a judge that somebody chose: ARC has no use for one
    on: Path | None = None  # the tasks that every adapter answers, instead of its own
    retain: Path | None = None  # the anchors: tasks that every adapter answers beside its own
    likelihood: LikelihoodOf | None = None  # how likely these texts are is measured, and nothing is answered
    retrieval: Retrieval = Retrieval()  # passages of others in the prompts
    name: str = "eval"
    needs: tuple[Section, ...] = ()

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work | Listing:
        source = source or WholeSource(records)
        if not source.facts.lines:
            return Listing(WHOLE_INPUT)
        domain = find_domain(source.facts.domains)
        defaults = domain.defaults
        refuse_flags(domain, "eval", {"--judge": self.judge_given})
        exam = read_exam(self.on, "--on", domain.name, domain.check) if self.on else ()
        anchors = read_exam(self.retain, "--retain", domain.name, domain.check) if self.retain else ()
        meter = LikelihoodMeter(domain, self.likelihood, self.in_context, bool(self.chat)) if self.likelihood else None
        if meter:
            ways = {"--judge": self.judge_given, "--on": self.on, "--retain": self.retain, "--stop": self.stop or None}
            meter.refuse_flags(self.engine.name, {**ways, "--max-tokens": self.max_tokens}, self.retrieval.retrieve)
        lines = source.sift(records, Scorable(meter or domain, on_others=bool(exam)))
        found, named, chats = survey_adapters(lines)
        model = self.engine.choose(source.facts.students, self.engine.find_moved(found, source.folders))
        lost = self._find_lost(found, named, model, source)
        lines = list_exam_lines(lines, exam, is_shard=source.is_shard) if exam else lines
        if anchors:
            require_adapters(lines)
            refuse_other_tasks(lines, anchors)
        usable = {path: base for path, base in found.items() if str(path) not in lost}
        chat = answered_chat(self.chat, defaults.chat or self.engine.chats, chats)
        most = self.max_tokens or defaults.answering.max_tokens
        answering = replace(defaults.answering, max_tokens=most, stop=self.stop)
        asked = chain((line.task for line in lines), anchors)
        domain, found_in = retrieve_chunks(domain, asked, self.retrieval, in_context=self.in_context)
        asking = _Asking(domain, answering, self.in_context, chat, usable, lost, exam, anchors, found_in)
        if meter:
            return self._prepare_likelihoods(lines, model, asking, replace(meter, domain=domain, chat=chat))
        return self._prepare_answers(lines, model, asking)

    def _find_lost(
        self, adapters: Mapping[Path, str], named: Sequence[str], model: str, source: Source
    ) -> Mapping[str, str]:
        """Return the adapters that cannot be used, and why; `named` has each line's. Raises where none has another."""
        unusable = self.engine.find_unusable(adapters, model, source.folders)
        lost = {path: str(unusable[Path(path)]) for path in named if path and Path(path) in unusable}
        if named and all(path in lost for path in named):  # more than one line's trouble
            raise unusable[Path(named[0])]
        source.tell_unscored([lost.get(path) for path in named])
        return lost

    def _prepare_answers(self, lines: Sequence[Record], model: str, asking: "_Asking") -> Work:
        domain, judge_name = asking.domain, asking.domain.judge or self.judge.text
        todo = plan(lines)

        def open_both(finished: Sequence[Record]) -> "_Examiner":
            self.judge.probe()
            judge = self.judge.load()
            return _Examiner(todo.wanted, self.engine.load(model, list(asking.usable)), judge, asking, finished)

        def list_asked() -> Iterator[Record]:
            yield from lines
            yield from (Record(task=task) for task in asking.anchors)

        hint = f"what the judge left unscored it is asked again by: seal judge FILE -j {self.judge.text}"
        return Work(
            plan=todo,
            settings=lambda: {
                **{"judge": domain.judge or self.judge.settings(), "in_context": self.in_context, "chat": asking.chat},
                **{"sampling": asking.sampling.settings, **self.engine.settings(model), **WHOLE_INPUT},
                **asking.name_tasks(),
                **asking.library,
            },
            summary=describe_plan(f"score {len(lines)} lines with {model} and the judge {judge_name}", asking.sampling),
            open=open_both,
            leased=todo.wanted,
            notes=self._note_foreign(model, asking),
            unscored_hint="" if self.judge.offline else hint,
            count_misfits=lambda: count_crowded(
                model, prompts(list_asked(), domain, in_context=self.in_context, chat=asking.chat)
            ),
            claim=lambda: hold_folders(path.parent for path in asking.usable),  # of a pipe no line on disk names them
        )

    def _note_foreign(self, model: str, asking: "_Asking") -> list[str]:
        others = self.engine.find_foreign(asking.usable, model)
        note = f"note: answering with {model}, but adapters were trained on "
        return [note + ", ".join(sorted(others))] if others else []

    def _prepare_likelihoods(
        self, lines: Sequence[Record], model: str, asking: "_Asking", meter: LikelihoodMeter
    ) -> Work:
        found, todo = list(asking.usable), plan(lines, is_measured)
        return Work(
            plan=todo,
            settings=lambda: {
                **{"likelihood": meter.of, "in_context": meter.in_context, "chat": meter.chat},
                **{**self.engine.settings(model), **WHOLE_INPUT, **asking.library},
            },
            summary=f"measure on {len(lines)} lines how likely the {meter.of} are to {model}",
            open=lambda done: LikelihoodWorker(meter, todo.wanted, self.engine.load(model, found), asking.lost, done),
            leased=todo.wanted,
            notes=self._note_foreign(model, asking),
            count_misfits=lambda: count_overlong(model, meter.list_examples(lines)),
            claim=lambda: hold_folders(path.parent for path in asking.usable),
        )


@dataclass(frozen=True)
class _Asking:
    """Settings of the questions; the adapters that can be used, by path, and those that cannot, with the reason.

    `exam`, `anchors`: the tasks of other files that adapters answer instead of their own, and beside them. `library`:
    what a run's settings say of retrieved passages.
    """

    domain: Domain
    sampling: Sampling
    in_context: bool
    chat: bool
    usable: Mapping[Path, str]
    lost: Mapping[str, str]
    exam: Sequence[Task] = ()
    anchors: Sequence[Task] = ()
    library: Mapping[str, Any] = field(default_factory=dict)

    def name_tasks(self) -> Mapping[str, str]:
        """Return what a run's settings say of the tasks of other files: nothing where there are none."""
        found = {"on": self.exam, "retain": self.anchors}
        return {flag: identify_tasks(tasks) for flag, tasks in found.items() if tasks}


@dataclass(frozen=True)
class _Examiner:
    lines: Mapping[str, Record]  # by their keys
    engine: Engine
    judge: Judge
    asking: _Asking
    finished: Sequence[Record]

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        return run(
            [self.lines[key] for key in keys],
            self.engine,
            domain=self.asking.domain,
            judge=FallbackJudge(self.judge, progress.note),
            sampling=self.asking.sampling,
            in_context=self.asking.in_context,
            chat=self.asking.chat,
            known=self.finished,
            lost=self.asking.lost,
            anchors=self.asking.anchors,
            progress=progress,
        )

    def report(self) -> Iterator[str]:
        yield from report_engine(self.engine)
        yield from report_judge(self.judge)


def plan(records: Iterable[Record], is_whole: Callable[[Record], bool] = is_answered) -> Plan:
    """Plan a line for each line that was read.

    A line that lacks an answer because the engine failed is made again, and one that other files of its adapter
    answered. Lines of a task are kin: one of them has its baseline.
    """
    drop = partial(Record.grow, score=None)
    wanted = RecordsByKey(records, lambda line: (get_owner_id(line),), drop, lambda line: line.task.id)
    return Plan("score", wanted, get_owner_id, UnchangedAdapters(is_whole), kin_of=lambda key: wanted.get_kin(key))


def run(
    records: Iterable[Record],
    engine: Engine,
    *,
    domain: Domain,
    judge: Judge,
    sampling: Sampling = ANSWERING,
    in_context: bool = False,
    chat: bool = False,
    known: Iterable[Record] = (),
    lost: Mapping[str, str] = {},
    anchors: Sequence[Task] = (),
    progress: Progress = NullProgress(),
) -> Iterator[Record]:
    """Yield the score of each line as soon as its answers are there.

    The baseline of a task is answered once, however many adapters it has, and not at all where a `known` score line of
    the same settings has it. Reads all lines first: requests are batched across them, and the stage before has then
    left the device. Of an adapter whose path is `lost`, the answers stay unscored for the reason that stands there.
    Every adapter answers the `anchors`, too, which are no line's own: the score's retention.
    Raises BadInput for lines that cannot be scored or would be counted twice.
    """
    there = list(records)
    check = Scorable(domain)
    for line in there:
        check(line)
    lines, named = (
        [without_lost_adapter(line, lost) for line in there],
        {get_owner_id(line): line.adapter for line in there},
    )
    tasks = {task.id: task for task in (*anchors, *(line.task for line in lines))}
    queries = {name: list(domain.queries(task, in_context=in_context, chat=chat)) for name, task in tasks.items()}
    done: dict[AnswerKey, Graded] = {key: graded for line in known for key, graded in read_baselines(line)}
    requests = list(list_keyed_requests(lines, queries, sampling, done, anchors))
    watched = watch_adapters(lines)
    completions = sample_all(requests, engine, progress, "answers")

    def replies(each: Answered) -> tuple[GradableAnswer, ...]:
        return tuple(domain.make_answers(each.task, each.completions, in_context=in_context))

    if not domain.judge:
        completions = _then(completions, lambda: progress.set_phase("judging"))
    parts = [part for line in lines for part in list_parts(line, anchors)]
    found = ((each.owner, replies(each)) for each in collect_answers(parts, queries, done, completions))
    groups = (((owner, said), [reply.item for reply in said]) for owner, said in found)

    def grade() -> Iterator[AnswerKey]:
        for (owner, said), verdicts in grade_without_judge(groups) if domain.judge else grade_groups(groups, judge):
            done[owner] = Graded(said, verdicts)
            yield owner

    for line in PendingLines(lines, done, anchors).complete(grade()):
        made = make_score_line(line, done, engine.model, domain.judge or judge.name, anchors)
        yield add_fingerprint(made, watched).grow(adapter=named[get_owner_id(line)])


def prompts(lines: Iterable[Record], domain: Domain, *, in_context: bool, chat: bool) -> Iterator[Prompt]:
    """Yield the prompts of each task, once, without asking them."""
    tasks = {line.task.id: line.task for line in lines}
    return (query.prompt for task in tasks.values() for query in domain.queries(task, in_context=in_context, chat=chat))


def _then(completions: Iterable[Completion], work: Callable[[], object]) -> Iterator[Completion]:
    """Yield the items, and call `work` after the last one."""
    yield from completions
    work()
