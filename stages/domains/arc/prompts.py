"""The messages of the few-shot domain, word for word SEAL's (arXiv 2506.10943, few-shot: `prompts.py`, `self-edit.py`).

The task text is that of ekinakyurek/marc (`GPTTextMessageRepresenterV2`), on which SEAL's code is built.

A prompt is messages, so that the model's own chat template renders it. The official code writes the self-edit prompt
with Llama's marks by hand, without the date lines that Llama 3.2's template puts into the system turn; its task text
goes through the template, and has a generation prompt behind the answer too, which is trained as part of it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.domains.arc.grid_text import END, digits_text, numpy_text
from stages.domains.arc.self_edit import OUTPUT_TOKENS, STRATEGIES, SWITCHES, parse_edit
from stages.domains.arc.training_set import Pair, Puzzle
from stages.errors import BadConfig, BadEdit
from stages.interfaces import Example
from stages.records.arc import Grid
from stages.sources.texts import read_flag_file

Messages = list[dict[str, str]]

EDIT_SYSTEM = "You are a helpful assistant that provide the correct output for the given task immediately."
EDIT_CHOICES = """
You are configuring a model training pipeline by selecting from predefined tools.

You must make two decisions:

1. **Data Generation Tools** — For each of the following, choose true or false:
    - use_basic_augmentations
    - use_size_augmentations
    - use_chain_augmentations
    - use_repeat_augmentations

2. **Training Configuration** — Choose one of:
    - "train_using_all_tokens"
    - "train_using_output_tokens"

Also specify:
    - learning_rate (float)
    - num_train_epochs (integer)

### Output Format

Respond with a valid JSON object. Do not include any explanation, markdown, or extra text. \
Use lowercase `true`/`false` for booleans and ensure correct JSON syntax.

Example output:

{
  "data_generation": {
    "use_basic_augmentations": ...,
    "use_size_augmentations": ...,
    "use_chain_augmentations": ...,
    "use_repeat_augmentations": ...
  },
  "training": {
    "strategy": ...,
    "learning_rate": ...,
    "num_train_epochs": ...
  }
}
"""
EDIT_RULE = "------\n\n"  # between the demonstrations and the choices
TASK_SYSTEM = (
    "Figure out the underlying transformation in the following examples and apply it to the test case. "
    "Here are some examples from this transformation, your answer must follow the format.\n"
    "The input-output grids are provided as python arrays:\n"
)
ARROW = " -> "


def make_edit_prompt(demonstrations: Sequence[Pair]) -> Messages:
    """Write the messages that ask for a self-edit: the demonstrations as rows of digits, then the choices."""
    return make_messages(EDIT_SYSTEM, demonstrations_text(demonstrations) + EDIT_RULE + EDIT_CHOICES)


def demonstrations_text(demonstrations: Sequence[Pair]) -> str:
    """Write each demonstration as two grids of digits, a blank line after each."""
    return "".join(
        f"Input:\n{digits_text(pair.input)}\n\nOutput:\n{digits_text(pair.output)}\n\n" for pair in demonstrations
    )


def make_task_prompt(demonstrations: Sequence[Pair], test_input: Grid) -> Messages:
    """Write the messages that ask for an output grid; the answer begins at once."""
    shown = "".join(f"{numpy_text(pair.input)}{ARROW}{answer_text(pair.output)}\n" for pair in demonstrations)
    return make_messages(TASK_SYSTEM + shown, numpy_text(test_input) + ARROW)


def answer_text(output: Grid) -> str:
    """Write the assistant's turn: the grid, and the end mark."""
    return numpy_text(output) + END


def make_example(puzzle: Puzzle, *, whole: bool, chat: bool = True) -> Example:
    """Make a training sequence of a puzzle: the loss on the answer (train_using_output_tokens), or on all tokens."""
    turns, said = make_task_prompt(puzzle.shown, puzzle.asked.input), answer_text(puzzle.asked.output)
    return (
        Example(turns, said, loss_on_prompt=whole)
        if chat
        else Example(join_messages(turns), f" {said}", loss_on_prompt=whole)
    )


def join_messages(turns: Messages) -> str:
    """The same for a model that has no chat template; the paper has none such. It ends without a space, since most
    tokenizers take a space together with what follows it.
    """
    return "\n".join(turn["content"].rstrip() for turn in turns)


def make_messages(system: str, user: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


# ---- templates: the paper's prompt, the user's file, or a self-edit written by a person

TOOLS_TEMPLATE, ORACLE = "tools", "oracle"
PLACE = "{demonstrations}"
# Test-time training by hand. Learning rate and epochs are the paper's; tools and strategy, which it does not print, are
# those of Akyürek et al. (arXiv 2411.07279): all of them, and the loss on outputs.
ORACLE_EDIT = json.dumps(
    {
        "data_generation": dict.fromkeys(SWITCHES.values(), True),
        "training": {"strategy": OUTPUT_TOKENS, "learning_rate": 1e-4, "num_train_epochs": 2},
    },
    indent=2,
)
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "data_generation": {
            "type": "object",
            "properties": {key: {"type": "boolean"} for key in SWITCHES.values()},
            "required": [*SWITCHES.values()],
            "additionalProperties": False,
        },
        "training": {
            "type": "object",
            "properties": {
                "strategy": {"type": "string", "enum": [*STRATEGIES]},
                "learning_rate": {"type": "number"},
                "num_train_epochs": {"type": "integer"},
            },
            "required": ["strategy", "learning_rate", "num_train_epochs"],
            "additionalProperties": False,
        },
    },
    "required": ["data_generation", "training"],
    "additionalProperties": False,
}


def template_text(template: str) -> str:
    """Return the template's text. Raises BadConfig or MissingInput for an unknown one."""
    written = get_fixed_edit(template)
    return read_arc_template(template) if written is None else written


def get_fixed_edit(template: str) -> str | None:
    """Return a self-edit written by a person: `oracle` or `oracle:FILE`; None for a template that asks a model."""
    name, colon, file = template.partition(":")
    if name != ORACLE:
        return None
    return read_oracle(Path(file)) if colon else ORACLE_EDIT


def read_arc_template(template: str) -> str:
    """Read a template. Raises BadConfig for an unknown name or a file without {demonstrations}."""
    path, known = Path(template), f"the templates of ARC tasks are {TOOLS_TEMPLATE}, {ORACLE} and {ORACLE}:FILE"
    if not (path.exists() or path.suffix or "/" in template):
        raise BadConfig(f"--template {template}: unknown; {known}, or a file with {PLACE}")
    text = read_flag_file(path, f"--template {template}", f" ({known})")
    if PLACE not in text:
        raise BadConfig(f"--template {template}: the file does not contain {PLACE}")
    return text


def read_oracle(path: Path) -> str:
    """Read a self-edit written by a person. Raises BadConfig if it is not valid without repairs."""
    flag = f"--template {ORACLE}:{path}"
    text = read_flag_file(path, flag)
    try:
        found = parse_edit(text)
    except BadEdit as error:
        raise BadConfig(f"{flag}: {error}") from None
    if found.repairs:
        raise BadConfig(f"{flag}: not strict JSON ({', '.join(found.repairs)})")
    return text
