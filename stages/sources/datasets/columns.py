"""Columns of rows: those a task needs, and the user's own names for them."""

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from stages.errors import BadConfig, BadInput, BadLine, one_line
from stages.sources.golds import GOLDS
from stages.sources.squad import NESTED

_COLUMNS = ("id", "title", "context", "question", "answer", "answers", "questions", "train", "test")
_SAME = frozenset({"answer", "answers"})  # of which one is read


class MissingColumns(BadInput):
    """A table that lacks the columns of a task."""


class Columns:
    """The user's own names of columns by those of the layout, as {"question": "q"}.

    Raises BadConfig for a name that the layout does not have.
    """

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self.names = dict(names or {})
        self.used = False  # whether there was anything with columns
        self.hidden = frozenset(_SAME if self.names.keys() & _SAME else ())
        for ours, theirs in self.names.items():
            if ours not in _COLUMNS:
                raise BadConfig(f"--column {ours}={theirs}: the columns of tasks are {', '.join(_COLUMNS)}")

    def rename(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row under the layout's names. Raises BadLine if it lacks one of the user's own."""
        self.used = True
        if missing := self._missing(row):
            raise BadLine(missing)
        kept = {name: value for name, value in row.items() if name not in self.hidden}
        return kept | {ours: row[theirs] for ours, theirs in self.names.items()}

    def asks_questions(self, found: Collection[str], place: str) -> bool:
        """Return whether a table with these columns asks questions.

        Raises BadInput where it lacks one of the user's own columns, MissingColumns where no tasks can be made of it.
        """
        self.used = True
        if missing := self._missing(found):
            raise BadInput(f"{place}: {missing}")
        here = set(found) - self.hidden | self.names.keys()
        if here >= {"train", "test"}:  # ARC
            return True
        nested, golds = here & {*NESTED, "paragraphs"}, here.intersection(GOLDS)
        asks = "question" in here or bool(nested)
        wants = [] if here & {"context", "paragraphs"} else [name for name in ("title", "context") if name not in here]
        wants += ["question"] if not asks and (wants or golds) else []
        wants += ["answers"] if not nested and not golds and (asks or wants) else []
        if wants and "task" not in here:
            way = f"--column {wants[0]}=NAME says which of them that is"
            raise MissingColumns(f"{place}: no column {', '.join(wants)}; it has {_name_some(found)}; {way}")
        return asks or "task" in here

    def check_use(self, source: str) -> None:
        """Call after reading: raises BadConfig if no source had columns."""
        if self.names and not self.used:
            ours, theirs = next(iter(self.names.items()))
            raise BadConfig(
                f"--column {ours}={theirs}: only for rows, as in .csv, .parquet or .jsonl; {source} has none"
            )

    def _missing(self, found: Collection[str]) -> str | None:
        for ours, theirs in self.names.items():
            if theirs not in found:
                return f"--column {ours}={theirs}: no column {theirs}; it has {_name_some(found)}"
        return None


def _name_some(names: Collection[str]) -> str:
    """Names for a message: not too many, none too long."""
    told = [one_line(str(name)[:40]) for name in islice(names, 9)]
    return ", ".join([*told, *([f"{len(names) - 9} more"] if len(names) > 9 else [])]) or "nothing"
