"""Knowledge incorporation (SEAL section 3.1): read a passage, answer questions about it later without it.

Prompts and segmentation are those of the official code (arXiv 2506.10943, App. B, and its data scripts). The
in-context prompt is ours: the paper has no oracle row with the passage in sight.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from stages.domains.base import GradableAnswer, Query, TrainingSetup
from stages.domains.defaults import DEFAULTS, Defaults
from stages.domains.templates.entigraph import ENTIGRAPH
from stages.errors import BadConfig, BadInput, BadLine
from stages.interfaces import Completion, Example, Prompt, TrainingSet
from stages.judges.base import Case, Verdict
from stages.records.record import SelfEdit
from stages.records.schema import TrainingData
from stages.records.task import QaTask, Question, Task
from stages.records.thoughts import explain_no_answer, extract_answer
from stages.sources.texts import read_flag_file

NO_EDIT = "none"  # the passage-only baseline: nothing is written, the student is trained on the passage alone
_LIST_PROMPT = (
    "Let's read the following passage and produce {what} of implications derived directly or indirectly from the "
    "content.\n\nPassage:\n{{title}}\n{{context}}\n\nImplications:\n"
)
TEMPLATES = {
    "implications": _LIST_PROMPT.format(what="a list"),
    "implications-long": _LIST_PROMPT.format(what="a long list"),
    "implications-very-long": _LIST_PROMPT.format(what="a very long list"),
    "rewrite": "Let's read the following passage and rewrite it in a few different ways, each one separated by a "
    "newline.\n\nPassage:\n{title}\n{context}\n\nRewritten passages:\n",
    "self-qa": "Let's read the following passage and rewrite it in a question-answer format.\n\nPassage:\n{title}\n"
    "{context}\n\nQuestion 1: ",
}
_CHAT_SYSTEM = (
    "You are an assistant tasked with analyzing the provided passage and producing a list of implications derived "
    "directly or indirectly from the content."
)
_CHAT_TEMPLATES = {"implications": (("system", _CHAT_SYSTEM), ("user", "{title}\n{context}"))}
QUESTION_PROMPT = "Let's answer a question directly and concisely.\nQuestion: Topic: {title}\n{question}\nAnswer:\n"
IN_CONTEXT_PROMPT = (
    "Let's read the following passage and answer a question about it directly and concisely.\n\nPassage:\n{title}\n"
    "{context}\n\nQuestion: Topic: {title}\n{question}\nAnswer:\n"
)
_PASSAGE = "{title}\n{context}"
_PAIRS = re.compile(r"Question\s+\d+:"), re.compile(r"Answer\s*:")
_BEFORE_QUESTION = re.compile(r"\n(?=Question\s+\d+:)")
_FIELD = re.compile(r"\{(title|context|question)\}")


@dataclass(frozen=True)
class QA:
    """The `qa` domain. `split_newlines` (the paper's setting): each line of a self-edit is a sequence of its own.

    `shown`: passages that stand in prompts, the best first, by the ids of task and question.
    """

    split_newlines: bool = True
    shown: Mapping[tuple[str, str], tuple[QaTask, ...]] = field(default_factory=dict, compare=False, repr=False)
    name: ClassVar[str] = "qa"
    judge: ClassVar[None] = None
    task_type: ClassVar[type[QaTask]] = QaTask
    defaults: ClassVar[Defaults] = DEFAULTS["qa"]
    templates: ClassVar[tuple[str, ...]] = tuple(TEMPLATES)
    chosen_by_edit: ClassVar[str] = ""
    measures_rows: ClassVar[bool] = False
    refused_flags: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "generate": dict.fromkeys(
            ("--retry-invalid", "--unique", "--structured"),
            "a self-edit about a passage is text, and every text can be trained on; it is for ARC",
        ),
        "adapt": dict.fromkeys(
            ("--chat", "--no-chat"), "passages are trained on as text; only ARC tasks go through a chat template"
        ),
    }

    def read_tasks(self, text: str, name: str) -> Iterator[Task]:
        """Find no tasks here: passages are recognised by the files' content."""
        raise BadConfig("--domain qa: passages are known by what their files hold; leave it out")

    def edit_prompt(self, task: Task, template: str, *, chat: bool) -> Prompt:
        """Fill a named template, or that of a file that contains {title} and {context}."""
        task = require_passage(task)
        if chat and template in _CHAT_TEMPLATES:
            turns = _CHAT_TEMPLATES[template]
            return [{"role": role, "content": fill(text, task)} for role, text in turns]
        text = fill(self.template_text(template), task)
        return [{"role": "user", "content": text}] if chat else text

    def template_text(self, template: str) -> str:
        """Return the template, with its placeholders for title and context."""
        return TEMPLATES.get(template) or read_template(template)

    def get_fixed_edit(self, template: str) -> str | None:
        """Return the empty self-edit of the passage-only baseline; None for other templates."""
        return "" if template == NO_EDIT else None

    def read_choice(self, completion: str) -> None:
        """Return nothing: every completion is text to train on."""

    def schema(self) -> None:
        """Return None: a self-edit is text."""

    def set_up_training(self, setup: TrainingSetup) -> "QA":
        """Split self-edits at newlines if no setting says otherwise."""
        return QA(split_newlines=setup.split_newlines is not False)

    @property
    def training_settings(self) -> Mapping[str, Any]:
        """Return how self-edits are split."""
        return {"split_newlines": self.split_newlines}

    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        """Make each sequence of the self-edit an example under the title, then the passage; loss on all tokens."""
        task, written = require_passage(task), edit.template != NO_EDIT
        sequences = split_into_sequences(task, edit.text or "", self.split_newlines) if written else [_passage(task)]
        return TrainingSet(tuple(Example("", text) for text in sequences))

    def show_data(self, task: Task, edit: SelfEdit) -> TrainingData:
        """Return the training sequences as a line."""
        readable = edit.error is None and edit.text is not None
        texts = tuple(each.completion for each in self.make_training_set(task, edit).examples) if readable else ()
        return TrainingData(task_id=task.id, edit_id=edit.id, sequences=texts)

    def check(self, task: Task) -> None:
        """Raise BadLine for a task without questions, or with two that share an id."""
        questions = require_passage(task).questions
        if not questions:
            raise BadLine(f"task {task.name!r} has no questions; `seal eval` needs at least one")
        if len({question.id for question in questions}) < len(questions):
            raise BadLine(f"task {task.name!r} has two questions with one id; give each its own")

    def queries(self, task: Task, *, in_context: bool, chat: bool) -> Iterator[Query]:
        """Yield one query per question; the closed-book prompt is the paper's (App. B)."""
        task = require_passage(task)
        for question in task.questions:
            found = (task,) if in_context else self.shown.get((task.id, question.id), ())
            text = _write_open_book(task, question, found) if found else fill(QUESTION_PROMPT, task, question.question)
            yield Query(question.id, [{"role": "user", "content": text}] if chat else text)

    def make_answers(
        self, task: Task, completions: Sequence[Completion], *, in_context: bool
    ) -> Iterator[GradableAnswer]:
        """Make one answer per question, for the judge: the text after the model's thoughts.

        An answer that the engine failed to give, or that ends within a thought, is unscored, never wrong.
        """
        for question, each in zip(require_passage(task).questions, completions, strict=True):
            said, chunks = extract_answer(each.text, each.finish), self.shown.get((task.id, question.id), ())
            item: Case | Verdict
            if each.error is not None:
                item = Verdict(None, each.error)
            elif said is None:
                item = Verdict(None, explain_no_answer(each.finish))
            else:
                item = make_case(question, said)
            text = None if each.error is not None else each.text
            yield GradableAnswer(question.id, text, item, chunks=tuple(chunk.id for chunk in chunks))

    def get_cases(self, task: Task) -> Iterator[tuple[str, Case]]:
        """Yield each question's Case, with its gold answers."""
        return ((question.id, make_case(question, "")) for question in require_passage(task).questions)


def make_case(question: Question, prediction: str) -> Case:
    """Make the Case of an answer, with all gold answers."""
    return Case(question.question, question.answer, prediction, question.other_answers)


def require_passage(task: Task) -> QaTask:
    """Return the task if it is of this domain. Raises BadInput otherwise."""
    if not isinstance(task, QaTask):
        raise BadInput(f"task {task.id} is of the domain {task.domain}, not of qa")
    return task


def fill(template: str, task: QaTask, question: str = "") -> str:
    """Put title, context and question into the template, in one pass: braces in a passage mean nothing."""
    values = {"title": task.title, "context": task.context, "question": question}
    return _FIELD.sub(lambda match: values[match[1]], template)


def read_template(template: str) -> str:
    """Read a template. Raises BadConfig for an unknown name or a file without {title} and {context}."""
    path, known = Path(template), ", ".join([*TEMPLATES, ENTIGRAPH, "mix:FILE", NO_EDIT])
    if not (path.exists() or path.suffix or "/" in template):
        raise BadConfig(
            f"--template {template}: unknown; take one of {known}, or a file with {{title}} and {{context}}"
        )
    text = read_flag_file(path, f"--template {template}", f" (the named templates are {known})")
    missing = [name for name in ("{title}", "{context}") if name not in text]
    if missing:
        raise BadConfig(f"--template {template}: the file does not contain {' and '.join(missing)}")
    return text


def _write_open_book(task: QaTask, question: Question, passages: Sequence[QaTask]) -> str:
    """Write the question behind passages, each under its title; of its own passage alone, the in-context prompt."""
    head, tail = IN_CONTEXT_PROMPT.split(_PASSAGE)
    shown = "\n\n".join(fill(_PASSAGE, each) for each in passages)
    return f"{head}{shown}{fill(tail, task, question.question)}"


def _passage(task: QaTask) -> str:
    """Make the passage a training sequence, always the last one of a training set."""
    return f"{task.title}\n{task.context}".strip()


def split_into_sequences(task: QaTask, completion: str, split_newlines: bool = True) -> list[str]:
    """Split a self-edit into its training sequences: each under the title, the passage last (SEAL App. B).

    Of an empty one there is the passage alone; unsplit, the published rule would train on the bare title, too.
    """
    whole = completion.strip()
    segments = [piece.strip() for piece in completion.split("---") if piece.strip()] or ([whole] if whole else [])
    pieces = _split_lines(completion, segments) if split_newlines else segments
    head = f"{task.title}\n" if task.title else ""
    return [f"{head}{piece}" for piece in pieces] + [_passage(task)]


def _split_lines(completion: str, segments: list[str]) -> list[str]:
    """Split text by lines, without a leading "Sure, here is …"; question-answer pairs stay together."""
    if all(mark.search(completion) for mark in _PAIRS):
        return _split_pairs(completion)
    lines = [line.strip() for segment in segments for line in segment.splitlines() if line.strip()]
    announced = len(lines) > 1 and lines[1].startswith("1.")
    return lines[1:] if announced else lines


def _split_pairs(completion: str) -> list[str]:
    """Split before every numbered question. The prompt ends in "Question 1: ", so the first piece may lack it."""
    first, *rest = _BEFORE_QUESTION.split(completion.strip())
    if not first.startswith("Question"):
        first = f"Question 1: {first.strip()}"
    return [first, *rest]
