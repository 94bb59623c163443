"""Read the official results of one adapter that was trained on many passages: SEAL's continued pretraining.

Such a file holds verdicts and answers by position, for the questions of the first `n_articles` passages of the data
file that it names, and no passages (results/cpt of the paper's code, arXiv 2506.10943). Its `per_article` goes by
title, which several passages share, so that it is read for the titles alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from stages.errors import BadConfig, BadInput, BadLine, MissingInput
from stages.records.frozen import content_id
from stages.records.handmade import UNKNOWN
from stages.records.record import Adapter, Record
from stages.records.score import Answer, make_score
from stages.records.strict_json import JsonFault, explain, parse_loosely, sanitize
from stages.records.task import QaTask
from stages.sources.seal_official import RESULTS_JUDGE
from stages.sources.squad import UnanswerablePolicy, read_passage, split_entry
from stages.sources.texts import require_flag_file

_BY_POSITION = ("baseline_texts", "adapter_texts", "baseline_correct", "adapter_correct")


class PassageFile:
    """The file of passages that results are about: the one that --passages names, or the one beside them."""

    def __init__(self, file: Path | None = None) -> None:
        if file:
            require_flag_file(file, f"--passages {file}")
        self.file, self.used = file, False

    def find(self, results: Path, named: object) -> Path:
        """Return the file. Raises MissingInput where none is given, and none of that name lies beside the results."""
        self.used = True
        name = PurePosixPath(str(named)).name
        near = results.parent / name
        if self.file or (name and near.is_file()):
            return self.file or near
        told = f"made from {name}, which does not lie beside it" if name else "and does not say what it was made from"
        raise MissingInput(f"{results}: results without their passages, {told}; give that file with --passages FILE")

    def check(self, source: str) -> None:
        """Call after reading: raises BadConfig if the named file was of no use."""
        if self.file and not self.used:
            raise BadConfig(
                f"--passages {self.file}: only for official results of many passages, which {source} is not"
            )


def is_pooled(document: Any) -> bool:
    """Return whether a JSON document is such results."""
    reply = document.get("server_reply") if isinstance(document, dict) else None
    return isinstance(reply, dict) and "adapter_correct" in reply


def read_pooled(document: Mapping[str, Any], path: Path, passages: PassageFile) -> Iterator[Record]:
    """Yield a score line for each passage, all of one adapter, whose weights are not there.

    Raises BadInput where the results and the passages are not about the same questions.
    """
    found = _clean(document, path)
    reply, fit = found["server_reply"], found.get("lora_params", {})
    columns = [_read_column(reply, name, path) for name in _BY_POSITION]
    total = len(columns[0])
    file = passages.find(path, found.get("dataset", ""))
    tasks = list(islice(_read_tasks(file), int(found.get("n_articles", 0)) or None))
    asked = sum(len(task.questions) for task in tasks)
    titles = set(found.get("per_article", {})) - {task.title for task in tasks}
    if asked != total or titles or any(len(column) != total for column in columns):
        other = f", none called {sorted(titles)[0]!r}" if titles else ""
        raise BadInput(
            f"{path}: answers to {total} questions; the first {len(tasks)} passages of {file} have {asked}{other}; "
            "give the file that the results were made from with --passages FILE"
        )
    about: dict[str, Any] = {name: found[name] for name in ("k_completions", "split_newlines") if name in found}
    adapter = Adapter(
        id=content_id(found.get("dataset", ""), fit, about, *columns),
        seed=0,
        model=UNKNOWN,
        path=None,
        fit={**fit, **about},
        train=None,
        fault=None,
        error=None,
    )
    return _score_lines(tasks, adapter, columns)


def _score_lines(tasks: Sequence[QaTask], adapter: Adapter, columns: Sequence[Sequence[Any]]) -> Iterator[Record]:
    rows = zip(*columns, strict=True)
    for task in tasks:
        answers = [
            Answer(
                id=question.id,
                prediction=after,
                correct=right,
                reason=None,
                baseline_prediction=before,
                baseline_correct=right_before,
            )
            for question, (before, after, right_before, right) in zip(
                task.questions, islice(rows, len(task.questions)), strict=True
            )
        ]
        score = make_score(answers, model=UNKNOWN, judge=RESULTS_JUDGE)
        yield Record(task=task, adapter=adapter, score=score)


def _clean(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The document as JSON values of the right kinds. Raises BadInput."""
    try:
        found: dict[str, Any] = sanitize(dict(document))
    except JsonFault as error:
        raise BadInput(f"{path}: {error}") from None
    kinds = {"lora_params": dict, "per_article": dict, "n_articles": int, "dataset": str}
    for name, kind in kinds.items():
        if name in found and (not isinstance(found[name], kind) or (kind is int and found[name] < 1)):
            needed = {dict: "an object", int: "a number of 1 or more", str: "text"}[kind]
            raise BadInput(f"{path}: not official results of many passages ({name} must be {needed})")
    return found


def _read_column(reply: Mapping[str, Any], name: str, path: Path) -> list[Any]:
    """The values of all questions. Raises BadInput for what is no list of texts, or of true and false."""
    kind, values = str if name.endswith("texts") else bool, reply.get(name)
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        needed = "texts" if kind is str else "true and false"
        raise BadInput(
            f"{path}: not official results of many passages (server_reply.{name} must be a list of {needed})"
        )
    return values


def _read_tasks(file: Path) -> Iterator[QaTask]:
    """The tasks of a file of passages, in its order. Raises BadInput for a passage that cannot be used."""
    try:
        document = parse_loosely(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise BadInput(f"{file}: {explain(error)}") from None
    items = enumerate(document) if isinstance(document, list) else [("", document)]
    for number, item in items:
        for place, entry in split_entry(item, f"[{number}]"):
            try:
                task = read_passage(sanitize(entry), UnanswerablePolicy(), str(file))
            except (BadLine, JsonFault) as error:
                raise BadInput(f"{file}: {place}: {error}") from None
            if task:
                yield task
