"""Reads SQuAD: its own JSON document, and the rows that dataset libraries make of it.

A passage with its questions is a task (Rajpurkar et al., arXiv 1606.05250; version 2.0, arXiv 1806.03822).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.lines import BadLine, Refuse, meta_of, problem, read_entries, reject_entry, stop
from stages.records import Record, make_task
from stages.strict_json import settled
from stages.texts import check_passage


def from_squad(document: Mapping[str, Any], path: Path, refuse: Refuse = stop) -> Iterator[Record]:
    """SQuAD v1.1's own layout: data → paragraphs → qas. The first of several gold answers is taken."""
    return read_entries(_paragraphs(document["data"]), str(path), _squad_records, refuse)


def _paragraphs(articles: list[Any]) -> Iterator[tuple[str, Any]]:
    """(place, {title, paragraphs: [one]}); an article that is none stands for itself."""
    for a, article in enumerate(articles):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            yield f"data[{a}]", article
            continue
        for p, paragraph in enumerate(paragraphs):
            yield f"data[{a}].paragraphs[{p}]", {"title": article.get("title"), "paragraphs": [paragraph]}


def _squad_records(article: Any) -> list[Record]:
    """The task of an article's one paragraph; none where no question can be answered from the passage (SQuAD 2)."""
    try:
        (paragraph,) = article["paragraphs"]
        answered = [qa for qa in paragraph["qas"] if qa["answers"]]
        if paragraph["qas"] and not answered:
            return []
        pairs = [(qa["question"], qa["answers"][0]["text"]) for qa in answered]
        ids = [qa.get("id") for qa in answered]
        check_passage(paragraph["context"])
        task = make_task(article["title"], paragraph["context"], pairs, ids)
        return [Record(task=task, meta=meta_of(paragraph))]
    except ValidationError as error:
        raise BadLine(f"not SQuAD v1.1 ({problem(error)})") from None
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise BadLine(f"not SQuAD v1.1 ({error!r})") from None


def is_row(value: Any) -> bool:
    """Whether a JSON value is a row of a dataset: a passage with one question."""
    return isinstance(value, dict) and "question" in value and "questions" not in value and "task" not in value


class Rows:
    """Rows, gathered into a task for each (title, context), in order of first appearance: those of one may be apart.

    A row that another file has as well is taken once; `repeated` has the file's name for each of these.
    """

    def __init__(self) -> None:
        self.passages: dict[tuple[str, str], list[tuple[str, str, str | None]]] = {}
        self.files: dict[tuple[str, ...], str] = {}  # title, context, question, answer, id → its first file
        self.repeated: list[str] = []

    def add(self, row: Mapping[str, Any], name: str) -> None:
        """One more, of the file called so. One without an answer is passed over. Raises BadLine for a bad one."""
        texts = [row.get("title"), row.get("context"), row.get("question")]
        answers = _answers(row)
        if answers is None or not all(isinstance(text, str) for text in [*texts, *answers[:1]]):
            table = "; a table cannot hold that: give JSON lines" if isinstance(row.get("answers"), str) else ""
            raise BadLine(f"title, context and question must be text, answers an object with a list text{table}")
        check_passage(row["context"])
        if not answers:
            return
        title, context, question, answer = map(settled, [*texts, answers[0]])
        known = None if row.get("id") is None else str(row["id"])
        if self.files.setdefault((title, context, question, answer, known or ""), name) != name:
            self.repeated.append(name)
        else:
            self.passages.setdefault((title, context), []).append((question, answer, known))

    def take(self) -> Iterator[Record]:
        """The tasks, which are then here no more."""
        passages, self.passages, self.files = self.passages, {}, {}
        for (title, context), group in passages.items():
            yield Record(task=make_task(title, context, [pair[:2] for pair in group], [pair[2] for pair in group]))


def _answers(row: Mapping[str, Any]) -> list[Any] | None:
    """The gold answers of a row: as SQuAD has them, or one `answer`. None where there is neither."""
    found = row.get("answers")
    if isinstance(found, Mapping):
        found = found.get("text")
    elif "answers" not in row and "answer" in row:
        found = [row["answer"]]
    else:
        return None
    return list(found) if isinstance(found, list | tuple) else None


def group_rows(rows: Iterable[Mapping[str, Any]], name: str, refuse: Refuse = stop) -> Iterator[Record]:
    """One task per (title, context). Reads everything first."""
    found = Rows()
    for number, row in enumerate(rows):
        try:
            found.add(row, name)
        except BadLine as error:
            refuse(reject_entry(name, f"rows[{number}]: {error}", row))
    return found.take()
