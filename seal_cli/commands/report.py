"""`seal report` and `seal schema`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seal_cli import options as opt

if TYPE_CHECKING:
    from stages.records import Section
    from stages.report import Row


def report(
    files: Annotated[
        list[str], typer.Argument(metavar="[LABEL=]FILE …", help="Score files. The same label again: another run.")
    ],
    against: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Compare every row with this one, paired by task.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the rows (PNG, PDF or SVG).")] = None,
    arc: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the grids of ARC lines (PNG, PDF or SVG).")
    ] = None,
    view: Annotated[bool, typer.Option("--view", help="Show the grids and votes of ARC lines on stderr.")] = False,
    task: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only lines of this task in --arc and --view (repeat it).")
    ] = None,
    json_rows: Annotated[
        bool, typer.Option("--json", help="Also write the rows to stdout, one JSON line each.")
    ] = False,
    allow_empty: opt.AllowEmpty = False,
    seed: opt.Seed = 0,
) -> int:
    """Tabulate score files on stderr: means with 95 % intervals over tasks, and paired comparisons.

    Means are over scored answers. Where some are unscored, the table also says how many, and between what the mean
    would lie with all of them wrong and all of them right. A label that comes several times is one row of repeated
    runs, with the standard error of their mean.

    --arc and --view show ARC lines as grids: demonstrations, tests, attempts and solutions. They take lines of any
    stage; there is a table where all lines have a score.

    \b
    Examples:
      seal report scores.jsonl
      seal report none=none.jsonl self=edits.jsonl "round 1"=r1.jsonl --against self --plot ladder.png
      seal report arc-scores.jsonl --arc grids.png --task 0a1d4ef5 --task 00576224
      head -1 arc-scores.jsonl | seal report - --view
    """
    from seal_cli.console import note
    from seal_cli.grids import Picks
    from seal_cli.jsonl import claim_stdout, input_records
    from stages import report as stage

    stdout = claim_stdout()
    picks = Picks(arc, view, tuple(task or ()), labelled=len(files) > 1)
    for flag, path in (("--plot", plot), ("--arc", arc)):
        if path:
            stage.check_plot(path, flag)
    needs: tuple[Section, ...] = () if picks.wanted and not (against or plot or json_rows) else ("score",)
    named = split_labels(files)
    read = ((label, picks.passing(label, input_records(path, needs))) for label, path in named)
    rows = stage.run(read, against=against, seed=seed, allow_empty=allow_empty)
    for label in dict.fromkeys(label for label, _ in named if label not in {row.label for row in rows}):
        note(f"seal report: {label}: no lines in it; left out")
    picks.check()
    if rows and not picks.unscored:
        show(rows, against)
    picks.show()
    if plot and rows:
        stage.plot(rows, plot)
        note(f"seal report: plot in {plot}")
    if json_rows:
        write(rows, stdout)
    return 3 if any(row.unscored for row in rows) and not picks.unscored else 0


def write(rows: "list[Row]", stdout: int) -> None:
    """The rows as JSON lines."""
    import json
    from dataclasses import asdict

    from seal_cli.jsonl import to_stdout

    for row in rows:
        to_stdout(stdout, (json.dumps(asdict(row), ensure_ascii=False) + "\n").encode())


def split_labels(texts: list[str]) -> list[tuple[str, Path]]:
    """(label, path) of `LABEL=FILE`, or of `FILE`: its name without the ending, its path where names are the same."""
    named = [("", "", text) if Path(text).is_file() else text.rpartition("=") for text in texts]
    stems = [Path(path).stem for _, equals, path in named if not equals]
    return [
        (label if equals else Path(path).stem if stems.count(Path(path).stem) == 1 else path, Path(path))
        for label, equals, path in named
    ]


def show(rows: "list[Row]", against: str | None) -> None:
    """The table on stderr: only columns that some row fills."""
    from seal_cli.console import note, table

    columns = ["row", "tasks", "answers", "mean %", "95 % interval", "by question %"]
    repeated = any(row.runs > 1 for row in rows)
    columns += ["runs", "± s.e."] if repeated else []
    columns += ["unscored", "mean if wrong … right"] if any(row.unscored for row in rows) else []
    columns += [f"gain on {against}", "95 % interval", "p"] if against else []
    table(columns, [cells(row, columns, repeated, against is not None) for row in rows])
    for row in rows:
        if row.mean is None:
            note(f"seal report: {row.label}: no answer is scored; grade them with `seal judge FILE -j NAME`")


def cells(row: "Row", columns: list[str], repeated: bool, compared: bool) -> list[str]:
    found = [row.label, str(row.tasks), str(row.answers), percent(row.mean), span(row.low, row.high)]
    found.append(percent(row.by_question))
    found += [str(row.runs), percent(row.run_error)] if repeated else []
    found += [str(row.unscored), span(row.least, row.most)] if "unscored" in columns else []
    gain = "" if row.gain is None else f"{100 * row.gain:+.1f}"
    p_value = "" if row.p_value is None else f"{row.p_value:.4f}"
    return found + ([gain, span(row.gain_low, row.gain_high, "+"), p_value] if compared else [])


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def span(low: float | None, high: float | None, sign: str = "") -> str:
    """Two bounds in per cent; `sign` "+" shows the sign of both."""
    return "" if low is None or high is None else f"{100 * low:{sign}.1f} … {100 * high:{sign}.1f}"


def schema(
    line: Annotated[
        str | None, typer.Argument(help="record, sft, checkpoint or training_data; all if left out.")
    ] = None,
) -> int:
    """Print the JSON Schema of the lines that stages read and write.

    \b
    Examples:
      seal schema record > record.schema.json
      seal schema | jq 'keys'
    """
    import json

    from seal_cli.jsonl import claim_stdout, to_stdout
    from stages.failures import BadConfig
    from stages.records import schemas

    known = schemas()
    if line is not None and line not in known:
        raise BadConfig(f"schema {line}: unknown; take one of {', '.join(known)}")
    found = known if line is None else known[line]
    to_stdout(claim_stdout(), (json.dumps(found, indent=1) + "\n").encode())
    return 0
