"""Text of a server, made fit to be shown: it may repeat the key it was sent, and anything else."""

import re
from base64 import b64encode
from functools import lru_cache
from typing import Any

from stages.records.jsonl import one_line
from stages.services.endpoint import HIDDEN

_LONGEST = 200  # characters of a server's text that are quoted
_SECRET = 16  # characters: a shorter key is a dummy ("EMPTY"), a word that an answer may well hold
_ESCAPED = '"/'  # JSON may write them with a backslash
_NESTED = 8  # backslashes before a character: JSON in JSON in JSON has seven


@lru_cache(maxsize=8)
def _spelling(key: str) -> re.Pattern[str]:
    """The key with each character as it is, as in a URL, or as in JSON, which may be within JSON again.

    A very short one ("token") is a dummy, which is no part of a longer word (max_tokens).
    """
    written = "".join(_spelled(character) for character in key)
    return re.compile(rf"(?<!\w){written}(?!\w)" if len(key) < _SECRET // 2 else written)


def _spelled(character: str) -> str:
    code = f"(?i:{ord(character):02x})"
    bare = rf"\\{{0,{_NESTED}}}" if character in _ESCAPED else ""
    return rf"(?:{bare}{re.escape(character)}|%{code}|\\{{1,{_NESTED}}}u00{code})"


@lru_cache(maxsize=8)
def _encodings(key: str) -> tuple[str, ...]:
    """What shows of a key inside base64 that begins anywhere before it."""
    found = set()
    for before in range(3 if len(key) >= _SECRET // 2 else 0):  # bytes of the same base64 group that come first
        encoded = b64encode(bytes(before) + key.encode()).decode().rstrip("=")
        found.add(encoded[-(-before * 8 // 6) : len(encoded) - (len(encoded) % 4 != 0)])
    return tuple(sorted(found, key=len, reverse=True))


def redact(text: str, key: str | None) -> str:
    """The text with every form of the key replaced."""
    if not key:
        return text
    if key in text or "%" in text or "\\" in text:
        text = _spelling(key).sub(HIDDEN, text)
    for form in _encodings(key):
        text = text.replace(form, HIDDEN)
    return text


def without_secret(text: str, key: str | None) -> str:
    """A whole answer, which is data: only a key that no text holds by chance is replaced."""
    return redact(text, key) if key and len(key) >= _SECRET else text


def without_secrets(value: Any, text: str, key: str | None) -> Any:
    """The same of an answer in JSON: the value that was read from the text, since JSON can write any letter as \\u00….

    A text that holds neither the key nor a backslash is not searched value by value.
    """
    if not key or len(key) < _SECRET or ("\\" not in text and redact(text, key) == text):
        return value
    return _searched(value, key)


def _searched(value: Any, key: str) -> Any:
    """JSON with every form of the key replaced in all of its strings."""
    if isinstance(value, str):
        return redact(value, key)
    if isinstance(value, list):
        return [_searched(item, key) for item in value]
    if isinstance(value, dict):
        return {redact(name, key): _searched(item, key) for name, item in value.items()}
    return value


def quote_line(text: str, key: str | None) -> str:
    """The first line of a server's text that says something, without the key and without control characters."""
    lines = (line.strip() for line in redact(text, key).splitlines())
    first = one_line(next((line for line in lines if line), ""))
    return first if len(first) <= _LONGEST else first[: _LONGEST - 1] + "…"
