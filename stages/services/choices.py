"""What a completion says: the first choice of a server's answer, as chat and plain completions have it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # DeepSeek, SGLang, llama.cpp; vLLM, OpenRouter, Ollama


@dataclass(frozen=True)
class ChoiceText:
    """None for what is not there, or is no text."""

    text: str | None
    finish: str | None
    refusal: str | None
    thought: str | None = None  # where the server tells it apart from the text
    calls_tool: bool = False


def first_choice(body: Mapping[str, Any]) -> ChoiceText:
    """The first choice; all None where there is none. A content in parts is its texts, one behind the other."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    choice = choice if isinstance(choice, dict) else {}
    told = choice.get("message")
    message = told if isinstance(told, dict) else choice
    content = message.get("content" if "message" in choice else "text")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    thoughts = [_text_of(message.get(name)) for name in _THOUGHTS]
    return ChoiceText(
        text=_texts(parts, "text") if parts else _text_of(content),
        finish=_text_of(choice.get("finish_reason")),
        refusal=_text_of(message.get("refusal")) or _texts(parts, "refusal"),
        thought=next(filter(None, thoughts), None) or _texts(parts, "thinking"),
        calls_tool=bool(message.get("tool_calls") or message.get("function_call")),
    )


def _texts(parts: Sequence[Mapping[str, Any]], kind: str) -> str | None:
    """The texts of the parts of this kind; None where there is none. Mistral's thoughts have parts themselves."""
    found = [part.get(kind) for part in parts if part.get("type") in (kind, f"output_{kind}")]
    texts = [_texts(each, "text") if isinstance(each, list) else _text_of(each) for each in found]
    return "".join(text for text in texts if text) if found else None


def _text_of(value: object) -> str | None:
    return value if isinstance(value, str) else None
