"""Lines that others are told of: whoever makes keys of a unit gets its lines, and the latest line of a kin."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any


class KinLines:
    """The lines, encoded, of each kin or unit that has more to come: of a kin (`one_is_enough`) the latest alone."""

    def __init__(self, kin_of: Callable[[str], str], *, one_is_enough: bool) -> None:
        self.kin_of, self.one_is_enough = kin_of, one_is_enough
        self.lines: dict[str, list[Any]] = {}  # by their kin
        self.missing = Counter[str]()  # how many of each kin are to come

    def expect(self, keys: Collection[str], finished: Iterable[tuple[str, Callable[[], Any]]]) -> None:
        """Note which lines are to come, and keep the `finished` ones of the same kin: (key, what encodes the line)."""
        self.missing = Counter(map(self.kin_of, keys))
        for key, encode in finished:
            if self.missing[name := self.kin_of(key)]:
                self._keep(name, encode())

    def add(self, key: str, line: Any) -> None:
        """Keep a line for those who make others of its kin, as long as there are others to make."""
        name = self.kin_of(key)
        self.missing[name] -= 1
        if self.missing[name] > 0:
            self._keep(name, line)
        else:
            del self.missing[name]
            self.lines.pop(name, None)

    def list_for(self, keys: Iterable[str]) -> list[Any]:
        """Return the lines of whoever makes these keys."""
        names = dict.fromkeys(map(self.kin_of, keys)) if self.lines else ()
        return [line for name in names for line in self.lines.get(name, ())]

    def _keep(self, name: str, line: Any) -> None:
        lines = self.lines.setdefault(name, [])
        if self.one_is_enough:
            lines.clear()  # the latest may have what the judge left unscored in those before
        lines.append(line)
