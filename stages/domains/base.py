"""The protocol of a domain, and how one is found by its name. Domains import no torch.

Those that come with seal stand in the table `DOMAINS`; others are named as package.module:Class.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stages.domains.defaults import Defaults
from stages.errors import BadConfig, BadInput, refuse_given
from stages.interfaces import Completion, Example, Prompt, TrainingSet
from stages.judges.base import Case, Verdict
from stages.plugins import DOMAINS, check_allowed, load_class, make_domain
from stages.records.arc import ArcChoice, ArcTrainingData, Grid, Vote
from stages.records.record import SelfEdit, get_task_type
from stages.records.schema import TrainingData
from stages.records.task import Task
from stages.settings import FitConfig


@dataclass(frozen=True)
class Query:
    """One question for the student: its id within the task, and the prompt.

    `continuation`: the text behind it whose likelihood is asked for, instead of an answer.
    """

    id: str
    prompt: Prompt
    continuation: str | None = None


@dataclass(frozen=True)
class Voting:
    """The attempts at a test's output, and the predictions that voted for them."""

    attempts: tuple[Grid, ...] = ()
    votes: tuple[Vote, ...] = ()


@dataclass(frozen=True)
class GradableAnswer:
    """One gradable answer: the prediction, and either a Case for the judge or a ready verdict.

    `item` is a case for the judge, or a verdict that needs none. `prediction` None: the engine gave no answer.
    `chunks`: the ids of retrieved passages that stood in the prompt.
    """

    id: str
    prediction: str | None
    item: Case | Verdict
    poll: Voting | None = None  # where answers are grids
    chunks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingSetup:
    """Settings of training data beside the self-edit. None: the domain's own.

    `fits` says whether a row is short enough for the model; None where no model is known.
    """

    config: FitConfig
    seed: int = 0
    split_newlines: bool | None = None
    chat: bool | None = None
    fits: Callable[[Example], bool] | None = None


class Domain(Protocol):
    """A domain: how its tasks are read, asked about, trained on and measured.

    The class of a domain is made without arguments. It also has `task_type`, the class of its tasks: one derived from
    stages.records.task.Task.
    """

    @property
    def name(self) -> str: ...

    @property
    def defaults(self) -> Defaults:
        """The stages' defaults in this domain, where no flag says otherwise."""

    @property
    def judge(self) -> str | None:
        """The name that a score has as its judge if none is asked; None: one is asked."""

    @property
    def refused_flags(self) -> Mapping[str, Mapping[str, str]]:
        """By stage, the flags that would have no effect there, each with the reason and what to do."""

    @property
    def chosen_by_edit(self) -> str:
        """What a self-edit chooses about its training, as the end of a sentence; "" for nothing."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The named templates of the editor's prompt."""

    # ---- tasks

    def read_tasks(self, text: str, name: str) -> Iterator[Task]:
        """Read the tasks in a file's text, for `seal tasks --domain`. Raises BadInput with the file's name."""

    # ---- self-edits

    def edit_prompt(self, task: Task, template: str, *, chat: bool) -> Prompt:
        """Write the prompt that asks for a self-edit. Raises BadConfig for an unknown template."""

    def template_text(self, template: str) -> str:
        """Return the template's text, whatever the task. Raises BadConfig for an unknown one."""

    def get_fixed_edit(self, template: str) -> str | None:
        """Return the self-edit of a template that asks no model; None for one that does."""

    def read_choice(self, completion: str) -> ArcChoice | None:
        """Parse a self-edit that is not text to train on. Raises BadEdit if it cannot be read."""

    def schema(self) -> Mapping[str, Any] | None:
        """Return the JSON Schema that a self-edit must follow; None: it is text."""

    # ---- training

    @property
    def measures_rows(self) -> bool:
        """True if training data depends on how much the model takes."""

    def set_up_training(self, setup: TrainingSetup) -> "Domain":
        """Return the domain as `seal adapt` uses it, with these settings."""

    @property
    def training_settings(self) -> Mapping[str, Any]:
        """Return what a run's settings record of them."""

    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        """Make training data of `edit.text`, which has no thoughts. Raises BadEdit if it cannot be used."""

    def show_data(self, task: Task, edit: SelfEdit) -> TrainingData | ArcTrainingData:
        """Return the training data of a self-edit as a line to look at."""

    # ---- answers

    def check(self, task: Task) -> None:
        """Raise BadLine for a task that cannot be scored."""

    def queries(self, task: Task, *, in_context: bool, chat: bool) -> Iterator[Query]:
        """Yield the task's questions for the student, without its passage unless `in_context`."""

    def make_answers(
        self, task: Task, completions: Sequence[Completion], *, in_context: bool
    ) -> Iterator[GradableAnswer]:
        """Make gradable answers of the completions, which are in the order of the queries."""

    def get_cases(self, task: Task) -> Iterable[tuple[str, Case]]:
        """Return (question's id, Case without its prediction) for the judge. None if no judge is asked."""


def find_domain(names: Collection[str]) -> Domain:
    """Return the one domain of all lines; `qa` if there are none. Raises BadInput for several."""
    if len(names) > 1:
        known = sorted(names)
        ways = f"""take them apart: jq -c 'select(.task.domain == "{known[0]}")'"""
        raise BadInput(f"the lines are of more than one domain, {' and '.join(known)}; {ways}")
    return load_domain(next(iter(names), "qa"))


def load_domain(name: str, flag: str = "the domain") -> Domain:
    """Load a domain by its name in the table, or as package.module:Class. Raises BadConfig if it is none."""
    check_allowed(name)
    kind = load_class(flag, name, DOMAINS)
    needed = [member for member in vars(Domain) if not member.startswith("_")]
    lacking = [member for member in needed if not hasattr(kind, member)] if inspect.isclass(kind) else needed
    if lacking:
        raise BadConfig(f"{flag} {name}: is no domain, it has no {lacking[0]}; see Domain in stages/domains/base.py")
    get_task_type(name)
    return make_domain(name)  # type: ignore[no-any-return]


def refuse_flags(domain: Domain, stage: str, given: Mapping[str, object]) -> None:
    """Raise BadConfig for the first given flag that would do nothing for this domain. None, False, 0: not given."""
    for flag, why in domain.refused_flags.get(stage, {}).items():
        refuse_given({flag: given.get(flag) or None}, why)
