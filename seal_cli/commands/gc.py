"""`seal gc`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from seal_cli.terminal.console import note
from stages.settings import Doc


def collect_waste(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run: its lines and its adapters.")],
    remove: Annotated[bool, Doc("Remove them, too.")] = False,
) -> int:
    """List the adapters of a run that no line names, and what killed runs left behind; --remove removes them.

    One path a line on stdout. Lines are those of every .jsonl file under RUN, of unfinished ones and journals, too;
    what only lines elsewhere name is listed. Nothing else than what `seal adapt` and `seal sft` write is touched,
    nothing behind a link, and nothing while a run writes there (exit code 75).

    \b
    Examples:
      seal gc runs/mine
      seal gc runs/mine --remove
      seal gc runs/mine | xargs du -sh
    """
    from seal_cli.runs.stdio import claim_stdout, write_stdout  # late: help does without
    from stages import gc as stage
    from stages.files import format_megabytes

    stdout, started, waste = claim_stdout(), time.monotonic(), []
    for each in stage.run(run, remove=remove):
        waste.append(each)
        write_stdout(stdout, f"{each.path}\n".encode("utf-8", "surrogateescape"))
    adapters = sum(each.finished for each in waste)
    done = "removed" if remove else "nothing removed: give --remove" if waste else "nothing to remove"
    proofs = sum(each.proof for each in waste)
    left = f"{adapters} adapters that no line names, {len(waste) - adapters - proofs} unfinished directories"
    left += f", {proofs} files of killed cluster runs" if proofs else ""
    size = format_megabytes(sum(each.size for each in waste))
    note(f"seal gc: {left}, {size}; {done}, {time.monotonic() - started:.1f} s")
    return 0
