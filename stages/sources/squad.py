"""Read passages with their questions: SQuAD's own JSON, and the forms in which datasets and libraries write it.

    {data: [{title, paragraphs: [{context, qas: [{question, answers}]}]}]}      a document
    {title, context, questions: [{question, answer}]}                           a passage (also qas, or qa_pairs)
    {title, context, question, answers}                                         a row: one question of a passage

Each of them is an entry, be it a line, an item of a list, or a document; `golds.py` reads the answers. A passage with
its questions is a task (Rajpurkar et al., arXiv 1606.05250; version 2.0, arXiv 1806.03822).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.errors import BadLine
from stages.records.frozen import Meta, is_void
from stages.records.jsonl import excerpt, get_meta
from stages.records.record import Record
from stages.records.task import UNANSWERABLE, QaTask, make_task
from stages.sources.datasets.folders import Omission, OnOmission, ignore
from stages.sources.golds import GOLDS, parse_literal, read_gold_answers
from stages.sources.texts import check_passage

NESTED = ("questions", "qas", "qa_pairs")
_ENTRIES = (
    "known are rows of title, context, question and answer or answers, passages of title, context and questions "
    "(or qas, qa_pairs), and SQuAD's data; --column context=NAME where one is called otherwise"
)
_ASKING = re.compile(
    r"question|answer|quer(y|ies)|quiz|^instructions?$|^responses?$|^qa|qas?$|^qs?$", re.IGNORECASE
)  # keys that are of questions
UNANSWERED = "question without an answer"  # the kinds of such omissions
UNASKED = "passage without any other question"


@dataclass(frozen=True)
class GoldQuestion:
    """A question and its gold answers; no gold answer: it cannot be answered."""

    question: str
    golds: tuple[str, ...]
    id: str | None


@dataclass(frozen=True)
class UnanswerablePolicy:
    """Leaves unanswerable questions out, with a note, or makes that their gold answer."""

    keep: bool = False
    leave_out: OnOmission = ignore

    def sort_out(self, asked: Iterable[GoldQuestion], name: str) -> list[GoldQuestion] | None:
        """Return the questions with their gold answers; None if there were some and none is left."""
        found = _unite(asked)
        if self.keep:
            return [each if each.golds else replace(each, golds=(UNANSWERABLE,)) for each in found]
        kept = [each for each in found if each.golds]
        for each in found:
            if not each.golds:
                self.leave_out(Omission(name, UNANSWERED, f"{UNANSWERED}: {each.question}"))
        if found and not kept:
            self.leave_out(Omission(name, UNASKED))
        return None if found and not kept else kept


_DROPPED = UnanswerablePolicy()


def _unite(asked: Iterable[GoldQuestion]) -> list[GoldQuestion]:
    """The questions; one that comes again under its id has the gold answers of both."""
    found: dict[object, GoldQuestion] = {}
    for place, each in enumerate(asked):
        key = (each.id, each.question.strip()) if each.id else place
        known = found.get(key)
        if known is None:
            found[key] = each
        elif more := tuple(gold for gold in each.golds if gold not in known.golds):
            found[key] = replace(each, golds=known.golds + more)
    return list(found.values())


def split_entry(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (place, entry) of all passages and rows of a SQuAD document or article; else the entry itself."""
    for key in ("data", "paragraphs"):
        items = _unpack_list(value.get(key)) if isinstance(value, dict) else None
        if isinstance(items, list):
            inherited = {"title": value["title"]} if key == "paragraphs" and "title" in value else {}
            for number, item in enumerate(items):
                inner = {**inherited, **item} if isinstance(item, dict) else item
                yield from split_entry(inner, f"{place}{'.' if place else ''}{key}[{number}]")
            return
    yield place, value


