"""Read the official SEAL files: passages, passages with self-edits, and the inner loop's rewards.

The layouts are those of the published data and result files of the paper's code (arXiv 2506.10943).
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.errors import BadInput, BadLine
from stages.records.frozen import content_id
from stages.records.handmade import UNKNOWN, find_template
from stages.records.jsonl import OnReject, explain_invalid, get_meta, raise_on_reject, read_entries
from stages.records.record import Adapter, Record, SelfEdit
from stages.records.score import Answer, Score
from stages.records.strict_json import JsonFault, explain, parse_json, sanitize
from stages.records.task import QaTask, make_task

_SAMPLED = ("temperature", "top_p", "max_tokens")  # of what a `.meta` file says
RESULTS_JUDGE = "gpt-4.1"  # SEAL section 4.1; the result files do not name their judge


def make_edit_lines(task: QaTask, entry: Mapping[str, Any], about: Mapping[str, Any]) -> list[Record]:
    """Return a line for each completion of an entry; `about` says how they were written.

    Raises BadLine where the completions or their prompt are no text.
    """
    texts = entry["completions"]
    listed = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    if not listed or not isinstance(entry.get("prompt", ""), str):
        raise BadLine("prompt must be text, completions a list of texts")
    record = Record(task=task, meta=get_meta(entry))
    return [record.grow(edit=_edit(task, entry, text, sample, about)) for sample, text in enumerate(texts)]


def read_about(path: Path, note: Callable[[str], object]) -> Mapping[str, Any]:
    """Read the `.meta` file that the official generator writes beside its output: the model and its sampling.

    It is called as the output with .meta behind it, or in the place of its ending. One that is broken, or somebody
    else's, is noted and costs nothing: the model is unknown then.
    """
    beside = (path.with_name(f"{path.name}.meta"), path.with_suffix(".meta"))
    meta = next((file for file in beside if file != path and file.is_file()), None)
    if meta is None:
        return {}
    try:
        found = parse_json(meta.read_text(encoding="utf-8-sig"))
        wrong = _what_is_wrong(found)
    except ValueError as error:
        found, wrong = {}, explain(error)
    except OSError as error:
        found, wrong = {}, f"cannot be read ({error.strerror})"
    if wrong:
        note(f"{meta}: {wrong}; it is passed over, and what wrote the self-edits is unknown")
        return {}
    return dict(found)


def _what_is_wrong(about: Any) -> str | None:
    """The reason why a `.meta` file does not say how self-edits were written; None where it may."""
    if not isinstance(about, dict) or not isinstance(about.get("model", UNKNOWN), str):
        return "not an object whose model is text"
    bad = [name for name in _SAMPLED if not isinstance(about.get(name, 0), int | float)]
    return f"its {bad[0]} is no number" if bad else None


def _edit(task: QaTask, entry: Mapping[str, Any], text: str, sample: int, about: Mapping[str, Any]) -> SelfEdit:
    prompt = entry.get("prompt", "")
    model = str(about.get("model", UNKNOWN))
    known = {name: about[name] for name in _SAMPLED if name in about}
    return SelfEdit(
        id=content_id(task.id, model, prompt, sample, text),
        sample=sample,
        model=model,
        template=find_template(task, prompt),
        prompt=prompt,
        completion=text,
        finish="unknown",
        tokens=None,
        sampling=known,
        error=None,
    )


def read_rewards(document: Mapping[str, Any], path: Path, refuse: OnReject = raise_on_reject) -> Iterator[Record]:
    """Yield a score line per completion and repetition; one per completion if the file has only means."""
    try:
        about = sanitize({name: value for name, value in document.items() if name != "articles"})
    except JsonFault as error:
        raise BadInput(f"{path}: {error}") from None
    if not isinstance(about.get("model", UNKNOWN), str) or not isinstance(about.get("lora_params", {}), dict):
        raise BadInput(f"{path}: not an official reward file (model must be text, lora_params an object)")
    places = ((f"articles[{number}]", article) for number, article in enumerate(document["articles"]))
    return read_entries(places, str(path), lambda article: _article_scores(about, article), refuse)


def _article_scores(about: Mapping[str, Any], article: Any) -> list[Record]:
    """All lines of a passage, or BadLine: a passage with some of its self-edits gone would be compared wrongly."""
    try:
        completions = list(enumerate(article["completions"]))
        return [line for sample, text in completions for line in _completion_scores(about, article, text, sample)]
    except ValidationError as error:
        raise BadLine(f"not an official reward file ({explain_invalid(error)})") from None
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise BadLine(f"not an official reward file ({error!r})") from None


def _completion_scores(
    document: Mapping[str, Any], article: Mapping[str, Any], completion: Mapping[str, Any], sample: int
) -> Iterator[Record]:
    graded = completion["questions"]
    first = [question for question in graded if question["rep"] == graded[0]["rep"]]
    pairs = [(question["question"], question["answer"]) for question in first]
    task = make_task(article["title"], article["context"], pairs)
    about = {"model": document.get("model", UNKNOWN)}
    edit = _edit(task, article, completion["text"], sample, about)
    record = Record(task=task, edit=edit, meta=get_meta(article))
    if not graded:
        stats = completion["stats"]
        yield record.grow(score=_score(about, stats["adapter_mean"], stats["baseline_mean"], ()))
    for repetition, answers in groupby(graded, key=lambda question: question["rep"]):
        rows = list(answers)
        if [(row["question"], row["answer"]) for row in rows] != pairs:
            raise BadLine(f"completion {sample}: repetition {repetition} has other questions, or in another order")
        yield record.grow(**_repetition(task, edit.id, document, repetition, rows))


def _repetition(
    task: QaTask, edit_id: str, document: Mapping[str, Any], repetition: int, graded: list[Any]
) -> dict[str, Adapter | Score]:
    """The sections of one seed: the file keeps no adapter, so that it has no path and no training figures."""
    fit = document.get("lora_params", {})
    adapter = Adapter(
        id=content_id(edit_id, repetition, fit),
        seed=repetition,
        model=str(document.get("model", UNKNOWN)),
        path=None,
        fit=fit,
        train=None,
        fault=None,
        error=None,
    )
    answers = tuple(
        Answer(
            id=question.id,
            prediction=row["adapter_answer"],
            correct=row["adapter_correct"],
            reason=None,
            baseline_prediction=row["baseline_answer"],
            baseline_correct=row["baseline_correct"],
        )
        for question, row in zip(task.questions, graded, strict=True)
    )
    value = sum(row["adapter_correct"] for row in graded) / len(graded)
    baseline = sum(row["baseline_correct"] for row in graded) / len(graded)
    return {"adapter": adapter, "score": _score(document, value, baseline, answers)}


def _score(about: Mapping[str, Any], value: float, baseline: float, answers: tuple[Answer, ...]) -> Score:
    model = str(about.get("model", UNKNOWN))
    score = Score(value=value, baseline=baseline, model=model, judge=RESULTS_JUDGE, answers=answers)
    return score.model_copy(update={"bounds": (value, value)})
