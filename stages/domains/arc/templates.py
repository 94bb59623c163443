"""Templates of few-shot self-edits: the paper's prompt, the user's file, or a self-edit written by a person."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.domains.arc.self_edit import OUTPUT_TOKENS, STRATEGIES, SWITCHES, parse_edit
from stages.errors import BadConfig, BadEdit, MissingInput
from stages.sources.texts import read_flag_file

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
    path = Path(template)
    if not path.is_file():
        known = f"the templates of ARC tasks are {TOOLS_TEMPLATE}, {ORACLE} and {ORACLE}:FILE"
        if path.suffix or "/" in template:
            raise MissingInput(f"--template {template}: no such file ({known})")
        raise BadConfig(f"--template {template}: unknown; {known}, or a file with {PLACE}")
    text = read_flag_file(path, f"--template {template}")
    if PLACE not in text:
        raise BadConfig(f"--template {template}: the file does not contain {PLACE}")
    return text


def read_oracle(path: Path) -> str:
    """Read a self-edit written by a person. Raises BadConfig if it is not valid without repairs."""
    flag = f"--template {ORACLE}:{path}"
    if not path.is_file():
        raise MissingInput(f"{flag}: no such file")
    text = read_flag_file(path, flag)
    try:
        found = parse_edit(text)
    except BadEdit as error:
        raise BadConfig(f"{flag}: {error}") from None
    if found.repairs:
        raise BadConfig(f"{flag}: not strict JSON ({', '.join(found.repairs)})")
    return text