def _unpack_list(value: Any) -> Any:
    """A list that a table holds as text; anything else as it is."""
    try:
        return parse_literal(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    except ValueError:
        return value


def is_row(value: Any) -> bool:
    """Return whether an entry is a row of a dataset: a passage with one question."""
    return isinstance(value, dict) and "question" in value and not _list_nested(value)


def _list_nested(entry: Mapping[str, Any]) -> list[str]:
    return [key for key in NESTED if entry.get(key) is not None]


def read_question(entry: Any, *, keep: bool) -> GoldQuestion:
    """Read a question with its gold answers. Raises BadLine. `keep`: a blank answer means unanswerable."""
    if not isinstance(entry, Mapping) or "question" not in entry:
        told = f"the keys {', '.join(map(str, entry))[:60]}" if isinstance(entry, Mapping) else excerpt(entry)
        raise BadLine(f"a question must be an object of question and answer or answers (found {told})")
    question, impossible = entry["question"], _is_impossible(entry)
    if not isinstance(question, str) or is_void(question):
        raise BadLine(f"question must be text (found {excerpt(question)})")
    try:
        said = not impossible or any(key in entry for key in GOLDS)
        golds = read_gold_answers(entry, may_be_blank=keep or bool(impossible)) if said else []
    except BadLine as error:
        raise BadLine(f"{error} ({excerpt(question)})") from None
    if impossible and golds:
        raise BadLine(f"a question that cannot be answered, and its answer is {excerpt(golds[0])}: {question[:60]}")
    if keep and impossible is False and not golds:
        raise BadLine(f"a question that can be answered, without an answer: {question[:60]}")
    return GoldQuestion(question, tuple(golds), _id(entry))


def _is_impossible(entry: Mapping[str, Any]) -> bool | None:
    """Return whether a question says that it cannot be answered; None where it does not say. Raises BadLine."""
    for key, denies in (("is_impossible", False), ("answerable", True)):
        value = entry.get(key)
        said = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
        if value is not None and said is None:
            raise BadLine(f"{key} must be true or false (found {excerpt(value)})")
        if said is not None:
            return said != denies
    return None


def _id(entry: Mapping[str, Any]) -> str | None:
    found = entry.get("id") if entry.get("id") is not None else entry.get("qid")
    if found is None or isinstance(found, str | int):
        return None if found is None else str(found).strip() or None
    raise BadLine(f"id must be text or a whole number (found {excerpt(found)})")


def _heading(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Title and passage of an entry; without a title it is empty. Raises BadLine."""
    title, context = entry.get("title"), entry.get("context")
    if context is None:
        keys = "it is null" if "context" in entry else ", ".join(key[:40] for key in list(entry)[:6]) or "nothing"
        raise BadLine(f"no 'context' ({keys}); {_ENTRIES}")
    if not isinstance(title, str | int | None) or not isinstance(context, str):
        raise BadLine(f"title and context must be text (found {excerpt(title)}, {excerpt(context)})")
    check_passage(context)
    return "" if title is None else str(title), context


def read_passage(entry: Any, unanswered: UnanswerablePolicy, name: str) -> QaTask | None:
    """Read the task of a passage; None if all its questions are left out. Raises BadLine for what is no passage."""
    if not isinstance(entry, Mapping):
        raise BadLine(f"{excerpt(entry)} is no passage; {_ENTRIES}")
    title, context = _heading(entry)
    named = _list_nested(entry) or [key for key in NESTED if key in entry]
    asking = [str(key)[:40] for key, value in entry.items() if _asks(str(key), value)]
    unread = [key for key in asking if not named or key == "question"]
    if unread or len(named) > 1:
        raise BadLine(f"cannot tell its questions by the keys {', '.join([*named, *unread])}; {_ENTRIES}")
    questions = _as_list(entry[named[0]], named[0]) if named else []
    asked = unanswered.sort_out([read_question(each, keep=unanswered.keep) for each in questions], name)
    if asked is None:
        return None
    return _task_of(title, context, asked)


def _task_of(title: str, context: str, asked: Sequence[GoldQuestion]) -> QaTask:
    """The task of a passage with these questions."""
    return make_task(title, context, [(each.question, each.golds) for each in asked], [each.id for each in asked])


def _asks(key: str, value: Any) -> bool:
    """Return whether something of a passage is about questions by its key, or by the keys in it."""
    if not isinstance(value, str | list | dict):
        return False
    first = value[0] if isinstance(value, list) and value else value
    return bool(_ASKING.search(key)) or (isinstance(first, dict) and any(map(_ASKING.search, map(str, first))))


def _as_list(value: Any, key: str) -> list[Any]:
    """The questions of a passage, also from a text that was printed from them, or a list for each of their keys."""
    try:
        value = parse_literal(value) if isinstance(value, str) else value
    except ValueError as error:
        raise BadLine(f"{key} must be a list of question and answer ({error})") from None
    if isinstance(value, dict) and isinstance(value.get("question"), list):
        lengths = {len(each) if isinstance(each, list) else -1 for each in value.values()}
        if len(lengths) == 1:
            return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    if not isinstance(value, list | tuple):
        raise BadLine(f"{key} must be a list of question and answer (found {excerpt(value)})")
    return list(value)


class PassageRows:
    """Gathers rows into a task for each (title, context), in order of first appearance, even if rows are apart.

    A row that another file has as well is taken once; `repeated` has the file's name for each of these, and `added` is
    how many there were in all. `source` tells the sources apart, of which two may be the same file.
    """

    def __init__(self) -> None:
        self.passages: dict[tuple[str, str], list[GoldQuestion]] = {}
        self.files: dict[
            tuple[str, str, GoldQuestion], tuple[int, str]
        ] = {}  # of each row the first source and file with it
        self.metas: dict[tuple[str, str], Meta | None] = {}  # of each passage that of its first row
        self.repeated: list[str] = []
        self.added = self.source = 0

    def add(self, row: Mapping[str, Any], name: str, unanswered: UnanswerablePolicy = _DROPPED) -> None:
        """Add a row of the file with this name. Raises BadLine for a bad one."""
        title, context = _heading(row)
        posed, meta = read_question(row, keep=unanswered.keep), get_meta(row)
        self.added += 1
        if self.files.setdefault((title, context, posed), (self.source, name)) != (self.source, name):
            self.repeated.append(name)
        else:
            self.passages.setdefault((title, context), []).append(posed)
            self.metas.setdefault((title, context), meta)

    def take(self, unanswered: UnanswerablePolicy = _DROPPED) -> Iterator[Record]:
        """Yield the tasks, and forget their rows."""
        passages, self.passages, files, self.files = self.passages, {}, self.files, {}
        metas, self.metas = self.metas, {}
        for (title, context), group in passages.items():
            posed = unanswered.sort_out(group, files[title, context, group[0]][1])
            if posed is not None:
                yield Record(task=_task_of(title, context, posed), meta=metas[title, context])
