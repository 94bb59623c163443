"""The texts of self-edits, kept in a temporary file until it is known which of them are chosen, and their lines."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.files import add_filename
from stages.records.jsonl import encode_line
from stages.records.parser import parse_record
from stages.records.record import Record, SelfEdit
from stages.records.schema import FilterLine, PreferencePair, SftExample
from stages.records.thoughts import get_learnable_text
from stages.scoring.candidates import Candidate
from stages.sources.training_pairs import LEARNED

NOTHING = -1  # the place of a text that says nothing


@dataclass(frozen=True)
class Choice:
    """What is learned of a context: a self-edit by itself, against another, or by a weight."""

    edit: Candidate
    rejected: Candidate | None = None
    advantage: float | None = None


class EditTexts:
    """Prompts and completions of self-edits in a temporary file, each found by its place there.

    `whole`: their edit lines instead, as `seal generate` wrote them.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.whole, self.end = whole, 0

    def add(self, record: Record, edit: SelfEdit) -> int:
        """Store one and return its place, or NOTHING. Raises OSError if the disk is full."""
        said = get_learnable_text(edit.completion)
        if not said.strip():
            return NOTHING
        line = encode_line(record.grow(adapter=None, score=None)) if self.whole else _encode_pair(edit, said)
        place, self.end = self.end, self.end + len(line)
        with _named_folder():
            self.file.write(line)
        return place

    def line(self, choice: Choice) -> FilterLine:
        """Return the line of a choice, with its texts."""
        kept, other = choice.edit, choice.rejected
        if self.whole:
            return parse_record(self._read(kept))
        told: dict[str, Any] = {**self._read(kept), "task_id": kept.task_id, "meta": kept.meta}
        if other is not None:
            told |= {"chosen": told.pop("completion"), "rejected": self._read(other)["completion"]}
            told |= {"chosen_id": kept.edit_id, "rejected_id": other.edit_id}
            return PreferencePair(**told, values=(float(kept.accuracy), float(other.accuracy)))
        told |= {"edit_id": kept.edit_id, "value": float(kept.accuracy), "advantage": choice.advantage}
        return SftExample(**told, baseline=None if kept.baseline is None else float(kept.baseline))

    def _read(self, candidate: Candidate) -> dict[str, Any]:
        """Return what was stored of a candidate."""
        with _named_folder():
            self.file.seek(candidate.kept)
            stored: dict[str, Any] = json.loads(self.file.readline())
        return stored


def _encode_pair(edit: SelfEdit, said: str) -> bytes:
    """Return prompt and completion as a line."""
    pair: dict[str, object] = {"prompt": edit.prompt, "completion": said}
    if not isinstance(edit.prompt, str):  # trl takes messages behind messages alone
        turn = {"role": LEARNED, "content": said}
        pair = {"prompt": [vars(message) for message in edit.prompt], "completion": [turn]}
    return json.dumps(pair).encode() + b"\n"


@contextmanager
def _named_folder() -> Iterator[None]:
    """Name the folder in an error of the temporary file: the file itself has no name."""
    try:
        yield
    except OSError as error:
        raise add_filename(error, Path(tempfile.gettempdir())) from None
