"""Tasks: what is to be learned, and the questions that measure it. Here those about a passage; grids are in arc.py."""

import operator
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.records.frozen import FrozenModel, Id, Tuple, VisibleText, content_id

UNANSWERABLE = "unanswerable"  # the gold answer of a question without one (SQuAD 2): right is who says so


class Task(FrozenModel):
    """The task of any domain. One that does not come with seal derives from it, and adds fields.

    `domain` is the name under which the domain is found: qa, arc or package.module:Class.
    """

    id: Id
    """Identifies it; a hash of its content where nobody gave another."""
    domain: str = ""
    """The domain: qa, arc or package.module:Class."""

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


class QaTask(Task):
    """A passage that is to be learned, and the questions that measure it."""

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
        return self.title

    @property
    def text(self) -> str:
        return self.context

    @property
    def is_named(self) -> bool:
        return False


UNCHECKED = "unchecked: "  # the reason begins so where a question could not be tried, which is ours


class DroppedQuestion(FrozenModel):
    """A question of a quiz that measures nothing, and why."""

    question: str
    """What was asked."""
    answer: str
    """The answer that was written with it."""
    reason: str
    """Why it was dropped; `unchecked: …` where it could not be tried."""


class Quiz(FrozenModel):
    """How the task's questions came about: a model wrote them, and they were tried. Made by `seal quiz`.

    The task itself has those that reward; the others are here.
    """

    model: str
    """Who wrote them, or tried them where they were given."""
    checked: bool
    """Whether they were tried: right each time with the passage in sight, and not each time without it."""
    exam: Tuple[Question]
    """The share that is kept back, by fact: `seal quiz --exam` makes it the task's questions."""
    dropped: Tuple[DroppedQuestion]
    """Those that measure nothing."""
    error: str | None
    """Why some were never written; null: all that were asked for were."""
    given: Tuple[Question]
    """The questions that the task had before."""

    @property
    def failure(self) -> str | None:
        """Why some questions were never written or tried, for a reason of ours; None where all were."""
        unchecked = (each.reason for each in self.dropped if each.reason.startswith(UNCHECKED))
        return self.error or next(unchecked, None)


def make_task(
    title: str,
    context: str,
    questions: Iterable[tuple[str, str | Sequence[str]]],
    ids: Iterable[str | None] | None = None,
) -> QaTask:
    """Make a question-answering task of a passage and its questions, each with its gold answer or all of them.

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
