"""`seal rollback`"""

import json
from pathlib import Path
from typing import Annotated

import typer

from seal_cli.terminal.console import note
from stages.settings import Doc


def roll_back(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, with its link `current`.")],
    to: Annotated[str | None, Doc("The adapter's id of another released version.", "ID")] = None,
    list_all: Annotated[bool, Doc("Change nothing; write the released versions to stdout.", flag="--list")] = False,
) -> int:
    """Point RUN/current to the adapter that was in use before it, or to another one that was released.

    RUN/versions.jsonl is the history of that link: every release, and every rollback. A version
    that was given up is not gone back to unless --to asks for it. Refused is one whose adapter is gone or was changed.
    On stdout is the path of the adapter that is in use now; with --list a JSON line for each version.

    \b
    Examples:
      seal rollback runs/mine
      seal rollback runs/mine --to 0123456789abcdef
      seal rollback runs/mine --list | jq -r 'select(.fault == null).id'
    """
    from seal_cli.exit_codes import UsageError  # late: help does without
    from seal_cli.runs.stdio import claim_stdout, write_stdout
    from stages import rollback as stage
    from stages.versions import CURRENT, locate_version

    stdout = claim_stdout()
    if list_all and to is not None:
        raise UsageError(f"--list changes nothing, and --to {to} would: one of the two")
    if list_all:
        for each in stage.list_versions(run):
            about = each.version.model_dump(exclude={"adapter"})
            line = {**each.version.adapter.model_dump(), **about, "current": each.current, "fault": each.fault}
            write_stdout(stdout, f"{json.dumps(line, ensure_ascii=False)}\n".encode("utf-8", "replace"))
        return 0
    done = stage.run(run, to)
    now, before = done.now, done.before
    write_stdout(stdout, f"{locate_version(run, now)}\n".encode("utf-8", "surrogateescape"))
    was = f"was {before.adapter.id}" if before else "as it was"
    note(f"seal rollback: {run / CURRENT} is {now.adapter.id} ({now.adapter.path}; {now.gate}), {was}")
    return 0
