"""Single flags that several commands share: one name, one meaning, one help text."""

from collections.abc import Callable
from dataclasses import Field
from typing import Annotated, Any

import typer

from stages.domains.defaults import DEFAULTS
from stages.settings import Doc


def offer(*values: str) -> Callable[[str], list[str]]:
    """Complete an option's value in the shell from these."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def describe_field(kind: type, field: "Field[Any]") -> str:
    """Return `32; ARC: 128`, a field's default by domain, of the first settings of this kind that domains have."""
    section = next(section for section, value in vars(DEFAULTS["qa"]).items() if isinstance(value, kind))
    return describe_default(section, field.name)


def describe_default(section: str, name: str = "") -> str:
    """Return `32; ARC: 128`, what a setting is where no flag says otherwise."""
    values: dict[str, Any] = {domain: getattr(settings, section) for domain, settings in DEFAULTS.items()}
    if name:
        values = {domain: getattr(value, name) for domain, value in values.items()}
    told = {domain: f"{value:g}" if isinstance(value, float) else str(value) for domain, value in values.items()}
    return told["qa"] if told["qa"] == told["arc"] else f"{told['qa']}; ARC: {told['arc']}"


# Titles in help
OWN_PANEL = "Options"  # what only one stage has
LINES_PANEL = "Lines in and out"

Seed = Annotated[int, Doc("The run's seed; each record derives its own from it.", "S", panel=LINES_PANEL)]
AllowEmpty = Annotated[bool, Doc("Take an input without lines: the output then has none either.", panel=LINES_PANEL)]
Domains = Annotated[
    list[str],
    typer.Option(
        "--domain",
        metavar="CLASS",
        help="Let lines name a domain of yours, and run its code: package.module:Class (repeat it).",
        rich_help_panel=LINES_PANEL,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Only errors and rejected lines on stderr: no progress, no counts.",
        rich_help_panel=LINES_PANEL,
    ),
]
Chat = Annotated[
    bool | None,
    Doc(
        "Put prompts through the model's chat template.",
        flag="--chat/--no-chat",
        default="no; yes for ARC and for OpenAI's own models",
    ),
]
