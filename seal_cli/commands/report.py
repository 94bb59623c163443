"""`seal report` and `seal schema`"""

import json
import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seal_cli.flags import options as opt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seal_cli.runs.rejects import Rejects
    from seal_cli.terminal.arc_view import Picks
    from stages.records.record import Record, Section
    from stages.report import Row


_KINDS = ("adapter", "edit", "task")  # what a line is about: the last section that it has


class Format(StrEnum):
    table = "table"
    md = "md"
    csv = "csv"
    jsonl = "jsonl"


def report(
    files: Annotated[
        list[str], typer.Argument(metavar="[LABEL=]FILE …", help="Score files. The same label again: another run.")
    ],
    against: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Compare every row with this one, paired by task.")
    ] = None,
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="A table for people or in Markdown; CSV or JSON lines with every field, not rounded."
        ),
    ] = Format.table,
    json_rows: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the rows (PNG, PDF or SVG).")] = None,
    arc: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the grids of ARC lines (PNG, PDF or SVG).")
    ] = None,
    view: Annotated[
        bool,
        typer.Option("--view", help="Also show lines: passage, self-edit, training data, answers; of ARC the grids."),
    ] = False,
    task: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only lines of this task in --arc and --view (repeat it).")
    ] = None,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    max_rejects: opt.MaxRejects = opt.MOST_REJECTS,
    allow_empty: opt.AllowEmpty = False,
    seed: opt.Seed = 0,
) -> int:
    """Tabulate score files: means with 95 % intervals over tasks, and paired comparisons.

    Means are over scored answers. Where some are unscored, the table also says how many, and between what the mean
    would lie with all of them wrong and all of them right. A label that comes several times is one row of repeated
    runs, with the standard error of their mean. A table that is too wide for the terminal is stacked.

    --view shows what is on a line, --arc draws ARC lines as grids: demonstrations, tests, attempts and solutions. Both
    take lines of any stage; there is a table where all lines have a score.

    \b
    Examples:
      seal report scores.jsonl
      seal report none=none.jsonl self=edits.jsonl "round 1"=r1.jsonl --against self --plot ladder.png
      seal report scores.jsonl --format csv > rows.csv
      head -1 scores.jsonl | seal report - --view
      seal report arc-scores.jsonl --arc grids.png --task 0a1d4ef5 --task 00576224
    """
    from seal_cli.runs.rejects import Rejects
    from seal_cli.runs.stdio import claim_stdout
    from seal_cli.terminal.arc_view import Picks
    from seal_cli.terminal.console import note
    from stages import report as stage

    stdout = claim_stdout()
    chosen = Format.jsonl if json_rows else form
    picks = Picks(arc, view, tuple(task or ()), labelled=len(files) > 1)
    _check_view(picks, chosen)
    for flag, path in (("--plot", plot), ("--arc", arc)):
        if path:
            stage.check_plot(path, flag)
    named = _split_labels(files)
    _tell_repeated(named)
    needs: tuple[Section, ...] = () if picks.wanted and not (against or plot or json_rows) else ("score",)
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=[path for _, path in named])
    read = ((label, picks.passing(label, _good_lines(path, needs, bad))) for label, path in named)
    try:
        rows = stage.run(read, against=against, seed=seed, allow_empty=allow_empty)
    except BaseException:
        bad.close(ended_well=False)
        raise
    bad.close()
    for label in dict.fromkeys(label for label, _ in named if label not in {row.label for row in rows}):
        note(f"seal report: {label}: no lines in it; left out")
    picks.check()
    if rows and not picks.unscored:
        _write(rows, against, chosen, stdout)
    _show(picks, stdout)
    if plot and rows:
        stage.plot(rows, plot)
        note(f"seal report: plot in {plot}")
    return 3 if bad.count or (any(row.unscored for row in rows) and not picks.unscored) else 0


def _good_lines(path: Path, needs: "tuple[Section, ...]", bad: "Rejects") -> "Iterator[Record]":
    """The lines of one file that can be used, each once. Raises BadInput for the first bad one where none is good."""
    from seal_cli.runs.stdio import encode, input_records
    from stages.records.jsonl import BadLine, Reject
    from stages.sources.distinct import UniqueLines

    before, good, distinct = bad.count, 0, UniqueLines()
    records = input_records(path, needs, bad)
    for record in records:
        kind, known = next((name, part.id) for name in _KINDS if (part := getattr(record, name)))
        try:
            distinct.add(record.task, (record.task.id, known), f"{kind} {known} occurs twice")
        except BadLine as error:
            bad(Reject(records.name, *records.place, str(error), encode(record).rstrip(b"\n")))
            continue
        good += 1
        yield record
    if bad.count > before:
        bad.check(good)


def _check_view(picks: "Picks", form: Format) -> None:
    """Raises BadConfig where lines for people would come between rows for programs."""
    from stages.errors import BadConfig

    if picks.view and form in (Format.csv, Format.jsonl):
        raise BadConfig(f"--view shows lines to people, --format {form.value} is for programs; leave one of them out")


