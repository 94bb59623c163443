"""Complete lines made by hand or by another program: derive what a section leaves out from what it has.

    {"task": {"context": …, "questions": [{"question", "answer"}]}}      or, of ARC, {"task": {"train", "test"}}
    {"task": …, "edit": {"completion": …}}
    {"task": …, "adapter": {"path": …}}
    {"task": …, "edit": …, "score": {"value": …}}

A section has to say only what cannot be known otherwise. Ids are hashes of content, as those of `seal tasks`, so that
order, shards and resumed runs change nothing. A line that is complete passes as it is; one that cannot be completed
passes with its gaps, for whoever validates it to name.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stages.errors import BadEdit
from stages.fingerprints import fingerprint_folder
from stages.plugins import make_domain
from stages.records.frozen import content_id
from stages.records.record import AnyTask
from stages.records.score import compute_accuracy, compute_bounds
from stages.records.strict_json import JsonObject, parse_json
from stages.records.task import Task, make_task

UNKNOWN = "unknown"  # the model, judge or way of ending that a line does not name
_CUSTOM = "custom"  # the template of a prompt that is none of ours
_GAP = "(derived)"  # in the place of what could be derived, were the rest of the line right
_TASK = itemgetter("id", "title", "questions")  # what null does not say, of each section
_EDIT = itemgetter("id", "sample", "model", "template", "prompt", "finish", "sampling")
_ADAPTER = itemgetter("id", "seed", "model", "fit")
_SCORE = itemgetter("model", "judge", "answers")
_ANSWER = ("prediction", "correct", "reason", "baseline_prediction", "baseline_correct")
_GRIDS = ("attempts", "votes", "baseline_attempts")
_ANY_TASK: TypeAdapter[Task] = TypeAdapter(AnyTask)


def complete_line(line: JsonObject, folder: Path = Path()) -> JsonObject:
    """Return the line with all keys of its sections that can be derived. Keys that are null count as left out.

    `folder`: where the line's file lies, from which paths on it may be told.
    """
    if "task" not in line:
        return line
    task = line["task"]
    known = {**line, "task": _with_task(task) if isinstance(task, dict) else {}}
    for name, fill in _FILLERS.items():
        section = line.get(name)
        if isinstance(section, dict):
            known[name] = fill(section, known, folder)
    return known if isinstance(task, dict) else {**known, "task": task}


def _says(section: JsonObject, said: Callable[[JsonObject], tuple[Any, ...]], *nullable: str) -> bool:
    """True if the section has all of these itself: what is `said` not null, the others in any way."""
    try:
        return None not in said(section) and all(key in section for key in nullable)
    except KeyError:
        return False


def _derive(section: JsonObject, **values: Any) -> JsonObject:
    """The section with these values where it has none."""
    return {**section, **{key: value for key, value in values.items() if section.get(key) is None}}


def _extend(section: JsonObject, **values: Any) -> JsonObject:
    """The section with these values for keys that it has not, behind its own."""
    return {**section, **{key: value for key, value in values.items() if key not in section}}


# ---- tasks


def _with_task(task: JsonObject) -> JsonObject:
    domain = task.get("domain") or _shape_of(task)
    _, fill = _TASKS.get(domain, (None, None)) if isinstance(domain, str) else (None, None)
    return fill(task) if fill else task


def _shape_of(task: JsonObject) -> str | None:
    """The domain of a task that does not say it: a passage, or grids; None where it is neither or both."""
    fitting = [name for name, (keys, _) in _TASKS.items() if not keys.isdisjoint(task)]
    return fitting[0] if len(fitting) == 1 else None


def _with_questions(task: JsonObject) -> JsonObject:
    if _says(task, _TASK) and task.get("domain") and _are_named(task["questions"]):
        return task
    found = _derive(task, domain="qa", title="", questions=[])
    questions = found["questions"]
    try:
        pairs = [(each["question"], [each["answer"], *_items(each.get("other_answers"))]) for each in questions]
        if any(not isinstance(each.get("other_answers"), list | None) for each in questions):
            raise TypeError
        made = make_task(found["title"], found["context"], pairs, [each.get("id") for each in questions])
    except (TypeError, LookupError, AttributeError, ValidationError):
        gaps = [_derive(each, id=_GAP) if isinstance(each, dict) else each for each in _items(questions)]
        return _derive({**found, "questions": gaps if isinstance(questions, list) else questions}, id=_GAP)
    own = [_derive(each, id=made.questions[place].id) for place, each in enumerate(questions)]
    if found.get("id") is not None:
        return {**found, "questions": own}
    texts = [each.model_dump(mode="json", exclude={"id"}) for each in made.questions]
    return {**found, "id": made.id, "questions": [each | text for each, text in zip(own, texts, strict=True)]}


def _are_named(questions: Any) -> bool:
    return isinstance(questions, list) and all(type(each) is dict and each.get("id") is not None for each in questions)


def _with_grids(task: JsonObject) -> JsonObject:
    tests = [_extend(each, output=None) if isinstance(each, dict) else each for each in _items(task.get("test"))]
    found = {**task, "domain": "arc", **({"test": tests} if isinstance(task.get("test"), list) else {})}
    return found if found.get("id") is not None else {**found, "id": content_id("arc", found.get("train"), tests)}


_TASKS: Mapping[str, tuple[frozenset[str], Callable[[JsonObject], JsonObject]]] = {  # the keys of a task by hand
    "qa": (frozenset({"context", "questions"}), _with_questions),
    "arc": (frozenset({"train", "test"}), _with_grids),
}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# ---- self-edits


def _with_edit(edit: JsonObject, line: JsonObject, folder: Path) -> JsonObject:
    is_read = "chosen" in edit or edit.get("error") is not None
    if is_read and _says(edit, _EDIT, "tokens", "error"):
        return edit
    found = _derive(edit, model=UNKNOWN, sample=0, finish=UNKNOWN, sampling={})
    found = _extend(found, tokens=None, error=None, chosen=None)
    task = _read_task(line["task"])
    if task is None or not isinstance(found.get("completion"), str):  # the line is refused for that
        return _derive(found, id=_GAP, template=_GAP, prompt=_GAP)
    found = _with_prompt(found, task)
    said = [found[key] for key in ("model", "template", "prompt", "sample", "completion")]
    found = _derive(found, id=content_id(task.id, *said))
    return found if is_read else found | _read_choice(found, task)


def _read_task(task: JsonObject) -> Task | None:
    with suppress(ValidationError):
        return _ANY_TASK.validate_python(task)
    return None


def _with_prompt(edit: JsonObject, task: Task) -> JsonObject:
    """Where no prompt is given, the template's is taken, were it the domain's own: that is what `seal sft` teaches."""
    prompt, template, usual = edit.get("prompt"), edit.get("template"), make_domain(task.domain).defaults
    if prompt is not None:
        return _derive(edit, template=find_template(task, prompt))
    known = usual.template if template is None else template
    return {**edit, "template": known, "prompt": _write_prompt(task, known, chat=usual.chat)}


def find_template(task: Task, prompt: Any) -> str:
    """Return our template that this prompt was made with; `custom` if none was."""
    names = make_domain(task.domain).templates
    made = ((name, _write_prompt(task, name, chat=not isinstance(prompt, str))) for name in names)
    return next((name for name, text in made if text == prompt), _CUSTOM)


def _write_prompt(task: Task, template: str, *, chat: bool) -> Any:
    """What one of our templates asks about the task; "" for any other, since no file is read for a line."""
    domain = make_domain(task.domain)
    return domain.edit_prompt(task, template, chat=chat) if template in domain.templates else ""


def _read_choice(edit: JsonObject, task: Task) -> JsonObject:
    """What a self-edit chooses, or why it cannot be read, as `seal generate` says it; nothing of one that is text."""
    domain = make_domain(task.domain)
    if domain.schema() is None or edit["finish"] == "failed":
        return {}
    try:
        choice = domain.read_choice(edit["completion"])
        return {"chosen": choice and choice.model_dump(mode="json")}
    except BadEdit as error:
        return {"error": str(error)}


# ---- adapters and scores


def _with_adapter(adapter: JsonObject, line: JsonObject, folder: Path) -> JsonObject:
    if _says(adapter, _ADAPTER, "path", "train", "fault", "error"):
        return adapter
    error = adapter.get("error")
    found = _derive(adapter, seed=0, fit={}, fault="training" if error else None)
    found = _extend(found, train=None, fault=None, error=None, **({"path": None} if error else {}))
    place = _find_adapter(found.get("path"), folder)
    if found.get("model") is None:
        found["model"] = _base_of(place)
    if found.get("id") is not None:
        return found
    edit = line["edit"].get("id") if isinstance(line.get("edit"), dict) else None
    made = [line["task"].get("id"), edit, found["model"], found.get("path"), found["seed"], error]
    weights = [fingerprint_folder(place)] if place else []  # trained anew into its directory it is another
    return {**found, "id": content_id("adapter", *made, *weights)}


def _find_adapter(path: Any, folder: Path) -> Path | None:
    """The adapter directory, whose path is told from the folder, or from the working folder; None where it is not."""
    for place in (folder / path, Path(path)) if isinstance(path, str) else ():
        with suppress(ValueError, OSError):
            if (place / "adapter_config.json").is_file():
                return place
    return None


def _base_of(place: Path | None) -> str:
    """The model that an adapter directory says it was trained on; `unknown` where it does not, or is not there."""
    with suppress(ValueError, OSError, AttributeError):
        about = parse_json((place / "adapter_config.json").read_bytes()) if place else {}
        found = about.get("base_model_name_or_path")
        return found if isinstance(found, str) and found else UNKNOWN
    return UNKNOWN


def _with_score(score: JsonObject, line: JsonObject, folder: Path) -> JsonObject:
    if _says(score, _SCORE, "value", "bounds", "baseline"):
        return score
    answers = [_with_verdicts(each) for each in _items(score.get("answers"))]
    adapter = line.get("adapter")
    model = adapter.get("model") if isinstance(adapter, dict) else None
    found = _derive(score, model=model or UNKNOWN, judge=UNKNOWN, answers=[])
    if isinstance(found["answers"], list):
        found["answers"] = answers
    if answers and all(isinstance(each, dict) for each in answers):
        verdicts = [each["correct"] for each in answers]
        plain = compute_accuracy([each["baseline_correct"] for each in answers])
        found = _extend(found, value=compute_accuracy(verdicts), baseline=plain, bounds=compute_bounds(verdicts))
    value = found.get("value")
    return _extend(found, baseline=None, bounds=None if value is None else (value, value))


def _with_verdicts(answer: Any) -> Any:
    if not isinstance(answer, dict):
        return answer
    grids = dict.fromkeys(_GRIDS, ()) if answer.keys() & set(_GRIDS) else {}
    return _extend(answer, **dict.fromkeys(_ANSWER), **grids)


_FILLERS: Mapping[str, Callable[[JsonObject, JsonObject, Path], JsonObject]] = {
    "edit": _with_edit,
    "adapter": _with_adapter,
    "score": _with_score,
}
