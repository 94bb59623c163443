"""The protocol of a domain. Domains import no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from stages.engines.base import Lesson, Prompt
from stages.records import SelfEdit, Task


@dataclass(frozen=True)
class Query:
    """One question to put to the student: its id within the task, the prompt, and the gold answer."""

    id: str
    prompt: Prompt
    question: str
    gold: str


class Domain(Protocol):
    @property
    def name(self) -> str: ...

    def edit_prompt(self, task: Task, template: str, *, chat: bool) -> Prompt:
        """The prompt that asks for a self-edit. Raises BadConfig for an unknown template."""
        ...

    def lesson(self, task: Task, edit: SelfEdit) -> Lesson:
        """The self-edit as training data. Raises BadEdit where the model's text cannot be used."""
        ...

    def queries(self, task: Task, *, in_context: bool, chat: bool) -> Iterator[Query]:
        """The task's questions, without its passage unless `in_context`."""
        ...
