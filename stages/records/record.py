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
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationError,
    WrapValidator,
    model_validator,
)

from stages.errors import BadConfig
from stages.plugins import DOMAINS, check_allowed, load_class
from stages.records.arc import ArcChoice, ArcTask, GridRows, Vote
from stages.records.frozen import Count, Fraction01, FrozenModel, Id, Meta, Tuple, VisibleText, content_id
from stages.records.thoughts import extract_answer

# refused: it would not say more; failed: there is no completion, for `error`; unknown: its source does not say
Finish = Literal["stop", "length", "refused", "failed", "unknown"]
Section = Literal["edit", "adapter", "score"]


class Message(FrozenModel):
    """One turn of a chat prompt."""

    role: str
    """Whose turn it is: system, user, assistant, tool."""
    content: str
    """The text of the turn."""


UNANSWERABLE = "unanswerable"  # the gold answer of a question without one (SQuAD 2): right is who says so


class Question(FrozenModel):
    """A question about the passage, answered without it, and its gold answers: any one of them counts."""

    id: Id
    """Identifies it within the task; a hash of question and answer where nobody gave another."""
    question: str
    """What is asked."""
    answer: VisibleText
    """The gold answer; of several the first."""
    other_answers: Annotated[Tuple[VisibleText], BeforeValidator(lambda given: () if given is None else given)] = Field(
        (), exclude_if=operator.not_
    )
    """The further gold answers, any of which counts as well; left out where there are none."""

    @property
    def golds(self) -> tuple[str, ...]:
        """All gold answers, the first first."""
        return (self.answer, *self.other_answers)


class QaTask(FrozenModel):
    """A passage that is to be learned, and the questions that measure it."""

    id: Id
    """Identifies it; a hash of its content where nobody gave another."""
    domain: Literal["qa"]
    """qa: a passage, and questions that are answered without it."""
    title: str
    """What the passage is about; part of every prompt and training sequence."""
    context: str
    """The passage."""
    questions: Tuple[Question]
    """What is asked; none: the task can be adapted to and not scored."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.title

    @property
    def text(self) -> str:
        """What is to be learned, for people to read."""
        return self.context

    @property
    def is_named(self) -> bool:
        """True if its id is a name that people gave, not a hash of its content."""
        return False

    @property
    def is_solved(self) -> bool:
        """True if all its answers are known."""
        return True


class DomainTask(FrozenModel):
    """The task of a domain that does not come with seal. Subclass it, and add fields.

    `domain` is the name under which the domain is found: package.module:Class.
    """

    id: Id
    domain: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.id

    @property
    def text(self) -> str:
        """What is to be learned, for people to read; "" where its questions say all."""
        return ""

    @property
    def is_named(self) -> bool:
        """True if its id is a name that people gave, not a hash of its content."""
        return True

    @property
    def is_solved(self) -> bool:
        """True if all its answers are known."""
        return True


Task = QaTask | ArcTask | DomainTask
_OWN_TASKS: dict[str, type[QaTask] | type[ArcTask]] = {"qa": QaTask, "arc": ArcTask}


def get_task_type(domain: str) -> type[Task]:
    """The class of a domain's tasks. Raises BadConfig for a domain that is not there, or that has none."""
    if domain in _OWN_TASKS:
        return _OWN_TASKS[domain]
    check_allowed(domain)
    kind = getattr(load_class("the domain", domain, DOMAINS), "task_type", None)
    if not (isinstance(kind, type) and issubclass(kind, DomainTask)):
        raise BadConfig(f"the domain {domain}: its task_type must be a class derived from DomainTask")
    return kind


def _read_task(value: Any, read_own: Callable[[Any], Any]) -> Any:
    """A task of a domain of others, by its class; `read_own` reads ours."""
    domain = value.get("domain") if isinstance(value, dict) else None
    if isinstance(value, DomainTask):
        return value
    if not isinstance(domain, str) or domain in _OWN_TASKS or not (":" in domain or domain in DOMAINS):
        return read_own(value)
    try:
        check_allowed(domain)
    except BadConfig as error:
        raise ValueError(str(error)) from None
    try:
        return get_task_type(domain).model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


if TYPE_CHECKING:
    AnyTask = Task
