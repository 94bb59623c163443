"""The record: one JSON line that grows by one section per stage. Read this file first.

    {"v": 1, "task": …}                                   `seal tasks`
    {"v": 1, "task": …, "edit": …}                        `seal generate`
    {"v": 1, "task": …, "edit": …, "adapter": …}          `seal adapt`
    {"v": 1, "task": …, …, "score": …}                    `seal eval`

Records are frozen. Every key of a section is present once the section is, and has one type; of a question with one gold
answer `other_answers` is left out. Ids come from content, never from position. A line may carry `meta`, any JSON
object: stages hand it on and make nothing of it. The text below a field describes it, in its JSON Schema too.
"""

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, WrapValidator, model_validator

from stages.errors import BadConfig
from stages.interfaces import Finish
from stages.plugins import DOMAINS, blame_plugin, check_allowed, load_class
from stages.records.arc import ArcChoice, ArcTask
from stages.records.frozen import Count, Fraction01, FrozenModel, Id, Meta, Tuple, content_id
from stages.records.score import Retention, Score, compute_lower_bound
from stages.records.task import QaTask, Quiz, Task
from stages.records.thoughts import extract_answer

Section = Literal["edit", "adapter", "score", "quiz"]


class Message(FrozenModel):
    """One turn of a chat prompt."""

    role: str
    """Whose turn it is: system, user, assistant, tool."""
    content: str
    """The text of the turn."""


_OWN_TASKS: dict[str, type[Task]] = {"qa": QaTask, "arc": ArcTask}
TAGS = ("qa", "arc", "grids", "text")  # of the unions: they stand in the places that pydantic names


def get_task_type(domain: str) -> type[Task]:
    """Return the class of a domain's tasks. Raises BadConfig for a domain that is not there, or that has none."""
    if domain in _OWN_TASKS:
        return _OWN_TASKS[domain]
    check_allowed(domain)
    kind = getattr(load_class("the domain", domain, DOMAINS), "task_type", None)
    if not (isinstance(kind, type) and issubclass(kind, Task)) or kind in _OWN_TASKS.values():
        raise BadConfig(f"the domain {domain}: its task_type must be a class of its own, derived from Task")
    return kind


def _read_task(value: Any, read_own: Callable[[Any], Any]) -> Any:
    """A task of a domain of others, by its class; `read_own` reads ours. Raises ValueError for one that is wrong."""
    domain = value.get("domain") if isinstance(value, dict) else None
    if not isinstance(domain, str) or domain in _OWN_TASKS or not (":" in domain or domain in DOMAINS):
        return value if isinstance(value, Task) else read_own(value)
    try:
        check_allowed(domain)
    except BadConfig as error:
        raise ValueError(str(error)) from None
    kind = get_task_type(domain)
    try:
        with blame_plugin(f"the domain {domain}", kind, data=(ValidationError,)):
            return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


if TYPE_CHECKING:
    AnyTask = Task
else:  # JSON of others' tasks is read by `_read_task` alone, and the JSON Schema tells of ours
    AnyTask = Annotated[QaTask | ArcTask, Field(discriminator="domain"), WrapValidator(_read_task)]


class EditCall(FrozenModel):
    """One of the calls of a self-edit that took several."""

    about: Tuple[str]
    """The entities whose relation was asked about; none in the call that asks for the entities."""
    prompt: str | Tuple[Message]
    """What was asked."""
    completion: str
    """What came back, verbatim."""
    finish: Finish
    """How it ended, as that of a self-edit."""
    tokens: Count | None
    """Length of the completion in tokens; null: not known."""
    seed: Count
    """What the completion was drawn from."""
    error: str | None
    """Why it never came; null: it did."""


class SelfEdit(FrozenModel):
    """What the editor model wrote about the task, verbatim, and how it was asked.

    `chosen` is how a few-shot self-edit reads; null for one that is text to train on, and for one that cannot be read,
    for `error`.
    """

    id: Id
    """Identifies it; a hash of its content where nobody gave another."""
    sample: Count
    """Which of the k samples of this task, from 0."""
    model: str
    """The editor; none: no model wrote it, unknown: the line does not say."""
    template: str
    """The name or file of the template that made the prompt; custom: none of ours."""
    prompt: str | Tuple[Message]
    """How the self-edit was asked for: text, or for a chat model the turns of a chat. `seal sft` teaches the completion
    behind it."""
    completion: str
    """What the editor wrote, verbatim. Thoughts at its beginning are not trained on."""
    finish: Finish
    """How it ended: stop (by itself), length (cut at max_tokens), refused, failed (lost), unknown."""
    tokens: Count | None
    """Length of the completion in tokens; null: not known."""
    sampling: dict[str, Any]
    """How it was drawn: temperature, top_p, max_tokens (tokens), seed; stop strings where there were some."""
    error: str | None
    """Why it cannot be read (worth 0), or never came or ends within a thought (unscored); null: neither."""
    chosen: ArcChoice | None = None
    """What an ARC self-edit chose; null for text, and where it cannot be read."""
    entities: Tuple[str] = Field((), exclude_if=operator.not_)
    """What a passage is about, by the editor's own list; left out where it was not asked for one."""
    calls: Tuple[EditCall] = Field((), exclude_if=operator.not_)
    """The calls of a self-edit that took several, whose texts the completion joins; left out where it took one. Its
    prompt is then empty: no prompt alone has this completion."""

    @property
    def text(self) -> str | None:
        """What it says behind the model's thoughts; None where it never came, or ends within a thought."""
        return None if self.finish == "failed" else extract_answer(self.completion, self.finish)

    def get_content_id(self, task_id: str) -> str:
        """Identifies what it says, whoever wrote it: a model that moved trains the same adapters."""
        return content_id(task_id, self.template, self.sample, self.completion)


