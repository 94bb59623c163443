"""The lines that are no records, and the JSON Schema of every line, for `seal schema`.

What a line by hand may leave out is not required.
"""

from collections.abc import Mapping
from typing import Any

from stages.records.arc import ArcTrainingData
from stages.records.frozen import Fraction01, FrozenModel, Meta, Tuple
from stages.records.record import Message, Record

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
}


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


Line = Record | SftExample | Checkpoint | TrainingData | ArcTrainingData
LINES: dict[str, type[FrozenModel]] = {
    "record": Record,
    "sft": SftExample,
    "checkpoint": Checkpoint,
    "training_data": TrainingData,
    "arc_training_data": ArcTrainingData,
}


def get_schemas() -> Mapping[str, Schema]:
    """JSON Schema of every line that a stage reads or writes, by the name of the line."""
    return {name: _describe_line(model.model_json_schema()) for name, model in LINES.items()}


def _describe_line(schema: Schema) -> Schema:
    inner = {name: _describe(each) for name, each in schema.get("$defs", {}).items()}
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **_describe(schema), **({"$defs": inner} if inner else {})}


def _describe(schema: Schema) -> Schema:
    """The schema of one class; required is what no reader derives."""
    derived = DERIVED.get(schema["title"], "").split()
    fields = {key: {**field} for key, field in schema["properties"].items()}
    for field in fields.values():
        field.pop("discriminator", None)  # OpenAPI's, and the key that it names may be left out
        if "description" in field:
            field["description"] = " ".join(field.pop("description").split())
    required = [key for key in schema.get("required", ()) if key not in derived]
    return {**schema, "properties": fields, "required": required}