else:  # JSON of others' tasks is read by `_read_task` alone, and the JSON Schema tells of ours
    AnyTask = Annotated[QaTask | ArcTask, Field(discriminator="domain"), WrapValidator(_read_task)]


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
    """How it was drawn: temperature, top_p, max_tokens (tokens), seed."""
    error: str | None
    """Why it cannot be read (worth 0), or never came or ends within a thought (unscored); null: neither."""
    chosen: ArcChoice | None = None
    """What an ARC self-edit chose; null for text, and where it cannot be read."""

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


class Adapter(FrozenModel):
    """The student's update. `fault` says whose an `error` is: the edit's (value 0) or the training's (unscored)."""

    id: Id
    """Identifies it; a hash of its content where nobody gave another."""
    seed: int
    """What the training was drawn from."""
    model: str
    """The student: the base model of the adapter."""
    path: str | None
    """The PEFT directory; null: there is none, for `error`, or it was imported without its weights."""
    fit: dict[str, Any]
    """Every hyper-parameter used, by name; rates per step, lengths in tokens."""
    train: TrainStats | None
    """What the training did; null: it was not done here, or failed."""
    fault: Literal["edit", "training"] | None
    """Whose an error is: edit (worth 0) or training (ours, unscored); null: no error."""
    error: str | None
    """Why it failed; null where it did not."""


class Answer(FrozenModel):
    """One graded answer. `correct` None means unscored, with the reason; it is never the same as wrong."""

    id: str
    """The id of the question."""
    prediction: str | None
    """What the adapted model answered, verbatim, thoughts and all; null: it gave no answer."""
    correct: bool | None
    """Whether the answer is right; null: unscored, for `reason`, which is never the same as wrong."""
    reason: str | None
    """What the judge said, or why the answer is unscored; null: nothing."""
    baseline_prediction: str | None
    """What the model answered without the adapter; null: it was not asked."""
    baseline_correct: bool | None
    """Whether that is right; null: unscored or not asked."""


class GridAnswer(Answer):
    """The answer to one test input of an ARC task. `prediction` is the first attempt as text, "" where there is none.

    It is right if one of the two attempts is the solution, cell by cell. `votes` has every prediction of the adapted
    model; those of the plain one are on the line of its own row.
    """

    id: str
    """The place of the test in its task, from 0, as text."""
    prediction: str | None
    """The first attempt as text, empty where there is none; null: the model gave no answer."""
    correct: bool | None
    """Whether one of the attempts is the solution, cell by cell; null: unscored, for `reason`."""
    reason: str | None
    """Why it is wrong without an attempt, or unscored; null: nothing to say."""
    baseline_prediction: str | None
    """The first attempt without the adapter; null: it was not asked."""
    baseline_correct: bool | None
    """Whether one of the attempts without the adapter is right; null: unscored or not asked."""
    attempts: Tuple[GridRows]
    """The two grids with the most votes, or fewer."""
    votes: Tuple[Vote]
    """Every prediction of the adapted model."""
    baseline_attempts: Tuple[GridRows]
    """The same of the model without the adapter."""


def _kind(answer: Any) -> str:
    """Which of the two an answer is: only one about grids has votes."""
    return "grids" if (isinstance(answer, dict) and "votes" in answer) or isinstance(answer, GridAnswer) else "text"


AnyAnswer = Annotated[Annotated[GridAnswer, Tag("grids")] | Annotated[Answer, Tag("text")], Discriminator(_kind)]
TAGS = ("qa", "arc", "grids", "text")  # of the unions: they stand in the places that pydantic names


class Rating(FrozenModel):
    """How a self-edit was rated by a rubric, without training. Made by `seal rate`."""

    text: str | None
    """What the rater wrote, verbatim; null: nothing."""
    points: float | None
    """The points that it gave; null: none that can be read."""
    value: Fraction01 | None
    """The points between the scale's lowest, 0, and highest, 1; null: unscored, for `error`."""
    error: str | None
    """Why it is unscored, or worth 0 without asking; null: neither."""


