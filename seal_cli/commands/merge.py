"""`seal merge`"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seal_cli.flags import options as opt
from seal_cli.flags.expand import Without
from seal_cli.flags.run import RunFlags
from stages.errors import BadInput, MissingInput
from stages.settings import Doc

if TYPE_CHECKING:
    from stages.merge import Shard
    from stages.records.record import Record
    from stages.records.schema import FilterLine


def merge(
    run: Annotated[RunFlags, Without("journal", "dry_run")],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE …", help="The outputs of --shard 1/N … N/N, in any order.")
    ],
    missing: Annotated[
        bool, Doc("Only print the numbers of the shards that are not there, as 3,5-7, to stdout.")
    ] = False,
    allow_empty: opt.AllowEmpty = False,
) -> int:
    """Put the shards of a run together. shards → the lines of the whole.

    The manifest beside each file (write shards with -o) says which shard it is and how it was made. Refused are gaps,
    a shard or line that is there twice, shards of different runs, and files that changed since they were written.

    \b
    Examples:
      seal adapt edits.jsonl --shard 3/8 -o adapters-3.jsonl
      seal merge adapters-*.jsonl -o adapters.jsonl
      sbatch --array=$(seal merge adapters-*.jsonl --missing) job.sh
    """
    from seal_cli.runs.input import encode_portably  # late, as all that a run needs: help does without
    from seal_cli.runs.journal import check_place
    from seal_cli.runs.run import Run
    from seal_cli.runs.stdio import claim_stdout, write_stdout
    from stages import merge as stage

    shards = [_read_shard(path) for path in files]
    if missing:
        stage.check(shards)
        absent = stage.list_missing(shards)
        write_stdout(claim_stdout(), f"{stage.format_array(absent)}\n".encode() if absent else b"")
        return 0
    check_place(run.output, files)
    with Run("merge", output=run.output, overwrite=run.overwrite) as current:
        allowed = allow_empty or any(_count_in(path, "read") for path in files)  # filter may have kept nothing of them
        total = sum(1 for _ in stage.run(shards))  # what is wrong is said before a line is out
        how: dict[str, Any] = {"allow_empty": allowed, "name": f"{len(shards)} shards", "encode": encode_portably}
        lines = current.input.stream(stage.run(shards), bool, **how)
        current.configure({"of": stage.merge_settings(shards), "shards": len(shards)})
        current.write(lines, total=total)
        current.counts.rejected += sum(_count_in(path, "rejected") for path in files)
    return current.code


def _read_shard(path: Path) -> "Shard":
    """Read a shard and its manifest. Raises BadInput for a file that is not finished, or not as it was written."""
    from seal_cli.runs.manifest import is_whole, read_manifest
    from stages.merge import Shard

    if path.is_dir():
        raise BadInput(f"{path}: a folder; give the files that the shards wrote")
    if not path.is_file():
        part = path.with_name(f"{path.name}.part")
        left = f"it is not finished ({part} is there: run its command again)" if part.exists() else "no such file"
        raise MissingInput(f"{path}: {left}")
    made = read_manifest(path)
    settings = made.get("settings")
    if not isinstance(settings, dict):
        raise BadInput(f"{path}: has no manifest beside it, which tells its shard (write shards with -o)")
    if not is_whole(path, made):
        raise BadInput(f"{path}: was changed since it was written; run its command again")
    return Shard(str(path), settings, _ShardLines(path, settings.get("stage") == "filter"), made.get("whole"))


@dataclass(frozen=True)
class _ShardLines:
    """The lines of a shard, or of one of `seal filter`. Each who goes through them reads the file anew."""

    path: Path
    filtered: bool

    def __iter__(self) -> "Iterator[Record | FilterLine]":
        from seal_cli.runs.stdio import input_examples, input_records, with_places

        if self.filtered:
            return iter(input_examples(self.path))
        return with_places(input_records(self.path), self.path)


def _count_in(path: Path, what: str) -> int:
    """Return how many input lines the shard's run has read, or rejected, as its manifest says."""
    from seal_cli.runs.manifest import read_manifest

    found = read_manifest(path).get("counts", {}).get(what, 0)
    return found if isinstance(found, int) else 0
