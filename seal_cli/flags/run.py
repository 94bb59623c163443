"""The flags that say which lines a run reads, and where its own go."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from seal_cli.flags.options import LINES_PANEL, AllowEmpty
from seal_cli.runs.rejects import Rejects


@dataclass(frozen=True)
class InputFlags:
    """Which lines are read, and what becomes of those that cannot be used."""

    panel: ClassVar[str] = LINES_PANEL
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="JSON lines; - or nothing reads stdin.", show_default=False)
    ] = None
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N input lines.")] = None
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Work on part I of N; a task falls to a part by its id.")
    ] = None
    rejects: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write bad input lines here, with the reason.")
    ] = None
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad input line.")] = False
    max_rejects: Annotated[int, typer.Option(metavar="N", min=0, help="Bad input lines after which to stop.")] = 100
    allow_empty: AllowEmpty = False

    @property
    def selection(self) -> dict[str, Any]:
        """Which lines of all are read, as a run's settings say it."""
        return {"limit": self.limit, "shard": self.shard}

    def open_rejects(self, *others: Path | None) -> Rejects:
        """Where bad lines go. `others`: the files that the run reads and writes, none of which may be theirs."""
        return Rejects(self.rejects, strict=self.strict, most=self.max_rejects, others=(self.file, *others))


@dataclass(frozen=True)
class RunFlags:
    """Where a run's lines go, and how it goes on where it was interrupted."""

    panel: ClassVar[str] = LINES_PANEL
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write here, complete or not at all, instead of to stdout."
        ),
    ] = None
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the output if it exists, and what an interrupted run with other settings left.",
        ),
    ] = False
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="In a pipe: keep finished lines here too. The same command again passes them on and goes on.",
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the input and the model, say what would be done, stop.")
    ] = False
