"""Reads the official SEAL files as they are: passages, passages with self-edits, and the inner loop's rewards.

The layouts are those of the published data and result files of the paper's code (arXiv 2506.10943).
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.domains.qa import QA, TEMPLATES
from stages.failures import BadInput
from stages.lines import parse_json, problem
from stages.records import Adapter, Answer, Record, Score, SelfEdit, Task, content_id, make_task

UNKNOWN = "unknown"
REWARD_JUDGE = "gpt-4.1"  # SEAL section 4.1; the result files do not name their judge


def read_task(entry: Mapping[str, Any], where: str) -> Task:
    """`{title, context, questions: [{question, answer}]}` as a task. Raises BadInput naming the key that is missing."""
    try:
        pairs = [(question["question"], question["answer"]) for question in entry.get("questions", [])]
        return make_task(entry["title"], entry["context"], pairs)
    except KeyError as error:
        raise BadInput(f"{where}: no {error.args[0]!r}; a task needs title, context and questions") from None
    except (TypeError, AttributeError, ValidationError):
        raise BadInput(f"{where}: title and context must be text, questions a list of question and answer") from None


def from_list(entries: list[dict[str, Any]], path: Path) -> Iterator[Record]:
    """Task lines, or one edit line per completion where the entries have completions."""
    about = _read_meta(path)
    for number, entry in enumerate(entries):
        where = f"{path}: [{number}]"
        task = read_task(entry, where)
        if "completions" not in entry:
            yield Record(task=task)
        for sample, completion in enumerate(_completions(entry, where)):
            yield Record(task=task, edit=_edit(task, entry, completion, sample, about))


def _completions(entry: Mapping[str, Any], where: str) -> list[str]:
    """The entry's self-edits. Raises BadInput where they or their prompt are not text."""
    found = entry.get("completions", [])
    texts = isinstance(found, list) and all(isinstance(text, str) for text in found)
    if not texts or not isinstance(entry.get("prompt", ""), str):
        raise BadInput(f"{where}: prompt must be text, completions a list of texts")
    return list(found)


def _read_meta(path: Path) -> Mapping[str, Any]:
    """The `.meta` file that the official generator writes beside its output: the model and how it was sampled."""
    meta = path.with_name(path.name + ".meta")
    try:
        found = parse_json(meta.read_text(encoding="utf-8")) if meta.is_file() else {}
    except ValueError as error:
        raise BadInput(f"{meta}: not JSON: {error} (mend it, or move it away)") from None
    return found if isinstance(found, dict) else {}


def _edit(task: Task, entry: Mapping[str, Any], text: str, sample: int, about: Mapping[str, Any]) -> SelfEdit:
    prompt = entry.get("prompt", "")
    model = str(about.get("model", UNKNOWN))
    known = {name: about[name] for name in ("temperature", "top_p", "max_tokens") if name in about}
    return SelfEdit(
        id=content_id(task.id, model, prompt, sample, text),
        sample=sample,
        model=model,
        template=_template_of(task, prompt),
        prompt=prompt,
        completion=text,
        finish="unknown",
        tokens=None,
        sampling=known,
        error=None,
    )


def _template_of(task: Task, prompt: str) -> str:
    domain = QA()
    return next((name for name in TEMPLATES if domain.edit_prompt(task, name, chat=False) == prompt), "custom")


def from_rewards(document: Mapping[str, Any], path: Path) -> Iterator[Record]:
    """One score line per completion and repetition; one per completion where the file has only means."""
    about = {"model": document.get("model", UNKNOWN)}
    for number, article in enumerate(document["articles"]):
        where = f"{path}: articles[{number}]"
        try:
            for sample, completion in enumerate(article["completions"]):
                yield from _completion_scores(document, article, completion, sample, about)
        except ValidationError as error:
            raise BadInput(f"{where}: not an official reward file ({problem(error)})") from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInput(f"{where}: not an official reward file ({error!r})") from None


def _completion_scores(
    document: Mapping[str, Any], article: Mapping[str, Any], completion: Mapping[str, Any], sample: int, about: Any
) -> Iterator[Record]:
    graded = completion["questions"]
    first = [question for question in graded if question["rep"] == graded[0]["rep"]]
    pairs = [(question["question"], question["answer"]) for question in first]
    task = make_task(article["title"], article["context"], pairs)
    edit = _edit(task, article, completion["text"], sample, about)
    record = Record(task=task, edit=edit)
    if not graded:
        stats = completion["stats"]
        yield record.grow(score=_score(about, stats["adapter_mean"], stats["baseline_mean"], ()))
    for repetition, answers in groupby(graded, key=lambda question: question["rep"]):
        yield _repetition(record, edit.id, document, repetition, list(answers))


def _repetition(
    record: Record, edit_id: str, document: Mapping[str, Any], repetition: int, graded: list[Any]
) -> Record:
    """The score line of one seed: the file keeps no adapter, so its section has no path and no training figures."""
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
        for question, row in zip(record.task.questions, graded, strict=True)
    )
    value = sum(row["adapter_correct"] for row in graded) / len(graded)
    baseline = sum(row["baseline_correct"] for row in graded) / len(graded)
    return record.grow(adapter=adapter, score=_score(document, value, baseline, answers))


def _score(about: Mapping[str, Any], value: float, baseline: float, answers: tuple[Answer, ...]) -> Score:
    model = str(about.get("model", UNKNOWN))
    return Score(value=value, baseline=baseline, model=model, judge=REWARD_JUDGE, answers=answers)
