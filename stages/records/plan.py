"""The lines a stage will write, computed up front so that an interrupted run can resume."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from stages.records.adapter_paths import are_same_line
from stages.records.record import Record, Section


def _whole(line: Record) -> bool:
    """For stages whose lines name no files."""
    return True


@dataclass(frozen=True)
class Plan:
    """The lines a stage will write, computed up front so that an interrupted run can resume.

    A line's key comes from its content: another order or a shard changes none. `wanted` has each key's line without
    the section that the stage adds. `still_valid` says whether a finished line need not be made again: what it names
    is there, and nothing on it is lacking. `optional`: some lines may be left out. `unit_of`: keys of one unit are
    worked on together; None: each may be alone.
    """

    section: Section
    wanted: Mapping[str, Record]
    key_of: Callable[[Record], str]
    still_valid: Callable[[Record], bool] = _whole
    optional: bool = False
    unit_of: Callable[[str], str] | None = None

    def contains(self, line: Record) -> bool:
        """Tell whether a finished line is one of these, made from the same input."""
        wanted = self.wanted.get(self.key_of(line))
        return wanted is not None and are_same_line(wanted, line.grow(**{self.section: None}))

    def without(self, keys: Collection[str]) -> "Plan":
        """Return the plan without these lines."""
        return replace(self, wanted={key: line for key, line in self.wanted.items() if key not in keys})
