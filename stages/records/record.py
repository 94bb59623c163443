"""The record: one JSON line that grows by one section per stage. Read this file first.

    {"v": 1, "task": …}                                   `seal tasks`
    {"v": 1, "task": …, "edit": …}                        `seal generate`
    {"v": 1, "task": …, "edit": …, "adapter": …}          `seal adapt`
    {"v": 1, "task": …, …, "score": …}                    `seal eval`

Records are frozen. Every key of a section is present once the section is, and has one type; of a question with one gold
answer `other_answers` is left out. Ids come from content, never from position. A line may carry `meta`, any JSON
object: stages hand it on and make nothing of it. `SftExample` and `Checkpoint` are the lines that `seal filter` and
`seal sft` write.
"""

import hashlib
import json
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Strict, Tag, model_validator

from stages.records.arc import ArcChoice, ArcTask, ArcTrainingData, GridRows, Vote
from stages.records.fields import describe
from stages.records.frozen import Count, Fraction01, FrozenModel, Id, Meta, Tuple, VisibleText
from stages.records.thoughts import extract_answer

_CONTROL = re.compile("[\x7f-\x9f]")
# refused: it would not say more; failed: there is no completion, for `error`; unknown: its source does not say
Finish = Literal["stop", "length", "refused", "failed", "unknown"]
Section = Literal["edit", "adapter", "score"]


class Message(FrozenModel):
    """One turn of a chat prompt."""

    role: str
    content: str


class Question(FrozenModel):
    """A question about the passage, answered without it, and its gold answers: any one of them counts."""

    id: Id
    question: str
    answer: VisibleText  # the first of them
    other_answers: Annotated[Tuple[VisibleText], BeforeValidator(lambda given: () if given is None else given)] = Field(
        (), exclude_if=operator.not_
    )  # the key is there where there are some

    @property
    def golds(self) -> tuple[str, ...]:
        """All gold answers, the first first."""
        return (self.answer, *self.other_answers)


class QaTask(FrozenModel):
    """A passage that is to be learned, and the questions that measure it."""

    id: Id
    domain: Literal["qa"]
    title: str
    context: str
    questions: Tuple[Question]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.title


Task = QaTask | ArcTask


class SelfEdit(FrozenModel):
    """What the editor model wrote about the task, verbatim, and how it was asked.

    `chosen` is how a few-shot self-edit reads; null for one that is text to train on, and for one that cannot be read,
    for `error`.
    """

    id: Id
    sample: Count  # 0 … k-1: which of the k samples of this task
    model: str
    template: str
    prompt: str | Tuple[Message]
    completion: str
    finish: Finish
    tokens: Count | None  # None: whoever wrote it does not say
    sampling: dict[str, Any]
    error: str | None
    chosen: ArcChoice | None = None  # None also: in lines that do not say

    @property
    def text(self) -> str | None:
        """What it says behind the model's thoughts; None where it never came, or ends within a thought."""
        return None if self.finish == "failed" else extract_answer(self.completion, self.finish)


class TrainStats(FrozenModel):
    """What one inner training did: sequences per epoch, tokens per epoch, optimizer steps, loss per target token."""

    sequences: Count
    tokens: Count
    steps: Count
    loss_first: float
    loss_last: float


class Adapter(FrozenModel):
    """The student's update. `fault` says whose an `error` is: the edit's (value 0) or the training's (unscored)."""

    id: Id
    seed: int
    model: str
    path: str | None
    fit: dict[str, Any]
    train: TrainStats | None
    fault: Literal["edit", "training"] | None
    error: str | None


class Answer(FrozenModel):
    """One graded answer. `correct` None means unscored, with the reason; it is never the same as wrong."""

    id: str
    prediction: str | None
    correct: bool | None
    reason: str | None
    baseline_prediction: str | None
    baseline_correct: bool | None


class GridAnswer(Answer):
    """The answer to one test input of an ARC task. `prediction` is the first attempt as text, "" where there is none.

    It is right if one of the two attempts is the solution, cell by cell. `votes` has every prediction of the adapted
    model; those of the plain one are on the line of its own row.
    """

    attempts: Tuple[GridRows]
    votes: Tuple[Vote]
    baseline_attempts: Tuple[GridRows]


def _kind(answer: Any) -> str:
    """Which of the two an answer is: only one about grids has votes."""
    return "grids" if (isinstance(answer, dict) and "votes" in answer) or isinstance(answer, GridAnswer) else "text"


AnyAnswer = Annotated[Annotated[GridAnswer, Tag("grids")] | Annotated[Answer, Tag("text")], Discriminator(_kind)]
TAGS = ("qa", "arc", "grids", "text")  # of the unions: they stand in the places that pydantic names


