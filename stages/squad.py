"""Reads SQuAD: its own JSON document, and the rows that dataset libraries make of it.

A passage with its questions is a task (Rajpurkar et al., arXiv 1606.05250; version 2.0, arXiv 1806.03822).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.lines import BadLine, Refuse, problem, read_entries, reject_entry, stop
from stages.records import Record, make_task
from stages.strict_json import settled


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
        return [Record(task=make_task(article["title"], paragraph["context"], pairs, ids))]
    except ValidationError as error:
        raise BadLine(f"not SQuAD v1.1 ({problem(error)})") from None
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise BadLine(f"not SQuAD v1.1 ({error!r})") from None


def group_rows(rows: Iterable[Mapping[str, Any]], name: str, refuse: Refuse = stop) -> Iterator[Record]:
    """One task per (title, context), in order of first appearance. Reads everything: rows of a passage may be apart."""
    passages: dict[tuple[str, str], list[tuple[str, str, str | None]]] = {}
    for number, row in enumerate(rows):
        texts = [row["title"], row["context"], row["question"]]
        answers = row["answers"].get("text") if isinstance(row["answers"], Mapping) else None
        if not isinstance(answers, list | tuple) or not all(isinstance(text, str) for text in [*texts, *answers[:1]]):
            what = "title, context and question must be text, answers an object with a list text"
            refuse(reject_entry(name, f"rows[{number}]: {what}", row))
        elif answers:
            title, context, question = map(settled, texts)
            known = row.get("id")
            asked = (question, settled(answers[0]), None if known is None else str(known))
            passages.setdefault((title, context), []).append(asked)
    for (title, context), group in passages.items():
        yield Record(task=make_task(title, context, [pair[:2] for pair in group], [pair[2] for pair in group]))