class Score(FrozenModel):
    """Accuracy of the adapted model (`value`) and of the unadapted one (`baseline`), passage out of sight.

    `value` is None as soon as one answer is unscored; `bounds` say what it could be, with those answers wrong and with
    them right. `answers` is empty where only a mean was imported.
    """

    value: Fraction01 | None
    """Share of right answers of the adapted model, 0 to 1; null: an answer is unscored."""
    bounds: Annotated[tuple[Fraction01, Fraction01], Strict(False)] | None = None
    """What the value could be: unscored answers all wrong, all right; null: the line does not say."""
    baseline: Fraction01 | None
    """Share of right answers of the model without the adapter, 0 to 1; null: unscored or not measured."""
    model: str
    """Who answered."""
    judge: str
    """Who graded the answers."""
    answers: Tuple[AnyAnswer]
    """Every answer; empty where only a mean is known."""
    rating: Rating | None = Field(None, exclude_if=operator.not_)
    """The rating that the value is, of a self-edit that was rated and not trained on; left out for any other."""

    @model_validator(mode="after")
    def _value_is_the_share_of_right_answers(self) -> "Score":
        verdicts = [answer.correct for answer in self.answers]
        if self.rating and (self.answers or self.rating.value != self.value):
            raise ValueError("value must be that of the rating, without answers")
        if verdicts and (self.value is None) != (None in verdicts):
            raise ValueError("value must be null exactly when an answer is unscored")
        if verdicts and self.value is not None and abs(self.value - sum(map(bool, verdicts)) / len(verdicts)) > 1e-9:
            raise ValueError("value must be the share of right answers")
        if verdicts and self.bounds and max(map(abs, map(operator.sub, self.bounds, _bounds(verdicts)))) > 1e-9:
            raise ValueError("bounds must be the shares of right answers with the unscored ones wrong, and right")
        before = [answer.baseline_correct for answer in self.answers]
        told = self.baseline is not None and before.count(None) < len(before)  # else it is a mean without verdicts
        if told and (None in before or abs((self.baseline or 0) - before.count(True) / len(before)) > 1e-9):
            raise ValueError("baseline must be the share of right baseline answers, null where one is unscored")
        return self


def _bounds(verdicts: Sequence[bool | None]) -> tuple[float, float]:
    return verdicts.count(True) / len(verdicts), 1 - verdicts.count(False) / len(verdicts)


class Record(FrozenModel):
    """One line of the pipe."""

    v: Literal[1] = 1
    """Version of the format."""
    task: AnyTask
    """What is to be learned, and how it is measured. Made by `seal tasks`."""
    edit: SelfEdit | None = None
    """A self-edit: what the editor model wrote to learn from. Made by `seal generate`."""
    adapter: Adapter | None = None
    """The student's update on the self-edit. Made by `seal adapt`."""
    score: Score | None = None
    """How well the student then does. Made by `seal eval` and `seal judge`."""
    meta: Meta | None = None
    """Any JSON object of yours. Stages hand it on; ids, seeds and results do not depend on it."""

    def grow(self, **sections: FrozenModel | None) -> "Record":
        """A copy with one section more, replaced, or (None) dropped."""
        return self.model_copy(update=sections)


def make_task(
    title: str,
    context: str,
    questions: Iterable[tuple[str, str | Sequence[str]]],
    ids: Iterable[str | None] | None = None,
) -> QaTask:
    """A question-answering task from a passage and its questions, each with its gold answer or all of them.

    `ids` gives the questions' own ids where the source has them. Otherwise an id is the hash of question and gold
    answers; what occurs again in the same passage gets a count behind it. Of equal gold answers one is kept.
    """
    asked = [(question.strip(), *_strip_golds(answers)) for question, answers in questions]
    given = list(ids) if ids is not None else [None] * len(asked)
    used: set[str] = set()
    following: dict[str, int] = {}  # the last count that was tried behind a name
    made = []
    for (question, answer, *others), known in zip(asked, given, strict=True):
        unique = name = known or content_id(question, answer, *others)[:8]
        while unique in used:
            following[name] = following.get(name, 1) + 1
            unique = f"{name}-{following[name]}"
        used.add(unique)
        made.append(Question(id=unique, question=question, answer=answer, other_answers=tuple(others)))
    task_id = content_id("qa", title, context, asked)
    return QaTask(id=task_id, domain="qa", title=title, context=context, questions=tuple(made))


def _strip_golds(answers: str | Sequence[str]) -> list[str]:
    """Gold answers without the blanks around them, each once."""
    return list(dict.fromkeys(answer.strip() for answer in ([answers] if isinstance(answers, str) else answers)))
