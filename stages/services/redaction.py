"""Hides the API key in a server's text, which may repeat anything that it was sent."""

import re
from base64 import b64encode
from functools import lru_cache
from typing import Any

from stages.errors import one_line

_HIDDEN = "(key)"
_MAX_QUOTED = 200  # characters
_SHORTEST_SECRET = 16  # characters: a shorter key is a dummy ("EMPTY"), which may be a word of an answer
_SHORTEST_IN_WORDS = 8  # characters: a shorter key ("token") is hidden only as a whole word, so not in max_tokens


@lru_cache(maxsize=8)
def _spellings(key: str) -> re.Pattern[str]:
    """Each character as it is, as in a URL (%2F), or as in JSON (\\/, \\u002f), which may be JSON within JSON."""

    def spell(character: str) -> str:
        code = f"(?i:{ord(character):02x})"
        escape = r"\\{0,8}" if character in '"/' else ""  # JSON in JSON in JSON has seven backslashes
        return rf"(?:{escape}{re.escape(character)}|%{code}|\\{{1,8}}u00{code})"

    written = "".join(spell(character) for character in key)
    return re.compile(rf"(?<!\w){written}(?!\w)" if len(key) < _SHORTEST_IN_WORDS else written)


@lru_cache(maxsize=8)
def _base64_forms(key: str) -> tuple[str, ...]:
    """The part of a key that base64 shows, wherever in the encoded bytes it begins. The longest first."""
    found = set()
    for before in range(3 if len(key) >= _SHORTEST_IN_WORDS else 0):  # bytes that share the key's first group of three
        encoded = b64encode(bytes(before) + key.encode()).decode().rstrip("=")
        found.add(encoded[-(-before * 8 // 6) : len(encoded) - (len(encoded) % 4 != 0)])
    return tuple(sorted(found, key=len, reverse=True))


def redact(text: str, key: str | None) -> str:
    """Replace every form of the key in a text."""
    if not key:
        return text
    if key in text or "%" in text or "\\" in text:
        text = _spellings(key).sub(_HIDDEN, text)
    for form in _base64_forms(key):
        text = text.replace(form, _HIDDEN)
    return text


def redact_answer(value: Any, key: str | None) -> Any:
    """Replace the key in every string of an answer, text or JSON. A dummy key stays: it may be a word."""
    if not key or len(key) < _SHORTEST_SECRET:
        return value
    if isinstance(value, str):
        return redact(value, key)
    if isinstance(value, list):
        return [redact_answer(item, key) for item in value]
    if isinstance(value, dict):
        return {redact(name, key): redact_answer(item, key) for name, item in value.items()}
    return value


def quote_line(text: str, key: str | None) -> str:
    """Return the first line that is not empty, without key and control characters, cut to _MAX_QUOTED."""
    lines = (line.strip() for line in redact(text, key).splitlines())
    first = one_line(next((line for line in lines if line), ""))
    return first if len(first) <= _MAX_QUOTED else first[: _MAX_QUOTED - 1] + "…"
