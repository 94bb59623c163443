"""The flags that say which lines a run reads, and where its own go."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from annotated_types import Ge

from seal_cli.flags.options import LINES_PANEL, AllowEmpty
from stages.settings import Doc


@dataclass(frozen=True)
class InputFlags:
    """The lines to read, and the place of those that cannot be used."""

    panel: ClassVar[str] = LINES_PANEL
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="JSON lines; - or nothing reads stdin.", show_default=False)
    ] = None
    limit: Annotated[int | None, Ge(1), Doc("Stop after N input lines.", "N")] = None
    shard: Annotated[str | None, Doc("Work on part I of N; a task falls to a part by its id.", "I/N")] = None
    rejects: Annotated[Path | None, Doc("Write bad input lines here, with the reason.", "FILE")] = None
    strict: Annotated[bool, Doc("Stop at the first bad input line.")] = False
    max_rejects: Annotated[int, Ge(0), Doc("Bad input lines after which to stop.", "N")] = 100
    allow_empty: AllowEmpty = False

    @property
    def selection(self) -> dict[str, Any]:
        """The part of all lines that is read, as a run's settings say it."""
        return {"limit": self.limit, "shard": self.shard}


@dataclass(frozen=True)
class RunFlags:
    """The places of a run's lines: its output, and the journal from which it goes on."""

    panel: ClassVar[str] = LINES_PANEL
    output: Annotated[
        Path | None, Doc("Write here, complete or not at all, instead of to stdout.", "FILE", "--output -o")
    ] = None
    overwrite: Annotated[
        bool, Doc("Replace the output if it exists, and what an interrupted run with other settings left.")
    ] = False
    journal: Annotated[
        Path | None,
        Doc("In a pipe: keep finished lines here too. The same command again passes them on and goes on.", "DIR"),
    ] = None
    dry_run: Annotated[bool, Doc("Check the input and the model, say what would be done, stop.")] = False

    def __post_init__(self) -> None:
        if str(self.output) == "-":  # stdout, as it is stdin of an input
            object.__setattr__(self, "output", None)
