"""Score files as sheets of answers: one for each question, however many lines say it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stages.errors import BadInput
from stages.judges.several_golds import is_declined, is_unanswerable
from stages.records.record import Adapter, Record
from stages.records.score import Answer
from stages.records.task import QaTask, Question
from stages.records.thoughts import extract_answer

QuestionKey = tuple[str, str]  # the ids of the task and of the question
Claim = Literal["right", "silent", "wrong"] | None  # what an answer comes to; None: unscored


@dataclass
class AnswerSheet:
    """The answers of one row: to the exam or the probes, and to the anchors, which were known before."""

    name: str
    file: str
    answers: dict[QuestionKey, Answer] = field(default_factory=dict)
    anchors: dict[QuestionKey, Answer] = field(default_factory=dict)
    tasks: dict[str, QaTask] = field(default_factory=dict)
    adapters: dict[str, Adapter] = field(default_factory=dict)
    judges: dict[str, None] = field(default_factory=dict)
    models: dict[str, None] = field(default_factory=dict)
    fingerprints: dict[str | None, None] = field(default_factory=dict)  # of the adapter's files; None: a line is silent
    anchor_judges: dict[str, None] = field(default_factory=dict)
    owners: dict[QuestionKey, str] = field(default_factory=dict)  # the adapter that answered
    prompt_tokens: float | None = None  # of a question, in the mean; None: the file's manifest does not say
    answer_tokens: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the run, as the file's manifest tells them

    def get_question(self, key: QuestionKey) -> Question | None:
        """Return a question as its task has it; None where the line's task lacks it."""
        asked = self.tasks[key[0]].questions if key[0] in self.tasks else ()
        return next((question for question in asked if question.id == key[1]), None)

    def describe(self, key: QuestionKey) -> str:
        """Name a question for people."""
        question, task = self.get_question(key), self.tasks.get(key[0])
        return f"{question.question if question else key[1]!r} (of {task.name if task else key[0]!r})"

    def add(self, record: Record) -> None:
        """Add a line. Raises BadInput for one that is no accuracy, or that answers a question anew and otherwise.

        The lines of a pool share an adapter and its answers: the same once more is fine.
        """
        score, task = record.score, record.task
        if score is None or not score.answers:
            told = "has no score" if score is None else f"has no answers ({score.kind})"
            raise BadInput(f"{self.file}: task {task.name!r} {told}; `seal eval` answers questions")
        if not isinstance(task, QaTask):
            raise BadInput(f"{self.file}: task {task.id} is of the domain {task.domain}; a card is about passages (qa)")
        owner = record.adapter.id if record.adapter else ""
        self.tasks[task.id] = task
        self.judges[score.judge] = self.models[score.model] = None
        if record.adapter:
            self.adapters.setdefault(owner, record.adapter)
            self.fingerprints[score.fingerprint] = None
        for answer in score.answers:
            self._put(self.answers, (task.id, answer.id), answer, owner)
        if score.retention:
            self.anchor_judges[score.retention.judge] = None
        for anchor in score.retention.anchors if score.retention else ():
            for answer in anchor.answers:
                self._put(self.anchors, (anchor.task_id, answer.id), answer, owner)

    def _put(self, found: dict[QuestionKey, Answer], key: QuestionKey, answer: Answer, owner: str) -> None:
        other = self.owners.setdefault(key, owner)
        if other != owner:
            raise BadInput(
                f"{self.file}: {self.describe(key)} is answered by two adapters, {other} and {owner}; a card is about "
                "one: seal adapt --pool makes it"
            )
        first = found.setdefault(key, answer)
        if (first.prediction, first.correct) != (answer.prediction, answer.correct):
            raise BadInput(
                f"{self.file}: {self.describe(key)} is answered twice, and not the same: {_tell(first)}, then "
                f"{_tell(answer)}; make the file again: seal eval … -o {self.file} --overwrite"
            )


def _tell(answer: Answer) -> str:
    verdict = {True: "right", False: "wrong", None: "unscored"}[answer.correct]
    said = "no answer" if answer.prediction is None else repr(answer.prediction[:80])
    return f"{said} ({verdict})"


def read_sheet(
    name: str,
    file: str,
    records: Iterable[Record],
    usage: tuple[float | None, float | None] = (None, None),
    settings: Mapping[str, Any] = {},
) -> AnswerSheet:
    """Read the lines of a row. `usage`: tokens of a prompt and of an answer; `settings`: those of its manifest.

    Raises BadInput where there are none.
    """
    sheet = AnswerSheet(name, file, prompt_tokens=usage[0], answer_tokens=usage[1], settings=settings)
    for record in records:
        sheet.add(record)
    if not sheet.answers:
        raise BadInput(f"{file}: no lines in it; make it again: seal eval … -o {file}")
    return sheet


def check_same_questions(sheets: Iterable[AnswerSheet]) -> None:
    """Raise BadInput for rows whose questions or gold answers are not the same, or that other judges graded."""
    first, *others = sheets
    for other in others:
        missing = [key for key in first.answers if key not in other.answers]
        extra = [key for key in other.answers if key not in first.answers]
        told = [f"lacks {len(missing)} of its questions, the first is {first.describe(missing[0])}"] if missing else []
        told += [f"has {len(extra)} others, the first is {other.describe(extra[0])}"] if extra else []
        if told:
            raise BadInput(
                f"{other.file}: not the questions of {first.file}: it {' and '.join(told)}; ask both the same: "
                "seal eval FILE --on EXAM"
            )
        changed = next((key for key in first.answers if first.get_question(key) != other.get_question(key)), None)
        if changed:
            which = f"{other.describe(changed)} has other words or gold answers than in {first.file}"
            raise BadInput(f"{other.file}: {which}; ask both the same: seal eval FILE --on EXAM")
    judges = {judge: sheet for sheet in (first, *others) for judge in sheet.judges}
    if len(judges) > 1:
        told = [f"{sheet.file}: {judge}" for judge, sheet in judges.items()]
        raise BadInput(f"the rows are graded by different judges ({', '.join(told)}); grade one again: seal judge FILE")


def read_claim(said: str | None, correct: bool | None) -> Claim:
    """Tell what an answer comes to. Silent: it claims nothing, as it is empty, or says that it does not know."""
    if correct:
        return "right"
    text = extract_answer(said, "stop") if said is not None else ""
    if correct is not None and (not text or not text.strip() or is_declined(text)):
        return "silent"
    return None if correct is None else "wrong"


def has_answer(question: Question | None) -> bool:
    """Return False for a question whose gold answer says that there is none."""
    return question is None or not any(map(is_unanswerable, question.golds))
