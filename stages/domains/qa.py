"""Knowledge incorporation (SEAL section 3.1): read a passage, answer questions about it later without it.

Prompts and segmentation are those of the official code (arXiv 2506.10943, App. B, and its data scripts). The
in-context prompt is ours: the paper has no oracle row with the passage in sight.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.domains.base import Query
from stages.engines.base import Example, Lesson, Prompt
from stages.failures import BadConfig, MissingInput
from stages.records import SelfEdit, Task

NO_EDIT = "none"  # the passage-only baseline: nothing is written, the student is trained on the passage alone
LIST_PROMPT = (
    "Let's read the following passage and produce {what} of implications derived directly or indirectly from the "
    "content.\n\nPassage:\n{{title}}\n{{context}}\n\nImplications:\n"
)
TEMPLATES = {
    "implications": LIST_PROMPT.format(what="a list"),
    "implications-long": LIST_PROMPT.format(what="a long list"),
    "implications-very-long": LIST_PROMPT.format(what="a very long list"),
    "rewrite": "Let's read the following passage and rewrite it in a few different ways, each one separated by a "
    "newline.\n\nPassage:\n{title}\n{context}\n\nRewritten passages:\n",
    "self-qa": "Let's read the following passage and rewrite it in a question-answer format.\n\nPassage:\n{title}\n"
    "{context}\n\nQuestion 1: ",
}
CHAT_SYSTEM = (
    "You are an assistant tasked with analyzing the provided passage and producing a list of implications derived "
    "directly or indirectly from the content."
)
CHAT_TEMPLATES = {"implications": (("system", CHAT_SYSTEM), ("user", "{title}\n{context}"))}
QUESTION_PROMPT = "Let's answer a question directly and concisely.\nQuestion: Topic: {title}\n{question}\nAnswer:\n"
IN_CONTEXT_PROMPT = (
    "Let's read the following passage and answer a question about it directly and concisely.\n\nPassage:\n{title}\n"
    "{context}\n\nQuestion: Topic: {title}\n{question}\nAnswer:\n"
)
PAIRS = re.compile(r"Question\s+\d+:"), re.compile(r"Answer\s*:")
BEFORE_QUESTION = re.compile(r"\n(?=Question\s+\d+:)")
FIELD = re.compile(r"\{(title|context|question)\}")


@dataclass(frozen=True)
class QA:
    """The `qa` domain. `split_newlines` (the paper's setting): each line of a self-edit is a sequence of its own."""

    split_newlines: bool = True
    name: str = "qa"

    def edit_prompt(self, task: Task, template: str, *, chat: bool) -> Prompt:
        """The prompt of a named template, or of a file that contains {title} and {context}."""
        if chat and template in CHAT_TEMPLATES:
            turns = CHAT_TEMPLATES[template]
            return [{"role": role, "content": fill(text, task)} for role, text in turns]
        text = fill(template_text(template), task)
        return [{"role": "user", "content": text}] if chat else text

    def lesson(self, task: Task, edit: SelfEdit) -> Lesson:
        """Every sequence of the self-edit under the title, then the passage; loss on all tokens."""
        written = edit.template != NO_EDIT
        sequences = training_sequences(task, edit.completion, self.split_newlines) if written else [passage(task)]
        return Lesson(tuple(Example("", text) for text in sequences))

    def queries(self, task: Task, *, in_context: bool, chat: bool) -> Iterator[Query]:
        """One query per question; the closed-book prompt is the paper's (App. B)."""
        template = IN_CONTEXT_PROMPT if in_context else QUESTION_PROMPT
        for question in task.questions:
            text = fill(template, task, question.question)
            prompt: Prompt = [{"role": "user", "content": text}] if chat else text
            yield Query(question.id, prompt, question.question, question.answer)


def fill(template: str, task: Task, question: str = "") -> str:
    """Puts title, context and question into the template, in one pass: braces in a passage mean nothing."""
    values = {"title": task.title, "context": task.context, "question": question}
    return FIELD.sub(lambda match: values[match[1]], template)


def template_text(template: str) -> str:
    """The text of a named template or of a file."""
    return TEMPLATES.get(template) or read_template(template)


def read_template(template: str) -> str:
    """The text of a template file. Raises BadConfig for an unknown name or a file without {title} and {context}."""
    path = Path(template)
    if not path.is_file():
        known = ", ".join([*TEMPLATES, NO_EDIT])
        if path.suffix or "/" in template:
            raise MissingInput(f"--template {template}: no such file (the named templates are {known})")
        raise BadConfig(
            f"--template {template}: unknown; take one of {known}, or a file with {{title}} and {{context}}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadConfig(f"--template {template}: not UTF-8 (byte {error.start})") from None
    missing = [name for name in ("{title}", "{context}") if name not in text]
    if missing:
        raise BadConfig(f"--template {template}: the file does not contain {' and '.join(missing)}")
    return text


def passage(task: Task) -> str:
    """The passage as a training sequence, always the last one of a lesson."""
    return f"{task.title}\n{task.context}".strip()


def training_sequences(task: Task, completion: str, split_newlines: bool = True) -> list[str]:
    """The sequences a self-edit is trained as: each piece under the title, the passage last (SEAL App. B)."""
    segments = [piece.strip() for piece in completion.split("---") if piece.strip()] or [completion.strip()]
    pieces = split_lines(completion, segments) if split_newlines else segments
    return [f"{task.title}\n{piece}" for piece in pieces] + [passage(task)]


def split_lines(completion: str, segments: list[str]) -> list[str]:
    """Question-answer pairs stay together; anything else is one piece per line, without a leading "Sure, here is …"."""
    if all(mark.search(completion) for mark in PAIRS):
        return split_pairs(completion)
    lines = [line.strip() for segment in segments for line in segment.splitlines() if line.strip()]
    announced = len(lines) > 1 and lines[1].startswith("1.")
    return lines[1:] if announced else lines


def split_pairs(completion: str) -> list[str]:
    """Splits before every numbered question. The prompt ends in "Question 1: ", so the first piece may lack it."""
    first, *rest = BEFORE_QUESTION.split(completion.strip())
    if not first.startswith("Question"):
        first = f"Question 1: {first.strip()}"
    return [first, *rest]
