"""The lines that are no records, and the JSON Schema of every line, for `seal schema`.

What a line by hand may leave out is not required.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import Field, create_model

from stages.plugins import DOMAINS
from stages.records.arc import ArcTask, ArcTrainingData
from stages.records.frozen import Fraction01, FrozenModel, Meta, Tuple
from stages.records.record import Message, Record, get_task_type
from stages.records.task import QaTask

Schema = dict[str, Any]
DERIVED: Mapping[str, str] = {  # what stages/records/handmade.py fills in
    "QaTask": "id domain title questions",
    "Question": "id",
    "ArcTask": "id domain",
    "GridPair": "output",
    "SelfEdit": "id sample model template prompt finish tokens sampling error chosen",
    "Adapter": "id seed model fit train fault error",
    "Score": "bounds baseline model judge answers",
    "Answer": "prediction correct reason baseline_prediction baseline_correct",
    "GridAnswer": "prediction correct reason baseline_prediction baseline_correct",
    "SftExample": "task_id edit_id value baseline",
    "PreferencePair": "task_id chosen_id rejected_id values",
}


def _is_absent(value: object) -> bool:
    return value is None


class SftExample(FrozenModel):
    """A kept self-edit in the prompt-completion form that trainers read: texts, or messages both.

    value and baseline are means over seeds.
    """

    prompt: str | Tuple[Message]
    """How the self-edit was asked for: text, or for a chat model the turns of a chat. No loss is on it."""
    completion: str | Tuple[Message]
    """The self-edit that is learned, without its thoughts; a message where the prompt is of messages."""
    task_id: str
    """The id of the task."""
    edit_id: str
    """The id of the self-edit."""
    value: Fraction01
    """Accuracy after the self-edit, mean over seeds, 0 to 1."""
    baseline: Fraction01 | None
    """Accuracy without it, mean over seeds, 0 to 1; null: not measured."""
    reward: float | None = Field(None, exclude_if=_is_absent)
    """The value less what was forgotten (`seal filter --reward gain-forgetting:L`); left out where it is the value."""
    advantage: float | None = Field(None, exclude_if=_is_absent)
    """How much better it is than the others of its context, in their standard deviations: its weight in the loss."""
    meta: Meta | None = None
    """Any JSON object of yours. Stages hand it on; ids, seeds and results do not depend on it."""


class PreferencePair(FrozenModel):
    """The best self-edit of a context against the worst, as trl's trainers of preferences read them."""

    prompt: str | Tuple[Message]
    """How both self-edits were asked for: text, or for a chat model the turns of a chat."""
    chosen: str | Tuple[Message]
    """The best self-edit, without its thoughts; a message where the prompt is of messages."""
    rejected: str | Tuple[Message]
    """The worst one."""
    task_id: str
    """The id of the task."""
    chosen_id: str
    """The id of the best self-edit."""
    rejected_id: str
    """The id of the worst one."""
    values: Annotated[Tuple[Fraction01], Field(min_length=2, max_length=2)]
    """Accuracy after the chosen and after the rejected self-edit, means over seeds, 0 to 1."""
    meta: Meta | None = None
    """Any JSON object of yours. Stages hand it on; ids, seeds and results do not depend on it."""


class Checkpoint(FrozenModel):
    """The model that `seal sft` wrote: the next round's --model."""

    model: str
    """The directory of the new model: the next round's --model."""
    base: str
    """The model that was trained."""
    examples: int
    """Completions learned."""
    steps: int
    """Optimizer steps."""
    loss_first: float
    """Mean loss per learned token, in nats, in the first step."""
    loss_last: float
    """Mean loss per learned token, in nats, in the last step."""
    fit: dict[str, Any]
    """Every hyper-parameter used, by name; rates per step, lengths in tokens."""


class TrainingData(FrozenModel):
    """The training sequences of one self-edit, as `seal adapt --show-data` prints them."""

    task_id: str
    """The id of the task."""
    edit_id: str
    """The id of the self-edit."""
    sequences: Tuple[str]
    """The training sequences, as text; the loss is on all of them."""
    meta: Meta | None = None
    """Any JSON object of yours. Stages hand it on; ids, seeds and results do not depend on it."""


FilterLine = SftExample | PreferencePair | Record  # what `seal filter` writes
Line = FilterLine | Checkpoint | TrainingData | ArcTrainingData
LINES: dict[str, type[FrozenModel]] = {
    "record": Record,
    "sft": SftExample,
    "checkpoint": Checkpoint,
    "training_data": TrainingData,
    "arc_training_data": ArcTrainingData,
    "preference": PreferencePair,
}


def get_schemas(domains: Iterable[str] = ()) -> Mapping[str, Schema]:
    """Return the JSON Schema of every line that a stage reads or writes, by the name of the line.

    `domains`: those of others whose tasks a record may have, too. Raises BadConfig for a domain without such tasks.
    """
    kinds = {**LINES, "record": _record_of(dict.fromkeys([*DOMAINS, *domains]))}
    return {name: _describe_line(kind.model_json_schema()) for name, kind in kinds.items()}


def _record_of(domains: Iterable[str]) -> type[Record]:
    """The class of records whose tasks may be of these domains; a task of others names its own."""
    theirs: list[Any] = []
    for name in domains:
        kind = get_task_type(name)
        if kind not in (QaTask, ArcTask):
            own: Any = (Literal[name], _copy(kind, "domain"))
            home: dict[str, Any] = {"__base__": kind, "__doc__": kind.__doc__, "__module__": kind.__module__}
            theirs.append(create_model(kind.__name__, **home, domain=own))
    if not theirs:
        return Record
    task: Any = Union[QaTask, ArcTask, *theirs]
    about = _copy(Record, "task", discriminator="domain")
    return create_model("Record", __base__=Record, __doc__=Record.__doc__, task=(task, about))


def _copy(kind: type[FrozenModel], name: str, **more: Any) -> Any:
    return Field(description=kind.model_fields[name].description, **more)


def _describe_line(schema: Schema) -> Schema:
    inner = {name: _describe(each, name) for name, each in schema.get("$defs", {}).items()}
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **_describe(schema, schema["title"]), **({"$defs": inner} if inner else {})}


def _describe(schema: Schema, name: str) -> Schema:
    """The schema of one class; required is what no reader derives. What is no class of fields stays as it is."""
    if "properties" not in schema:
        return schema
    derived = DERIVED.get(re.sub("^stages__.*__", "", name), "").split()  # pydantic's name where theirs has the same
    fields = {key: {**field} for key, field in schema["properties"].items()}
    for field in fields.values():
        field.pop("discriminator", None)  # OpenAPI's, and the key that it names may be left out
        if "description" in field:
            field["description"] = " ".join(field.pop("description").split())
    required = [key for key in schema.get("required", ()) if key not in derived]
    return {**schema, "properties": fields, "required": required}