class Score(FrozenModel):
    """Accuracy of the adapted model (`value`) and of the unadapted one (`baseline`), passage out of sight.

    `value` is None as soon as one answer is unscored; `bounds` say what it could be, with those answers wrong and with
    them right. `answers` is empty where only a mean was imported.
    """

    value: Fraction01 | None
    bounds: Annotated[tuple[Fraction01, Fraction01], Strict(False)] | None = None  # None: in lines that do not say
    baseline: Fraction01 | None
    model: str
    judge: str
    answers: Tuple[AnyAnswer]

    @model_validator(mode="after")
    def _value_is_the_share_of_right_answers(self) -> "Score":
        verdicts = [answer.correct for answer in self.answers]
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
    task: Annotated[Task, Field(discriminator="domain")]
    edit: SelfEdit | None = None
    adapter: Adapter | None = None
    score: Score | None = None
    meta: Meta | None = None

    def grow(self, **sections: FrozenModel | None) -> "Record":
        """A copy with one section more, replaced, or (None) dropped."""
        return self.model_copy(update=sections)


class SftExample(FrozenModel):
    """A kept self-edit in the prompt-completion form that trainers read: texts, or messages both.

    value and baseline are means over seeds.
    """

    prompt: str | Tuple[Message]
    completion: str | Tuple[Message]
    task_id: str
    edit_id: str
    value: Fraction01
    baseline: Fraction01 | None
    meta: Meta | None = None  # that of its first seed's line


class Checkpoint(FrozenModel):
    """The model that `seal sft` wrote: the next round's --model."""

    model: str
    base: str
    examples: int
    steps: int
    loss_first: float
    loss_last: float
    fit: dict[str, Any]


class TrainingData(FrozenModel):
    """The training sequences of one self-edit, as `seal adapt --show-data` prints them."""

    task_id: str
    edit_id: str
    sequences: Tuple[str]
    meta: Meta | None = None


Line = Record | SftExample | Checkpoint | TrainingData | ArcTrainingData
LINES: dict[str, type[FrozenModel]] = {
    "record": Record,
    "sft": SftExample,
    "checkpoint": Checkpoint,
    "training_data": TrainingData,
    "arc_training_data": ArcTrainingData,
}


def to_json(line: FrozenModel) -> str:
    """The line as JSON text without a newline: absent sections are left out, null fields are kept.

    Characters that would steer a terminal are escaped. JSON itself sees only to those below the space.
    """
    if not isinstance(line, Record):
        unsaid = {"meta"} if getattr(line, "meta", 0) is None else set()
        return _escape(line.model_dump(mode="json", exclude=unsaid))
    there = [(name, getattr(line, name)) for name in Record.model_fields]
    told = [f'"{name}": {_section(name, value)}' for name, value in there if value is not None]
    return f"{{{', '.join(told)}}}"


_written: dict[str, tuple[FrozenModel, str]] = {}  # per section the last one, and its text: lines in a row share tasks


def _section(name: str, value: Any) -> str:
    if not isinstance(value, FrozenModel):
        return _escape(value)
    last = _written.get(name)
    if last is None or last[0] is not value:
        last = _written[name] = value, _escape(value.model_dump(mode="json"))
    return last[1]


def _escape(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return (
        text if text.isascii() and "\x7f" not in text else _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    )


def content_id(*parts: Any) -> str:
    """16 hex digits that depend on the content of `parts` (JSON values) and on nothing else."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def derive_seed(run_seed: int, record_id: str, replica: int = 0) -> int:
    """A 32-bit seed from identity, so that order, sharding and resuming never change a result."""
    digest = hashlib.sha256(f"{run_seed}:{record_id}:{replica}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def edit_seed(run_seed: int, task_id: str, edit: SelfEdit, replica: int = 0) -> int:
    """A seed from what the self-edit says, not from who wrote it: a model that moved trains the same adapters."""
    return derive_seed(run_seed, get_edit_content_id(task_id, edit), replica)


def get_edit_content_id(task_id: str, edit: SelfEdit) -> str:
    """The content id of what a self-edit says, whoever wrote it."""
    return content_id(task_id, edit.template, edit.sample, edit.completion)


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
    asked = [(question.strip(), *_distinct(answers)) for question, answers in questions]
    given = list(ids) if ids is not None else [None] * len(asked)
    used: set[str] = set()
    following: dict[str, int] = {}  # the next count to try behind a name
    made = []
    for (question, answer, *others), known in zip(asked, given, strict=True):
        name = known or content_id(question, answer, *others)[:8]
        unique, n = name, following.get(name, 2)
        while unique in used:
            unique, n = f"{name}-{n}", n + 1
        following[name] = n
        used.add(unique)
        made.append(Question(id=unique, question=question, answer=answer, other_answers=tuple(others)))
    return QaTask(
        id=content_id("qa", title, context, asked),
        domain="qa",
        title=title,
        context=context,
        questions=tuple(made),
    )


def _distinct(answers: str | Sequence[str]) -> list[str]:
    """Gold answers without the blanks around them, each once."""
    return list(dict.fromkeys(answer.strip() for answer in ([answers] if isinstance(answers, str) else answers)))


def get_schemas() -> Mapping[str, dict[str, Any]]:
    """JSON Schema of every line that a stage reads or writes, by the name of the line."""
    return {name: describe(model.model_json_schema()) for name, model in LINES.items()}
