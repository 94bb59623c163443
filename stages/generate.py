"""task → edit: the model reads a task and writes its own training data for it (SEAL section 3)."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from stages.domains.base import Domain, find_domain
from stages.domains.templates.budget import MOST_SAMPLES, TokenBudget
from stages.domains.templates.entigraph import ENTIGRAPH, EntityGraph
from stages.domains.templates.mix import MIX, read_mix
from stages.domains.templates.relations import ask_relations
from stages.domains.writing import (
    EditRequest,
    SampleKeys,
    Writing,
    list_requests,
    make_edit,
    make_edit_key,
    make_next_request,
    refuse_asking,
    refuse_writing,
    write_fixed_edits,
)
from stages.errors import BadConfig, refuse_given
from stages.interfaces import Engine, NullProgress, PartialProgress, Progress, Request, sample_all
from stages.models.checkpoints import identity_of
from stages.records.record import Record, Section
from stages.records.stored.by_key import RecordsByKey
from stages.scoring.candidates import EditTracker, is_written
from stages.services.base import report_engine
from stages.settings import Sampling
from stages.sources.repeats import UniqueLines
from stages.tokens.token_counts import count_crowded
from stages.work import WHOLE_INPUT, EngineSource, Listing, Plan, Source, WholeSource, Work, describe_plan


@dataclass(frozen=True)
class Generate:
    """Lets a model write self-edits for each task. None: the domain's default.

    `sampling`: fields of Sampling that are not to be the domain's. `batched`: another process asks the calls, once.
    `budget_tokens`: samples of a task are asked for until they have so many, `samples` at most. `pairs`, `triples`: of
    EntityGraph. For the others see Writing.
    """

    engine: EngineSource
    template: str | None = None
    samples: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    chat: bool | None = None
    retries: int = 0
    unique: bool = False
    structured: bool = False
    pairs: int | None = None
    triples: int | None = None
    budget_tokens: int | None = None
    seed: int = 0
    batched: bool = False
    name: str = "generate"
    needs: tuple[Section, ...] = ()

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work | Listing:
        source = source or WholeSource(records)
        if not source.facts.lines:
            return Listing(WHOLE_INPUT)
        lines = source.sift(records, Writable())
        domain = find_domain(source.facts.domains)
        defaults = domain.defaults
        refuse_writing(
            domain, self.engine.name, self.batched, self.retries, unique=self.unique, structured=self.structured
        )
        if self.structured:
            refuse_given(
                {"--stop": self.sampling.get("stop")}, "--structured ends each self-edit; leave one of them out"
            )
        template = self.template or defaults.template
        fixed = domain.get_fixed_edit(template)
        if fixed is not None:
            return self._prepare_fixed(lines, domain, template, fixed)
        drawn = replace(defaults.writing, **self.sampling, seed=self.seed)
        chat = (defaults.chat or self.engine.chats) if self.chat is None else self.chat
        samples = self.samples or (MOST_SAMPLES if self.budget_tokens else defaults.samples)
        writing = Writing(domain, template, samples, drawn, chat, self.retries, self.unique, self.structured)
        graph = self._make_graph(domain, template)
        mix = read_mix(template, domain) if template.startswith(MIX) else None
        return self._prepare_asking(lines, replace(writing, graph=graph, mix=mix), source.facts.editors)

    def _make_graph(self, domain: Domain, template: str) -> EntityGraph | None:
        """Return how a template asks about entities, if it does. Raises BadConfig for flags that contradict it."""
        counts = {name: value for name in ("pairs", "triples") if (value := getattr(self, name)) is not None}
        budget = {"--budget-tokens": self.budget_tokens}
        if self.batched:
            refuse_given(budget, "a batch answers once, and what is asked for depends on what came; leave it out")
        if self.unique:
            refuse_given(budget, "self-edits that --unique leaves out would not count; leave one of them out")
        if template != ENTIGRAPH:
            refuse_given({f"--{name}": value for name, value in counts.items()}, f"is for --template {ENTIGRAPH}")
            return None
        if domain.name != "qa":
            raise BadConfig(f"--template {ENTIGRAPH}: asks about a passage; tasks of {domain.name} have none")
        if self.batched:
            raise BadConfig(
                f"--template {ENTIGRAPH}: asks about the answers to its own first calls; a batch answers once"
            )
        graph = EntityGraph(**counts)
        graph.check()
        return graph

    def _prepare_asking(self, lines: Sequence[Record], writing: Writing, editors: Collection[str]) -> Work:
        text, chat = writing.text, writing.chat
        ways: dict[str, object] = {
            "retries": writing.retries,
            "unique": writing.unique,
            "structured": writing.structured,
        }
        ways |= {"budget_tokens": self.budget_tokens, "graph": writing.graph and asdict(writing.graph)}
        changed = {name: value for name, value in ways.items() if value}
        budget = TokenBudget(self.budget_tokens, writing.most_tokens) if self.budget_tokens else None
        for line in lines[:1]:
            writing.prompt(line.task)  # raises for an unknown template before a model is loaded
        todo = plan(lines, samples=writing.samples, optional=self.unique or budget is not None)
        model = self.engine.choose(editors)

        def requests() -> Iterator[Request]:
            return (sought.request for sought in list_requests(lines, writing, None))

        def open_engine(finished: Sequence[Record]) -> "_Writer":
            own = replace(writing, identity=model if self.engine.served else identity_of(model))
            return _Writer(todo.wanted, self.engine.load(model), own, EditTracker(), budget, finished)

        return Work(
            plan=todo,
            settings=lambda: {
                **{"template": writing.template, **WHOLE_INPUT, "text": text},
                **{"k": writing.samples, "chat": chat, "sampling": writing.sampling.settings, **changed},
                **self.engine.settings(model),
            },
            summary=describe_plan(
                f"ask {model} for {len(todo.wanted)} self-edits{budget.limit if budget else ''}", writing.sampling
            ),
            open=open_engine,
            leased=todo.wanted,
            count_misfits=lambda: count_crowded(model, (request.prompt for request in requests())),
            calls=lambda: self.engine.calls(model, requests()),
            conclude=budget.describe if budget else None,
            countable=budget is None,
        )

    def _prepare_fixed(self, lines: Sequence[Record], domain: Domain, template: str, text: str) -> Work:
        given = {"k": self.samples, **self.sampling}
        ways = {"retry_invalid": self.retries or None, "unique": self.unique or None}
        more = {"pairs": self.pairs, "triples": self.triples, "budget_tokens": self.budget_tokens}
        refuse_asking(template, **given, **ways, **more)
        todo = plan(lines, samples=1)
        return Work(
            plan=todo,
            settings=lambda: {"template": template, **WHOLE_INPUT, **({"text": text} if text else {})},
            summary=describe_plan(f"write {len(todo.wanted)} self-edits without asking a model", Sampling()),
            open=lambda finished: _Copier(todo.wanted, domain, template, text),
            leased=todo.wanted,
        )


@dataclass(frozen=True)
class _Writer:
    lines: Mapping[str, Record]  # by their keys
    engine: Engine
    writing: Writing
    choices: EditTracker
    budget: TokenBudget | None = None
    finished: Sequence[Record] = ()

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        part = PartialProgress(progress, "begin_work", "end_work", "add_usage", "note")
        told = part if self.budget else progress  # how far all of it is, the budget says
        for line in self.finished:
            self.choices.add(line)

        def ask(some: Collection[str]) -> Iterator[Record]:
            lines = [self.lines[key] for key in keys if key in some]
            return run(lines, self.engine, self.writing, keys=some, seen=self.choices, progress=told)

        return self.budget.fill(keys, self.finished, ask, progress) if self.budget else ask(keys)

    def report(self) -> Iterator[str]:
        yield from report_engine(self.engine)
        if self.writing.domain.schema() is not None:
            yield self.choices.summary


@dataclass(frozen=True)
class _Copier:
    lines: Mapping[str, Record]  # by their keys
    domain: Domain
    template: str
    text: str

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        return write_fixed_edits([self.lines[key] for key in keys], self.domain, self.template, self.text)

    def report(self) -> Iterable[str]:
        return ()


def plan(records: Iterable[Record], *, samples: int, optional: bool = False) -> Plan:
    """Plan a line for each sample of each task. A sample that the engine failed to give is asked for again.

    `optional`: samples that repeat another, or that a budget does not take, may be left out.
    """
    change = partial(Record.grow, edit=None, adapter=None, score=None)
    tasks = RecordsByKey(records, SampleKeys(samples), change)
    task_of = (lambda key: key.rpartition("/")[0]) if optional else None
    return Plan("edit", tasks, line_key, is_written, optional=optional, unit_of=task_of)


def line_key(line: Record) -> str:
    return make_edit_key(line.task, line.edit.sample if line.edit else 0)


def run(
    records: Iterable[Record],
    engine: Engine,
    writing: Writing,
    *,
    keys: Collection[str] | None = None,
    seen: EditTracker | None = None,
    progress: Progress = NullProgress(),
) -> Iterator[Record]:
    """Yield the self-edits of each task as they come; of these `keys` (see `plan`) only. Repeated tasks count once.

    `seen` knows the choices of finished lines, which others must not repeat where `writing` is unique, and counts.
    """
    seen = seen or EditTracker()
    waiting, lost = list(list_requests(records, writing, keys)), set[str]()
    for attempt in range(writing.retries + 1):
        again = []
        for sought, line in _order_by_task(_ask(waiting, engine, writing, progress), waiting, writing.unique):
            worth = seen.classify(line, unique=writing.unique)
            if writing.unique and sought.task.id in lost:
                continue  # an earlier sample of the task never came: this one waits for it, too
            if worth in ("unreadable", "repeat") and attempt < writing.retries:
                again.append(sought)
            elif worth != "repeat":
                lost |= {sought.task.id} if worth == "lost" else set()
                yield seen.add(line)
        if not again:
            return
        progress.note(f"{len(again)} self-edits are asked for again")
        waiting = [make_next_request(sought, writing, attempt + 1) for sought in again]


def _ask(
    waiting: Sequence[EditRequest], engine: Engine, writing: Writing, progress: Progress
) -> Iterator[tuple[EditRequest, Record]]:
    """Yield each requested self-edit with its line, as they come."""
    if writing.graph:
        yield from ask_relations(waiting, engine, writing, progress)
        return
    asked = {sought.request.id: sought for sought in waiting}
    requests = [(name, sought.request) for name, sought in asked.items()]
    for completion in sample_all(requests, engine, progress, "self-edits"):
        sought = asked[completion.id]
        yield sought, sought.line.grow(edit=make_edit(sought, completion, engine.model, writing))


def _order_by_task(
    found: Iterable[tuple[EditRequest, Record]], waiting: Sequence[EditRequest], unique: bool
) -> Iterator[tuple[EditRequest, Record]]:
    """Yield the same items as they come; with `unique` task by task, each task's in the order of its samples.

    Which of two equal ones is the second then depends on nothing but their numbers.
    """
    if not unique:
        yield from found
        return
    missing: dict[str, int] = {}
    for sought in waiting:
        missing[sought.task.id] = missing.get(sought.task.id, 0) + 1
    there: dict[str, list[tuple[EditRequest, Record]]] = {}
    for sought, line in found:
        group = there.setdefault(sought.task.id, [])
        group.append((sought, line))
        if len(group) == missing[sought.task.id]:
            yield from sorted(there.pop(sought.task.id), key=lambda pair: pair[0].sample)


def names_fixed_edit(template: str | None) -> bool:
    """Return True if the template stands for a fixed self-edit, so that no model is asked, in any domain."""
    return template is not None and template.partition(":")[0] in ("none", "oracle")


class Writable:
    """Checks one line after another: raises BadLine for one whose task has the id of another."""

    def __init__(self) -> None:
        self.distinct = UniqueLines()

    def __call__(self, line: Record) -> None:
        self.distinct.add_task(line.task)
