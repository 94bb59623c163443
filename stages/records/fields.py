"""What the fields of lines mean, and which of them a line by hand may leave out: for `seal schema`.

The sections themselves are in record.py and arc.py beside this file; a test holds that every field is here.
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_META = "Any JSON object of yours. Stages hand it on; ids, seeds and results do not depend on it."
_CHAT_OR_TEXT = "text, or for a chat model the turns of a chat"
_OWN_ERROR = "Why it failed; null where it did not."
_PREDICTION = "What the adapted model answered, verbatim, thoughts and all; null: it gave no answer."
_VERDICT = "Whether the answer is right; null: unscored, for `reason`, which is never the same as wrong."
_FIT = "Every hyper-parameter used, by name; rates per step, lengths in tokens."
_LOSS = "Mean loss per learned token, in nats,"
_ID = "Identifies it; a hash of its content where nobody gave another."
_TASK_ID = "The id of the task."
_EDIT_ID = "The id of the self-edit."

FIELDS: Mapping[str, Mapping[str, str]] = {
    "Record": {
        "v": "Version of the format.",
        "task": "What is to be learned, and how it is measured. Made by `seal tasks`.",
        "edit": "A self-edit: what the editor model wrote to learn from. Made by `seal generate`.",
        "adapter": "The student's update on the self-edit. Made by `seal adapt`.",
        "score": "How well the student then does. Made by `seal eval` and `seal judge`.",
        "meta": _META,
    },
    "QaTask": {
        "id": _ID,
        "domain": "qa: a passage, and questions that are answered without it.",
        "title": "What the passage is about; part of every prompt and training sequence.",
        "context": "The passage.",
        "questions": "What is asked; none: the task can be adapted to and not scored.",
    },
    "Question": {
        "id": "Identifies it within the task; a hash of question and answer where nobody gave another.",
        "question": "What is asked.",
        "answer": "The gold answer; of several the first.",
        "other_answers": "The further gold answers, any of which counts as well; left out where there are none.",
    },
    "ArcTask": {
        "id": _ID,
        "domain": "arc: demonstrations of a transformation of grids, and tests to apply it to.",
        "train": "The demonstrations.",
        "test": "The tests.",
    },
    "Demonstration": {
        "input": "The grid before: rows of colours 0 to 9.",
        "output": "The grid after.",
    },
    "GridPair": {
        "input": "The grid before: rows of colours 0 to 9.",
        "output": "The solution; null: unknown, and the task stays unscored.",
    },
    "SelfEdit": {
        "id": _ID,
        "sample": "Which of the k samples of this task, from 0.",
        "model": "The editor; none: no model wrote it, unknown: the line does not say.",
        "template": "The name or file of the template that made the prompt; custom: none of ours.",
        "prompt": f"How the self-edit was asked for: {_CHAT_OR_TEXT}. `seal sft` teaches the completion behind it.",
        "completion": "What the editor wrote, verbatim. Thoughts at its beginning are not trained on.",
        "finish": "How it ended: stop (by itself), length (cut at max_tokens), refused, failed (lost), unknown.",
        "tokens": "Length of the completion in tokens; null: not known.",
        "sampling": "How it was drawn: temperature, top_p, max_tokens (tokens), seed.",
        "error": "Why it cannot be read (worth 0), or never came or ends within a thought (unscored); null: neither.",
        "chosen": "What an ARC self-edit chose; null for text, and where it cannot be read.",
    },
    "Message": {
        "role": "Whose turn it is: system, user, assistant, tool.",
        "content": "The text of the turn.",
    },
    "ArcChoice": {
        "tools": "Groups of tools that are on: basic, size, chain, repeat.",
        "strategy": "What the loss is on: train_using_all_tokens or train_using_output_tokens.",
        "learning_rate": "Peak learning rate.",
        "epochs": "Times that the training set is seen.",
        "repairs": "What was mended in the text before it could be read; mostly nothing.",
    },
    "Adapter": {
        "id": _ID,
        "seed": "What the training was drawn from.",
        "model": "The student: the base model of the adapter.",
        "path": "The PEFT directory; null: there is none, for `error`, or it was imported without its weights.",
        "fit": _FIT,
        "train": "What the training did; null: it was not done here, or failed.",
        "fault": "Whose an error is: edit (worth 0) or training (ours, unscored); null: no error.",
        "error": _OWN_ERROR,
    },
    "TrainStats": {
        "sequences": "Training sequences in an epoch.",
        "tokens": "Tokens in an epoch, without pads.",
        "steps": "Optimizer steps in all.",
        "loss_first": f"{_LOSS} in the first step.",
        "loss_last": f"{_LOSS} in the last step.",
    },
    "Score": {
        "value": "Share of right answers of the adapted model, 0 to 1; null: an answer is unscored.",
        "bounds": "What the value could be: unscored answers all wrong, all right; null: the line does not say.",
        "baseline": "Share of right answers of the model without the adapter, 0 to 1; null: unscored or not measured.",
        "model": "Who answered.",
        "judge": "Who graded the answers.",
        "answers": "Every answer; empty where only a mean is known.",
    },
    "Answer": {
        "id": "The id of the question.",
        "prediction": _PREDICTION,
        "correct": _VERDICT,
        "reason": "What the judge said, or why the answer is unscored; null: nothing.",
        "baseline_prediction": "What the model answered without the adapter; null: it was not asked.",
        "baseline_correct": "Whether that is right; null: unscored or not asked.",
    },
    "GridAnswer": {
        "id": "The place of the test in its task, from 0, as text.",
        "prediction": "The first attempt as text, empty where there is none; null: the model gave no answer.",
        "correct": "Whether one of the attempts is the solution, cell by cell; null: unscored, for `reason`.",
        "reason": "Why it is wrong without an attempt, or unscored; null: nothing to say.",
        "baseline_prediction": "The first attempt without the adapter; null: it was not asked.",
        "baseline_correct": "Whether one of the attempts without the adapter is right; null: unscored or not asked.",
        "attempts": "The two grids with the most votes, or fewer.",
        "votes": "Every prediction of the adapted model.",
        "baseline_attempts": "The same of the model without the adapter.",
    },
    "Vote": {
        "variant": "How the task was turned, mirrored or reordered for this prediction.",
        "shown": "Places of the demonstrations in the prompt, from 0, in their order.",
        "prediction": "What came back, verbatim, thoughts and all; null: the engine failed, for `error`.",
        "grid": "The grid that it stands for, turned back; null: it is no grid, for `error`.",
        "error": _OWN_ERROR,
    },
    "SftExample": {
        "prompt": f"How the self-edit was asked for: {_CHAT_OR_TEXT}. No loss is on it.",
        "completion": "The self-edit that is learned, without its thoughts; a message where the prompt is of messages.",
        "task_id": _TASK_ID,
        "edit_id": _EDIT_ID,
        "value": "Accuracy after the self-edit, mean over seeds, 0 to 1.",
        "baseline": "Accuracy without it, mean over seeds, 0 to 1; null: not measured.",
        "meta": _META,
    },
    "Checkpoint": {
        "model": "The directory of the new model: the next round's --model.",
        "base": "The model that was trained.",
        "examples": "Completions learned.",
        "steps": "Optimizer steps.",
        "loss_first": f"{_LOSS} in the first step.",
        "loss_last": f"{_LOSS} in the last step.",
        "fit": _FIT,
    },
    "TrainingData": {
        "task_id": _TASK_ID,
        "edit_id": _EDIT_ID,
        "sequences": "The training sequences, as text; the loss is on all of them.",
        "meta": _META,
    },
    "ArcTrainingData": {
        "task_id": _TASK_ID,
        "edit_id": _EDIT_ID,
        "chosen": "What the self-edit chose; null: it cannot be read, for `error`.",
        "error": "Why the self-edit cannot be carried out; null: it can.",
        "tasks": "The training tasks.",
        "meta": _META,
    },
    "TrainingGrids": {
        "tool": "The tool that made it.",
        "permuted": "Whether its colours and its order are permuted.",
        "train": "The demonstrations that it shows.",
        "test": "The one whose output is learned.",
    },
}
DERIVED: Mapping[str, frozenset[str]] = {  # what stages/records/handmade.py fills in
    "QaTask": frozenset({"id", "domain", "title", "questions"}),
    "Question": frozenset({"id"}),
    "ArcTask": frozenset({"id", "domain"}),
    "GridPair": frozenset({"output"}),
    "SelfEdit": frozenset(FIELDS["SelfEdit"]) - {"completion"},
    "Adapter": frozenset(FIELDS["Adapter"]) - {"path"},
    "Score": frozenset(FIELDS["Score"]) - {"value"},
    "Answer": frozenset(FIELDS["Answer"]) - {"id"},
    "GridAnswer": frozenset(FIELDS["Answer"]) - {"id"},
    "SftExample": frozenset({"task_id", "edit_id", "value", "baseline"}),
}


def describe(schema: Schema) -> Schema:
    """The JSON Schema of a line with a description of every field; required is what no reader derives."""
    inner = {name: _described(name, each) for name, each in schema.get("$defs", {}).items()}
    return {"$schema": _DIALECT, **_described(schema["title"], schema), **({"$defs": inner} if inner else {})}


def _described(name: str, schema: Schema) -> Schema:
    texts, derived = FIELDS[name], DERIVED.get(name, frozenset())
    fields = {key: {**field, "description": texts[key]} for key, field in schema["properties"].items()}
    for field in fields.values():
        field.pop("discriminator", None)  # OpenAPI's, and the key that it names may be left out
    required = [key for key in schema.get("required", ()) if key not in derived]
    return {**schema, "properties": fields, "required": required}
