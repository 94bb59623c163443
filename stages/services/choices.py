"""What a completion says: the first choice of a server's answer, as chat and plain completions have it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Said:
    """None for what is not there, or is no text."""

    text: str | None
    finish: str | None
    refusal: str | None


def said(body: Mapping[str, Any]) -> Said:
    """The first choice; all None where there is none."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    choice = choice if isinstance(choice, dict) else {}
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    refusal = message.get("refusal") if isinstance(message, dict) else None
    return Said(text_of(text), text_of(choice.get("finish_reason")), text_of(refusal) or None)


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) else None
