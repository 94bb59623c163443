"""`seal report` of a continual run: its matrix in place of rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seal_cli.exit_codes import DONE
from seal_cli.terminal.console import note, width_of
from seal_cli.terminal.tables import Format
from stages.errors import BadInput

if TYPE_CHECKING:
    from stages.reporting.matrix import Matrix


def read_runs(named: Sequence[tuple[str, Path]], *, any_lines: bool) -> "list[tuple[str, Matrix]]":
    """Read the official summaries of continual runs; of `any_lines` our own steps. Empty if all files are others.

    Raises BadInput for a mixture.
    """
    from seal_cli.runs.stdio import input_records
    from stages.reporting.matrix import read_steps, read_summary

    found = [(str(path), read_summary(path)) for _, path in named]
    runs = [(name, run) for name, run in found if run]
    if any_lines and not runs:
        return [run for _, path in named for run in read_steps(input_records(path, ("score",)), str(path))]
    if runs and len(runs) < len(found):
        other = next(name for name, run in found if run is None)
        raise BadInput(
            f"{runs[0][0]} is a summary of a continual run, {other} is none; give them to commands of their own"
        )
    return runs


def report_matrix(
    runs: "Sequence[tuple[str, Matrix]]", stdout: int, *, form: Format, expect: str | None, picture: Path | None
) -> int:
    """Print and draw the mean of continual runs."""
    from seal_cli.runs.stdio import write_stdout
    from seal_cli.terminal.paper_tables import format_comparisons, format_matrix
    from stages.reporting.matrix import average_runs, draw_matrix
    from stages.reporting.published import compare_matrix

    matrix, width = average_runs(runs), width_of(stdout)
    if expect:
        text = format_comparisons(compare_matrix(expect, matrix), form, width)
    else:
        text = format_matrix(matrix, form, width)
    write_stdout(stdout, text.encode())
    if picture:
        draw_matrix(matrix, picture)
        note(f"seal report: matrix in {picture}")
    return DONE
