"""Invented tasks, lines and an engine that the tests of the stages share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.domains.jobs import LinePlanner, PlannedLine
from stages.interfaces import Completion, NullProgress, Progress, Request, Unit
from stages.records.frozen import content_id
from stages.records.record import Adapter, Record, SelfEdit
from stages.records.score import Answer, Score
from stages.records.task import Task, make_task

PAIRS = [("Where was Ada born?", "Velm"), ("What did Ada build?", "a bridge")]


def a_task(title: str = "Ada", pairs: Sequence[tuple[str, str]] = PAIRS) -> Task:
    return make_task(title, f"{title} was born in Velm. {title} built a bridge.", pairs)


def an_edit(task: Task, sample: int = 0, completion: str = "Ada comes from Velm.") -> SelfEdit:
    return SelfEdit(
        id=content_id(task.id, sample, completion),
        sample=sample,
        model="editor",
        template="implications",
        prompt=f"Read about {task.title}.",
        completion=completion,
        finish="stop",
        tokens=5,
        sampling={"temperature": 1.0},
        error=None,
    )


def an_adapter(edit: SelfEdit, seed: int = 0, path: str | None = "adapters/one", fault: str | None = None) -> Adapter:
    return Adapter(
        id=content_id(edit.id, "adapter", seed),
        seed=seed,
        model="student",
        path=None if fault else path,
        fit={"rank": 4},
        train=None,
        fault=fault,  # type: ignore[arg-type]
        error=f"the {fault} failed" if fault else None,
    )


def a_score(task: Task, right: Sequence[bool | None], before: Sequence[bool | None] | None = None) -> Score:
    before = [False] * len(right) if before is None else before
    answers = tuple(
        Answer(
            id=question.id,
            prediction="Velm",
            correct=after,
            reason=None,
            baseline_prediction="a town",
            baseline_correct=earlier,
        )
        for question, after, earlier in zip(task.questions, right, before, strict=True)
    )
    return Score(value=share(right), baseline=share(before), model="student", judge="exact", answers=answers)


def share(verdicts: Sequence[bool | None]) -> float | None:
    return None if None in verdicts else sum(map(bool, verdicts)) / len(verdicts)


def numbered(title: str, questions: int) -> Task:
    """A task with that many questions."""
    return a_task(title, [(f"Question {n} about {title}?", f"answer {n}") for n in range(questions)])


def a_line(
    task: Task,
    right: Sequence[bool | None],
    *,
    sample: int = 0,
    seed: int = 0,
    completion: str = "A line.",
    before: Sequence[bool | None] | None = None,
) -> Record:
    """A score line as `seal eval` writes it."""
    edit = an_edit(task, sample, completion)
    return Record(task=task, edit=edit, adapter=an_adapter(edit, seed), score=a_score(task, right, before))


class Lost(Exception):
    """What the answer function of an engine raises for an answer that the engine fails to give."""


@dataclass
class Notes(NullProgress):
    """A Progress that writes down what it is told."""

    expected: int = 0
    steps: int = 0
    stepped: int = 0
    tokens: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    def begin_work(self, names: Iterable[str]) -> None:
        self.started += names

    def expect(self, amount: int, unit: Unit = "tokens", *, steps: int = 0) -> None:
        self.expected += amount
        self.steps += steps

    def advance(self, amount: int) -> None:
        self.stepped += amount

    def add_trained(self, tokens: int) -> None:
        self.tokens.append(tokens)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Backwards:
    """An engine that asks a function for each answer and gives the last answer first."""

    def __init__(self, answer: Callable[[Request], str], model: str = "student") -> None:
        self.answer, self.model = answer, model
        self.asked: list[Request] = []

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        batch = list(requests)
        self.asked += batch
        for request in reversed(batch):
            progress.begin_work([request.id])
            try:
                yield Completion(request.id, self.answer(request), "stop", 3)
            except Lost as error:
                yield Completion(request.id, "", "failed", None, error=str(error))
            progress.end_work([request.id])


def plan_lines(records: Iterable[Record], model: str, **settings: Any) -> dict[str, PlannedLine]:
    """The lines that `seal adapt` is to write, by their adapters' ids."""
    planner = LinePlanner(model, **settings)
    for record in records:
        planner.add(record)
    return planner.found
