"""Ask for self-edits that take several calls: the entities of a passage first, then a text about each relation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from stages.domains.qa import require_passage
from stages.domains.templates.entigraph import SEPARATOR, EntityGraph, read_entities
from stages.domains.writing import EditRequest, Writing, make_edit
from stages.interfaces import Completion, Engine, Finish, Progress, Request, sample_all
from stages.records.frozen import derive_seed
from stages.records.record import EditCall, Message, Record
from stages.records.thoughts import extract_answer

_AT_ONCE = 64  # self-edits whose calls are made together; what a crash costs at most


@dataclass
class _Call:
    """One call of a self-edit, and what came of it."""

    about: tuple[str, ...]
    request: Request
    completion: Completion | None = None

    @property
    def said(self) -> str | None:
        """The text behind the thoughts; None where there is none."""
        found = self.completion
        return None if found is None or found.error else extract_answer(found.text, found.finish)

    def record(self) -> EditCall:
        """Return it as the line keeps it."""
        found, prompt = self.completion or Completion(self.request.id, "", "failed", None), self.request.prompt
        return EditCall(
            about=self.about,
            prompt=prompt if isinstance(prompt, str) else tuple(Message(**turn) for turn in prompt),
            completion=found.text,
            finish=found.finish,
            tokens=found.tokens,
            seed=self.request.sampling.seed,
            error=found.error,
        )


@dataclass
class _Graph:
    """A self-edit that is being written."""

    sought: EditRequest
    first: _Call
    entities: tuple[str, ...] = ()
    relations: list[_Call] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return all(call.completion for call in self.relations)

    def plan_relations(self, graph: EntityGraph, *, chat: bool) -> list[_Call]:
        """Read the entities and plan the calls about them; none where there are not two."""
        task, drawn = require_passage(self.sought.task), self.sought.request.sampling
        self.entities = read_entities(self.first.said or "")
        for place, group in enumerate(graph.draw(self.entities, drawn.seed), 1):
            sampling = replace(drawn, seed=derive_seed(drawn.seed, task.id, place))
            name, prompt = f"{self.sought.request.id}/{place}", graph.ask_relation(task, group, chat=chat)
            self.relations.append(_Call(group, Request(name, prompt, sampling)))
        return self.relations


def ask_relations(
    waiting: Sequence[EditRequest], engine: Engine, writing: Writing, progress: Progress
) -> Iterator[tuple[EditRequest, Record]]:
    """Yield each requested self-edit with its line, as its last call comes. `writing` has a graph.

    A self-edit one of whose calls the engine failed to give is failed, and told so; one whose passage has fewer than
    two entities for the model cannot be used, which is the model's failure.
    """
    left = iter(waiting)
    while chunk := [_Graph(sought, _make_first_call(sought.request)) for sought in islice(left, _AT_ONCE)]:
        progress.set_phase("naming entities")
        for _ in _make_calls([(each, each.first) for each in chunk], engine, progress):
            pass
        graph, chat = writing.graph or EntityGraph(), writing.chat
        calls = [(each, call) for each in chunk for call in each.plan_relations(graph, chat=chat)]
        yield from ((each.sought, _finish(each, engine, writing)) for each in chunk if not each.relations)
        progress.set_phase("relating entities")
        for each in _make_calls(calls, engine, progress):
            if each.complete:
                yield each.sought, _finish(each, engine, writing)


def _make_first_call(request: Request) -> _Call:
    """The call that asks for entities: JSON over several lines, which no stop string may cut."""
    return _Call((), replace(request, sampling=replace(request.sampling, stop=())))


def _make_calls(calls: Sequence[tuple[_Graph, _Call]], engine: Engine, progress: Progress) -> Iterator[_Graph]:
    """Make these calls, and yield for each that has come the self-edit that it is of."""
    asked = {call.request.id: (graph, call) for graph, call in calls}
    requests = [(graph.sought.request.id, call.request) for graph, call in asked.values()]
    for completion in sample_all(requests, engine, progress, "calls"):
        graph, call = asked[completion.id]
        call.completion = completion
        yield graph


def _finish(graph: _Graph, engine: Engine, writing: Writing) -> Record:
    """Return the line of a self-edit, all of whose calls have come."""
    calls = [graph.first, *graph.relations]
    edit = make_edit(graph.sought, _join(calls), engine.model, writing)
    error = edit.error
    if error is None and not graph.relations:
        many = "no entity" if not graph.entities else f"{len(graph.entities)} entities"
        error = f"the model named {many} of the passage, too few for the relations that are asked for"
    more = {"calls": tuple(call.record() for call in calls), "entities": graph.entities}
    return graph.sought.line.grow(edit=edit.model_copy(update={"prompt": "", "error": error, **more}))


def _join(calls: Sequence[_Call]) -> Completion:
    """Join the texts of the calls about relations into one completion.

    A call that the engine failed to give is what came of all of them; so is one that ends within its thought.
    """
    known = [call.completion for call in calls if call.completion]
    lost = next((each for each in known if each.error), None)
    broken = lost or next((each for each in known if extract_answer(each.text, each.finish) is None), None)
    if broken:
        return broken
    told = [each for each in known[1:] if each.text.strip()]
    counts = [each.tokens for each in known[1:] if each.tokens is not None]
    ends: tuple[Finish, ...] = ("length", "refused", "unknown")
    return Completion(
        calls[0].request.id,
        SEPARATOR.join((extract_answer(each.text, each.finish) or "").strip() for each in told),
        next((end for end in ends if any(each.finish == end for each in known[1:])), "stop"),
        sum(counts) if len(counts) == len(known) - 1 else None,
    )
