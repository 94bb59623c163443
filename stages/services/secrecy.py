"""Text of a server, made fit to be shown: it may repeat the key it was sent, and anything else."""

from base64 import b64encode
from urllib.parse import quote

from stages.engines.endpoint import HIDDEN
from stages.lines import one_line

LONGEST = 200  # characters of a server's text that are quoted
SECRET = 16  # characters: a shorter key is a dummy ("EMPTY"), a word that an answer may well hold


def forms(key: str) -> tuple[str, ...]:
    """A key as it may come back: verbatim, in a URL, and inside base64 that begins anywhere before it."""
    found = {key, quote(key, safe="")}
    for before in range(3 if len(key) >= SECRET // 2 else 0):  # bytes of the same base64 group that come first
        encoded = b64encode(bytes(before) + key.encode()).decode().rstrip("=")
        found.add(encoded[-(-before * 8 // 6) : len(encoded) - (len(encoded) % 4 != 0)])
    return tuple(sorted(found, key=len, reverse=True))


def without_key(text: str, key: str | None) -> str:
    """The text with every form of the key replaced."""
    for form in forms(key) if key else ():
        text = text.replace(form, HIDDEN)
    return text


def without_secret(answer: str, key: str | None) -> str:
    """A whole answer, which is data: only a key that no text holds by chance is replaced."""
    return without_key(answer, key) if key and len(key) >= SECRET else answer


def quoted(text: str, key: str | None) -> str:
    """The first line of a server's text that says something, without the key and without control characters."""
    lines = (line.strip() for line in without_key(text, key).splitlines())
    first = one_line(next((line for line in lines if line), ""))
    return first if len(first) <= LONGEST else first[: LONGEST - 1] + "…"
