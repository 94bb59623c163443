"""What a stage is to make, line by line, known before any work is done: so that a run can go on where another ended."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from stages.records.adapter_paths import are_same_line
from stages.records.record import Record, Section


def _whole(line: Record) -> bool:
    """For stages whose lines name no files."""
    return True


@dataclass(frozen=True)
class Plan:
    """The lines to be made, in order. A line's key comes from its content: another order or a shard changes none.

    `wanted` says for each key what its line will be without the section that the stage adds; `intact` whether what a
    finished line names is still there. `optional`: whoever makes the lines may leave some out.
    `unit_of`: keys of one unit are worked on together; None: each may be alone.
    """

    section: Section
    wanted: Mapping[str, Record]
    key_of: Callable[[Record], str]
    intact: Callable[[Record], bool] = _whole
    optional: bool = False
    unit_of: Callable[[str], str] | None = None

    def has(self, line: Record) -> bool:
        """Whether a finished line is one of these, made from the same input."""
        wanted = self.wanted.get(self.key_of(line))
        return wanted is not None and are_same_line(wanted, line.grow(**{self.section: None}))

    def without(self, keys: Collection[str]) -> "Plan":
        """The same without these lines."""
        return replace(self, wanted={key: line for key, line in self.wanted.items() if key not in keys})
