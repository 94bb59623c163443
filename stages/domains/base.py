"""The protocol of a domain, and the table of those that come with `seal`. Domains import no torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stages.interfaces import Completion, Prompt, TrainingSet
from stages.judges.base import Case, Verdict
from stages.records.arc import ArcChoice, ArcTrainingData, Grid, Vote
from stages.records.record import SelfEdit, Task
from stages.records.schema import TrainingData

DOMAINS = {"qa": "stages.domains.qa:QA", "arc": "stages.domains.arc.domain:Arc"}


@dataclass(frozen=True)
class Query:
    """One question to put to the student: its id within the task, and the prompt."""

    id: str
    prompt: Prompt


@dataclass(frozen=True)
class Voting:
    """The attempts at a test's output, and the predictions that voted for them."""

    attempts: tuple[Grid, ...] = ()
    votes: tuple[Vote, ...] = ()


@dataclass(frozen=True)
class GradableAnswer:
    """What the student's completions come to for one answer of the line, and what a judge is asked about it.

    `item` is a case for the judge, or a verdict that needs none. `prediction` None: the engine gave no answer.
    """

    id: str
    prediction: str | None
    item: Case | Verdict
    poll: Voting | None = None  # where answers are grids


class Domain(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def judge(self) -> str | None:
        """What a score names as its judge where none is asked; None: one is."""
        ...

    # ---- self-edits

    def edit_prompt(self, task: Task, template: str, *, chat: bool) -> Prompt:
        """The prompt that asks for a self-edit. Raises BadConfig for an unknown template."""
        ...

    def template_text(self, template: str) -> str:
        """What the template says, whatever the task. Raises BadConfig for an unknown one."""
        ...

    def get_fixed_edit(self, template: str) -> str | None:
        """The self-edit that a template stands for without asking a model; None: a model is asked."""
        ...

    def read_choice(self, completion: str) -> ArcChoice | None:
        """How the self-edit reads, where it is not text to train on. Raises BadEdit where it cannot be read."""
        ...

    def schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema that a self-edit obeys; None: it is text."""
        ...

    # ---- training

    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        """`edit.text`, which has no thoughts, as training data. Raises BadEdit where it cannot be used."""
        ...

    def show_data(self, task: Task, edit: SelfEdit) -> TrainingData | ArcTrainingData:
        """The training data of a self-edit as a line to look at."""
        ...

    # ---- answers

    def check(self, task: Task) -> None:
        """Raises BadLine for a task that cannot be scored."""
        ...

    def queries(self, task: Task, *, in_context: bool, chat: bool) -> Iterator[Query]:
        """What the student is asked about a task: its questions, without its passage unless `in_context`."""
        ...

    def make_answers(
        self, task: Task, completions: Sequence[Completion], *, in_context: bool
    ) -> Iterator[GradableAnswer]:
        """What the completions, in the order of the queries, come to."""
        ...