class TrainStats(FrozenModel):
    """What one inner training did: sequences per epoch, tokens per epoch, optimizer steps, loss per target token."""

    sequences: Count
    """Training sequences in an epoch."""
    tokens: Count
    """Tokens in an epoch, without pads."""
    steps: Count
    """Optimizer steps in all."""
    loss_first: float
    """Mean loss per learned token, in nats, in the first step."""
    loss_last: float
    """Mean loss per learned token, in nats, in the last step."""


class Origin(FrozenModel):
    """What an adapter was trained on, on a line about another task. Made by `seal eval --on`."""

    task_id: str | None
    """The id of the task; null: it was trained on several."""
    edit_id: str | None
    """The id of the self-edit; null: of several, or the line does not say."""


class Gate(FrozenModel):
    """Whether an update was let through, by what was known before. Made by `seal adapt --sequential --gate`."""

    limit: Fraction01
    """How far accuracy on the anchors may fall."""
    fall: float
    """How far it fell, from the model before the first step to the one with the update; below 0: it rose."""
    refused: bool
    """Whether it fell too far, so that the adapter holds the model before the step."""
    retention: Retention
    """The answers to the anchors of the model with the update, which a refused one leaves nowhere else."""

    @property
    def refusal(self) -> str | None:
        """Why the update was refused, in words; None where it was not."""
        before, after = (f"{100 * (share or 0.0):.1f} %" for share in (self.retention.baseline, self.retention.value))
        said = f"accuracy on the anchors falls from {before} to {after}, by more than {self.limit:g}"
        return said if self.refused else None

    @model_validator(mode="after")
    def _answers_say_whether_it_is_refused(self) -> "Gate":
        if None in (self.retention.value, self.retention.baseline):
            raise ValueError("an answer to an anchor is unscored, so that nothing can be decided")
        fall = compute_fall(self.retention)
        if abs(self.fall - fall) > 1e-9 or self.refused != is_too_far(self.retention, self.limit):
            raise ValueError("fall and refused must be what the answers to the anchors come to")
        return self


def compute_fall(kept: Retention) -> Fraction:
    """Return how far the accuracy on the anchors has fallen, exactly."""
    after = [answer.correct for answer in kept.answers]
    return compute_lower_bound([answer.baseline_correct for answer in kept.answers]) - compute_lower_bound(after)


def is_too_far(kept: Retention, limit: float) -> bool:
    """True if it has fallen by more than the limit; decimals count as they are written."""
    return compute_fall(kept) > Fraction(str(limit))


class Step(FrozenModel):
    """The place of an adapter in a sequence of self-edits. Made by `seal adapt --sequential`."""

    sequence: Count
    """Which of the sequences, from 0: `--seeds` are trained beside each other."""
    number: Count
    """How many self-edits of the sequence came before it."""
    before: Id | None
    """The adapter that holds the model before it; null: the model as it was."""
    gate: Gate | None = Field(None, exclude_if=operator.not_)
    """Whether the update was let through; left out where there was no gate, or no update to ask about."""


class Adapter(FrozenModel):
    """The student's update. `fault` says whose an `error` is: the edit's (value 0) or the training's (unscored)."""

    id: Id
    """Identifies it; a hash of its content where nobody gave another."""
    seed: int
    """What the training was drawn from."""
    model: str
    """The student: the base model of the adapter."""
    path: str | None
    """The PEFT directory, or the model's where `fit.method` is full; null: there is none, for `error`, or it was
    imported without its weights."""
    fit: dict[str, Any]
    """Every hyper-parameter used, by name; rates per step, lengths in tokens. `method` full: all weights were trained;
    left out of a LoRA's."""
    train: TrainStats | None
    """What the training did; null: it was not done here, or failed."""
    fault: Literal["edit", "training"] | None
    """Whose an error is: edit (worth 0) or training (ours, unscored); null: no error."""
    error: str | None
    """Why it failed; null where it did not."""
    step: Step | None = Field(None, exclude_if=operator.not_)
    """Its place in a sequence, where it holds all self-edits up to its own; left out where it is alone."""
    origin: Origin | None = Field(None, exclude_if=operator.not_)
    """What it was trained on, where the line's task is another; left out where it is the line's own."""

    @property
    def is_pooled(self) -> bool:
        """True if it was trained on the self-edits of many lines, which then share it."""
        return "pool" in self.fit


class Record(FrozenModel):
    """One line of the pipe."""

    v: Literal[1] = 1
    """Version of the format."""
    task: AnyTask
    """What is to be learned, and how it is measured. Made by `seal tasks`."""
    quiz: Quiz | None = Field(None, exclude_if=operator.not_)
    """How the task's questions were written and tried; left out where nobody did. Made by `seal quiz`."""
    edit: SelfEdit | None = None
    """A self-edit: what the editor model wrote to learn from. Made by `seal generate`."""
    adapter: Adapter | None = None
    """The student's update on the self-edit. Made by `seal adapt`."""
    score: Score | None = None
    """How well the student then does. Made by `seal eval`, `seal judge` and `seal rate`."""
    meta: Meta | None = None
    """Any JSON object of yours. Stages hand it on; ids, seeds and results do not depend on it."""

    @property
    def trained(self) -> Adapter | None:
        """The adapter, where it is what is newest on the line."""
        return None if self.score else self.adapter

    def grow(self, **sections: FrozenModel | None) -> "Record":
        """A copy with one section more, replaced, or (None) dropped."""
        return self.model_copy(update=sections)