def _tell_repeated(named: "list[tuple[str, Path]]") -> None:
    """Says which file is given twice. Raises BadConfig for one that would count as two runs of one row."""
    from seal_cli.terminal.console import say
    from stages.errors import BadConfig

    labels: dict[Path, list[str]] = {}
    for label, path in named:
        labels.setdefault(path.resolve(), []).append(label)
    for path, own in labels.items():
        if len(set(own)) < len(own):
            raise BadConfig(f"{path.name}: given twice as {own[0]!r}: a file is not two runs; leave one out")
        if len(own) > 1:
            say(f"seal report: note: {' and '.join(own)} are the same file, {path.name}")


def _write(rows: "list[Row]", against: str | None, form: Format, stdout: int) -> None:
    """The rows on stdout: for people only columns that some row fills, for programs every field, not rounded."""
    from seal_cli.runs.stdio import to_stdout
    from seal_cli.terminal.console import note, width_of
    from seal_cli.terminal.tables import as_csv, as_markdown, as_text

    if form is Format.jsonl:
        told = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    elif form is Format.csv:
        told = as_csv(list(asdict(rows[0])), [list(asdict(row).values()) for row in rows])
    else:
        columns = _column_names(rows, against)
        told_cells = [_cells(row, columns) for row in rows]
        table = form is Format.table
        told = as_text(columns, told_cells, width_of(stdout)) if table else as_markdown(columns, told_cells)
    to_stdout(stdout, told.encode("utf-8", "replace"))
    for row in rows:
        if row.mean is None:
            note(f"seal report: {row.label}: no answer is scored; grade them with `seal judge FILE -j NAME`")


def _show(picks: "Picks", stdout: int) -> None:
    """The chosen lines on stdout, in the colours of its terminal, and the picture."""
    from seal_cli.runs.stdio import to_stdout
    from seal_cli.terminal.console import terminal

    with os.fdopen(os.dup(stdout), "w") as out:
        console = terminal(out)
        with console.capture() as shown:  # rich itself would end the process at a closed pipe
            picks.show(console)
    to_stdout(stdout, shown.get().encode("utf-8", "replace"))


def _split_labels(texts: list[str]) -> list[tuple[str, Path]]:
    """(label, path) of `LABEL=FILE`, or of `FILE`: its name without the ending, its path where names are the same."""
    named = [("", "", text) if Path(text).is_file() else text.rpartition("=") for text in texts]
    stems = [Path(path).stem for _, equals, path in named if not equals]
    return [
        (label if equals else Path(path).stem if stems.count(Path(path).stem) == 1 else path, Path(path))
        for label, equals, path in named
    ]


def _column_names(rows: "list[Row]", against: str | None) -> list[str]:
    columns = ["row", "tasks", "answers", "mean %", "95 % interval", "by question %"]
    columns += ["runs", "± s.e."] if any(row.runs > 1 for row in rows) else []
    columns += ["unscored", "mean if wrong … right"] if any(row.unscored for row in rows) else []
    return columns + ([f"gain on {against}", "its 95 % interval", "p"] if against else [])


def _cells(row: "Row", columns: list[str]) -> list[str]:
    """The row under these columns."""
    found = [row.label, str(row.tasks), str(row.answers), _percent(row.mean), _span(row.low, row.high)]
    found.append(_percent(row.by_question))
    found += [str(row.runs), _percent(row.run_error)] if "runs" in columns else []
    found += [str(row.unscored), _span(row.least, row.most)] if "unscored" in columns else []
    gain = "" if row.gain is None else f"{100 * row.gain:+.1f}"
    p_value = "" if row.p_value is None else f"{row.p_value:.4f}"
    return found + ([gain, _span(row.gain_low, row.gain_high, "+"), p_value] if columns[-1] == "p" else [])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _span(low: float | None, high: float | None, sign: str = "") -> str:
    """Two bounds in per cent; `sign` "+" shows the sign of both."""
    return "" if low is None or high is None else f"{100 * low:{sign}.1f} … {100 * high:{sign}.1f}"


def schema(
    line: Annotated[
        str | None, typer.Argument(help="record, sft, checkpoint, training_data or arc_training_data; all if left out.")
    ] = None,
) -> int:
    """Print the JSON Schema of the lines that stages read and write.

    \b
    Examples:
      seal schema record > record.schema.json
      seal schema | jq 'keys'
    """
    from seal_cli.runs.stdio import claim_stdout, to_stdout
    from stages.errors import BadConfig
    from stages.records.record import get_schemas

    known = get_schemas()
    if line is not None and line not in known:
        raise BadConfig(f"schema {line}: unknown; take one of {', '.join(known)}")
    found = known if line is None else known[line]
    to_stdout(claim_stdout(), (json.dumps(found, indent=1) + "\n").encode())
    return 0
