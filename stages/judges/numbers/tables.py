"""How lists of words are written in the source, and made into patterns."""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType


class CharacterTable(dict[int, str]):
    """What becomes of each character, found when it is first met; for `str.translate`."""

    def __init__(self, find: Callable[[str], str], known: Mapping[int, str] = MappingProxyType({})) -> None:
        super().__init__(known)
        self.find = find

    def __missing__(self, code: int) -> str:
        self[code] = found = self.find(chr(code))
        return found


def list_words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def read_table(text: str) -> dict[str, str]:
    """`name: way to write it | another; name: …`, where `metre(s)` is both metre and metres."""
    found: dict[str, str] = {}
    for entry in re.split(r"[;\n]", text.strip()):
        name, _, ways = entry.strip().partition(": ")
        for way in ways.split(" | "):
            found |= {way.replace("(s)", ""): name, way.replace("(s)", "s"): name}
    return found


def one_of(names: Iterable[str]) -> str:
    """A pattern for any of these; of two that begin alike the longer is tried first."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
