"""A domain that does not come with seal: sums, and a self-edit whose letters pick which of them to drill."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from stages.domains.base import GradableAnswer, Query, TrainingSetup
from stages.domains.defaults import DEFAULTS, Defaults
from stages.errors import BadEdit, BadInput, BadLine
from stages.interfaces import Completion, Example, Prompt, TrainingSet
from stages.judges.base import Case, Verdict
from stages.records.frozen import Tuple
from stages.records.record import SelfEdit
from stages.records.schema import TrainingData
from stages.records.task import Task


class Sums(Task):
    sums: Tuple[Tuple[int]]


class Arithmetic:
    name, task_type, judge = "arithmetic", Sums, None
    defaults: ClassVar[Defaults] = replace(DEFAULTS["qa"], template="drills")
    chosen_by_edit = ""
    refused_flags: ClassVar[Mapping[str, Mapping[str, str]]] = {"generate": {"--unique": "any drill may come twice"}}
    templates, measures_rows = ("drills",), False
    training_settings: ClassVar[Mapping[str, Any]] = {}

    def read_tasks(self, text: str, name: str) -> Iterator[Task]:
        for line in text.splitlines():
            title, colon, sums = line.partition(":")
            if not colon:
                raise BadInput(f"{name}: {line!r} is no line of sums; give NAME: 7+1 7+2")
            yield Sums(id=title, sums=tuple(tuple(map(int, each.split("+"))) for each in sums.split()))

    def edit_prompt(self, task: Task, template: str, *, chat: bool) -> Prompt:
        return "\n".join(f"{letter}) {one}+{other}" for letter, one, other in drills(task)) + "\nDrill: "

    def template_text(self, template: str) -> str:
        return "{sums}"

    def get_fixed_edit(self, template: str) -> None: ...
    def read_choice(self, completion: str) -> None: ...
    def schema(self) -> None: ...

    def set_up_training(self, setup: TrainingSetup) -> "Arithmetic":
        return self

    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        picked = [(one, other) for letter, one, other in drills(task) if letter in edit.completion]
        if not picked:
            raise BadEdit("no drill is picked")
        return TrainingSet(tuple(Example(f"{one}+{other}=", str(one + other)) for one, other in picked))

    def show_data(self, task: Task, edit: SelfEdit) -> TrainingData:
        rows = tuple(f"{each.prompt}{each.completion}" for each in self.make_training_set(task, edit).examples)
        return TrainingData(task_id=task.id, edit_id=edit.id, sequences=rows)

    def check(self, task: Task) -> None:
        if not drills(task):
            raise BadLine(f"task {task.id} has no sums")

    def queries(self, task: Task, *, in_context: bool, chat: bool) -> Iterator[Query]:
        return (Query(letter, f"{one}+{other}=") for letter, one, other in drills(task))

    def get_cases(self, task: Task) -> Iterator[tuple[str, Case]]:
        return ((letter, Case(f"{one}+{other}", str(one + other), "")) for letter, one, other in drills(task))

    def make_answers(
        self, task: Task, completions: Sequence[Completion], *, in_context: bool
    ) -> Iterator[GradableAnswer]:
        for (letter, case), said in zip(self.get_cases(task), completions, strict=True):
            item = Verdict(None, said.error) if said.error else Case(case.question, case.gold, said.text)
            yield GradableAnswer(letter, said.text, item)


def drills(task: Task) -> list[tuple[str, int, int]]:
    assert isinstance(task, Sums)
    return [("etaoin"[place], one, other) for place, (one, other) in enumerate(task.sums)]
