"""The few-shot self-edit: which tools to use, what the loss is on, learning rate and epochs, as one JSON object.

    {"data_generation": {"use_basic_augmentations": bool, … size, chain, repeat},
     "training": {"strategy": "train_using_all_tokens" | "train_using_output_tokens",
                  "learning_rate": float, "num_train_epochs": int}}

The keys and strategies are those of SEAL's prompt (arXiv 2506.10943, few-shot). The official code asks again, for ever,
where the JSON cannot be read, and ignores keys it does not know. Here a self-edit is read as it is, or after repairs
that have a name and cannot change its meaning, or it is a BadEdit: the model's failure, value 0.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from stages.domains.arc.transforms import GROUPS
from stages.errors import BadEdit
from stages.records.arc import ArcChoice
from stages.records.strict_json import explain, parse_json
from stages.records.thoughts import explain_no_answer, remove_thoughts

ALL_TOKENS, OUTPUT_TOKENS = STRATEGIES = ("train_using_all_tokens", "train_using_output_tokens")  # SEAL's prompt
SWITCHES = {group: f"use_{group}_augmentations" for group in GROUPS}  # SEAL's prompt
_SECTIONS = ("data_generation", "training")
_TRAINING = ("strategy", "learning_rate", "num_train_epochs")

BATCH_SIZE = 2  # official self-edit.py, without accumulation
_MAX_STEPS = 375  # official self-edit.py: a self-edit that needs more is not trained
# The paper's oracle (test-time training by hand) learns at 1e-4. A thousandth of that, at AdamW's step of about one
# learning rate, moves no weight by more than 4e-5 in 375 steps; a thousand times that moves each further in one step
# than LoRA's first weights are large.
MIN_LEARNING_RATE, MAX_LEARNING_RATE = 1e-7, 1e-1
MIN_EPOCHS, MAX_EPOCHS = 1, _MAX_STEPS  # an epoch has a step at least; official: 0 epochs are what a failed edit gets
MAX_EDIT_CHARACTERS = 16_384  # of a completion: 128 tokens (the paper's few-shot setting) of at most 128 characters

_BLANKS = " \t\r\n"  # JSON's
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_MARKS = re.compile(rf"{_STRING}|[{{}}]", re.DOTALL)
_FENCE = re.compile(r"```[A-Za-z]*\s(.*)```", re.DOTALL)
_CONSTANTS = re.compile(rf"{_STRING}|\b(?:True|False|None)\b", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)
_QUOTED = re.compile(r"'([^'\n]*)'")
_JSON_CONSTANTS = {"True": "true", "False": "false", "None": "null"}


def parse_edit(completion: str) -> ArcChoice:
    """Parse the self-edit in a completion. Raises BadEdit with the reason if there is none."""
    value, repairs = _read_json(completion)
    sections = _fields(value, "", _SECTIONS)
    switches = _fields(sections["data_generation"], "data_generation", tuple(SWITCHES.values()))
    training = _fields(sections["training"], "training", _TRAINING)
    for key in SWITCHES.values():
        _require(isinstance(switches[key], bool), f"data_generation.{key}", "neither true nor false", switches[key])
    strategy, limits = training["strategy"], (MIN_LEARNING_RATE, MAX_LEARNING_RATE)
    _require(strategy in STRATEGIES, "training.strategy", f"neither {' nor '.join(STRATEGIES)}", strategy)
    return ArcChoice(
        tools=tuple(group for group, key in SWITCHES.items() if switches[key]),
        strategy=strategy,
        learning_rate=float(_number(training, "learning_rate", "a number", int | float, *limits)),
        epochs=_number(training, "num_train_epochs", "a whole number", int, MIN_EPOCHS, MAX_EPOCHS),
        repairs=repairs,
    )


def count_steps(rows: int, epoch_count: int, rows_a_step: int = BATCH_SIZE) -> int:
    """Count a training's optimizer steps as HF Trainer does: the last batch of an epoch may be short.

    The official code compares rows x epochs // 2 instead, which for an odd number of rows counts too few.
    """
    return -(-rows // rows_a_step) * epoch_count


def check_steps(edit: ArcChoice, rows: int, rows_a_step: int = BATCH_SIZE) -> None:
    """Raise BadEdit where the training would take more than 375 steps."""
    needed = count_steps(rows, edit.epochs, rows_a_step)
    if needed > _MAX_STEPS:
        trained = f"{edit.epochs} epochs over {rows} rows"
        raise BadEdit(f"{trained} are {needed} steps of {rows_a_step}, more than the {_MAX_STEPS} that are allowed")


# ---- the values


def _fields(value: Any, place: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the object at this place, with these keys and no others."""
    name, inside = (f"{place} is", f" in {place}") if place else ("the self-edit is", "")
    if not isinstance(value, dict):
        raise BadEdit(f"{name} not a JSON object: {_shown(value)}")
    unknown = [key for key in value if key not in keys]
    if unknown:
        raise BadEdit(f"unknown key {_shown(unknown[0])}{inside}: the keys are {', '.join(keys)}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise BadEdit(f"no {missing[0]}{inside}")
    return value


def _require(good: bool, place: str, fault: str, value: Any) -> None:
    if not good:
        raise BadEdit(f"{place} is {fault}: {_shown(value)}")


def _number(training: Mapping[str, Any], key: str, what: str, kinds: Any, least: float, most: float) -> Any:
    """Return the number of this key, of these types and within these bounds."""
    value, place = training[key], f"training.{key}"
    _require(isinstance(value, kinds) and not isinstance(value, bool), place, f"not {what}", value)
    _require(least <= value <= most, place, f"not in {least:g} to {most:g}", value)
    return value


def _shown(value: Any) -> str:
    """Show a value as ASCII JSON, cut short: safe in a terminal and on a line."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


# ---- the text


def _read_json(completion: str) -> tuple[Any, tuple[str, ...]]:
    """Return the JSON value after a completion's thoughts, and the repairs it needed. Raises BadEdit."""
    text = remove_thoughts(completion)
    if text is None:
        raise BadEdit(explain_no_answer("unknown"))
    if len(text) > MAX_EDIT_CHARACTERS:
        raise BadEdit(f"the completion is longer than {MAX_EDIT_CHARACTERS} characters")
    with suppress(ValueError):
        return parse_json(text), ()
    repairs: list[str] = []
    for name, repair in REPAIRS.items():
        mended = repair(text)
        if mended != text:
            text = mended
            repairs.append(name)
    try:
        return parse_json(text), tuple(repairs)
    except ValueError as error:
        reason = explain(error).partition(": the line ends early")[0]  # a hint about files
        raise BadEdit(f"the self-edit cannot be read: {reason}") from None


def _strip_code_fence(text: str) -> str:
    match = _FENCE.fullmatch(text.strip())
    return match[1] if match else text


def _extract_object(text: str) -> str:
    """The one object in the text. Raises BadEdit where there is none, more than one, or one without its end."""
    start = text.find("{")
    if start < 0:
        raise BadEdit("there is no JSON object in the completion")
    end = _find_end(text, start)
    if end is None:
        raise BadEdit("the JSON object has no end: is the completion cut off?")
    if "{" in text[end:]:
        raise BadEdit("there is more than one JSON object in the completion")
    around = text[:start].strip(_BLANKS) or text[end:].strip(_BLANKS)
    return text[start:end] if around else text


def _find_end(text: str, start: int) -> int | None:
    """The place behind the brace that closes the one at `start`; braces in strings are text."""
    depth = 0
    for match in _MARKS.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return None


def _use_double_quotes(text: str) -> str:
    """Single quotes made double where the text has no other quote and nothing escaped: they can only be delimiters."""
    return text if '"' in text or "\\" in text else _QUOTED.sub(r'"\1"', text)


def _use_json_constants(text: str) -> str:
    return _CONSTANTS.sub(lambda match: _JSON_CONSTANTS.get(match[0], match[0]), text)


def _remove_trailing_commas(text: str) -> str:
    return _TRAILING_COMMA.sub(lambda match: "" if match[0] == "," else match[0], text)


REPAIRS: Mapping[str, Callable[[str], str]] = {  # in this order, each at most once
    "code fence": _strip_code_fence,
    "text around the object": _extract_object,
    "single quotes": _use_double_quotes,
    "Python constants": _use_json_constants,
    "trailing comma": _remove_trailing_commas,
}
