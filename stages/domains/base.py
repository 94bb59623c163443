"""The protocol of a domain, and how one is found by its name. Domains import no torch.

Those that come with seal stand in the table `DOMAINS`; others are named as package.module:Class.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from stages.domains.defaults import Defaults
from stages.errors import BadConfig, BadInput
from stages.interfaces import Completion, Example, FitConfig, Prompt, TrainingSet
from stages.judges.base import Case, Verdict
from stages.plugins import DOMAINS, load_class
from stages.records.arc import ArcChoice, ArcTrainingData, Grid, Vote
from stages.records.record import SelfEdit, Task, get_task_type
from stages.records.schema import TrainingData


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


@dataclass(frozen=True)
class TrainingSetup:
    """What training data may depend on, beside the self-edit. None: as the domain has it.

    `fits` says whether a row is short enough for the model; None where no model is known.
    """

    config: FitConfig
    seed: int = 0
    split_newlines: bool | None = None
    chat: bool | None = None
    fits: Callable[[Example], bool] | None = None


class Domain(Protocol):
    """What is learned, and how it is asked for, trained on and measured.

    The class of a domain is made without arguments. It also has `task_type`, the class of its tasks: one derived from
    stages.records.record.DomainTask.
    """

    @property
    def name(self) -> str: ...

    @property
    def defaults(self) -> Defaults:
        """What stages do where no flag says otherwise."""
        ...

    @property
    def judge(self) -> str | None:
        """What a score names as its judge where none is asked; None: one is."""
        ...

    @property
    def judged_by(self) -> str:
        """How answers are graded where no judge is asked, as the beginning of a sentence."""
        ...

    @property
    def refused_flags(self) -> Mapping[str, Mapping[str, str]]:
        """By the name of a stage the flags that would do nothing there, each with the reason and what to do."""
        ...

    @property
    def chosen_by_edit(self) -> str:
        """What a self-edit says of its training, as the end of a sentence; "" for nothing."""
        ...

    @property
    def templates(self) -> tuple[str, ...]:
        """The named templates with which a model is asked."""
        ...

    # ---- tasks

    def read_tasks(self, text: str, name: str) -> Iterator[Task]:
        """The tasks of a file's text, for `seal tasks --domain`. Raises BadInput with the file's name."""
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

    @property
    def measures_rows(self) -> bool:
        """True if training data depends on how much the model takes."""
        ...

    def set_up_training(self, setup: TrainingSetup) -> "Domain":
        """The domain as `seal adapt` uses it."""
        ...

    @property
    def training_settings(self) -> Mapping[str, Any]:
        """What of this goes into the settings of a run."""
        ...

    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        """`edit.text`, which has no thoughts, as training data. Raises BadEdit where it cannot be used."""
        ...

    def show_data(self, task: Task, edit: SelfEdit) -> TrainingData | ArcTrainingData:
        """The training data of a self-edit as a line to look at."""
        ...

    # ---- answers

    def check(self, task: Task) -> None:
        """Raise BadLine for a task that cannot be scored."""
        ...

    def queries(self, task: Task, *, in_context: bool, chat: bool) -> Iterator[Query]:
        """What the student is asked about a task: its questions, without its passage unless `in_context`."""
        ...

    def make_answers(
        self, task: Task, completions: Sequence[Completion], *, in_context: bool
    ) -> Iterator[GradableAnswer]:
        """What the completions, in the order of the queries, come to."""
        ...

    def get_cases(self, task: Task) -> Iterable[tuple[str, Case]]:
        """(question's id, what a judge is asked) with the prediction left empty. None where no judge is asked."""
        ...


def find_domain(names: Collection[str]) -> Domain:
    """The one domain of all lines; `qa` where there are no lines. Raises BadInput for several."""
    if len(names) > 1:
        known = sorted(names)
        ways = f"""take them apart: jq -c 'select(.task.domain == "{known[0]}")'"""
        raise BadInput(f"the lines are of more than one domain, {' and '.join(known)}; {ways}")
    return load_domain(next(iter(names), "qa"))


@cache
def load_domain(name: str, flag: str = "the domain") -> Domain:
    """The domain of a name in the table, or of package.module:Class. Raises BadConfig where it is none."""
    kind = load_class(flag, name, DOMAINS)
    needed = [member for member in vars(Domain) if not member.startswith("_")]
    lacking = [member for member in needed if not hasattr(kind, member)] if inspect.isclass(kind) else needed
    if lacking:
        raise BadConfig(f"{flag} {name}: is no domain, it has no {lacking[0]}; see Domain in stages/domains/base.py")
    get_task_type(name)
    return kind()  # type: ignore[no-any-return]
