"""`seal report`"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from seal_cli.exit_codes import DONE, INCOMPLETE
from seal_cli.flags import options as opt
from seal_cli.flags.expand import Without
from seal_cli.flags.run import InputFlags
from seal_cli.terminal.console import note, say, terminal, width_of
from seal_cli.terminal.tables import Format, format_rows
from stages.errors import BadConfig, BadInput, BadLine
from stages.settings import Doc

if TYPE_CHECKING:
    from seal_cli.runs.rejects import Rejects
    from seal_cli.terminal.line_view import Picks
    from stages.records.record import Record
    from stages.reporting.matrix import Matrix
    from stages.reporting.page import PageLines
    from stages.reporting.published import QuestionCounts
    from stages.reporting.rows import ReportRow

_KINDS = ("adapter", "edit", "task")  # what a line is about: the last section that it has


@dataclass(frozen=True)
class ReportFlags:
    """The files to compare, and the ways to show them."""

    panel: ClassVar[str] = opt.OWN_PANEL
    files: Annotated[
        tuple[str, ...],
        typer.Argument(metavar="[LABEL=]FILE …", help="Score files. The same label again: another run."),
    ]
    against: Annotated[str | None, Doc("Compare every row with this one, paired by task.", "LABEL")] = None
    form: Annotated[
        Format,
        Doc("A table for people or in Markdown; CSV or JSON lines with every field, not rounded.", flag="--format"),
    ] = "table"
    json: Annotated[bool, Doc("The same as --format jsonl.")] = False
    plot: Annotated[Path | None, Doc("Draw the rows (PNG, PDF or SVG).", "FILE.png")] = None
    matrix: Annotated[
        Path | None, Doc("Draw a continual run: accuracy by step and passage (PNG, PDF or SVG).", "FILE.png")
    ] = None
    before: Annotated[
        str | None, Doc("Also a row of this name: the first file's answers without the adapter.", "LABEL")
    ] = None
    expect: Annotated[str | None, Doc("Compare with this table of the paper: labels name its rows.", "NAME")] = None
    html: Annotated[
        Path | None, Doc("Write one page to look at: rows, cost, every task down to its answers.", "FILE.html")
    ] = None
    arc: Annotated[Path | None, Doc("Draw the grids of ARC lines (PNG, PDF or SVG).", "FILE.png")] = None
    view: Annotated[bool, Doc("Also show lines: passage, self-edit, training data, answers; of ARC the grids.")] = False
    tasks: Annotated[
        tuple[str, ...], Doc("Only lines of this task in --arc and --view (repeat it).", "ID", "--task")
    ] = ()

    @property
    def format(self) -> Format:
        return "jsonl" if self.json else self.form

    @property
    def for_programs(self) -> bool:
        """True if stdout is for a program, which expects rows alone."""
        return self.format in ("csv", "jsonl")

    @property
    def needs_score(self) -> bool:
        """True if lines without a score will not do: those that are only shown need none."""
        only_shown = self.view or self.arc is not None
        more = (self.against, self.before, self.plot, self.html, self.expect, self.for_programs)
        return not only_shown or any(more)

    def check(self, labels: Sequence[str]) -> None:
        """Raise BadConfig for what cannot be done, before anything is read."""
        from stages.reporting.page import check_page
        from stages.reporting.plot import check_plot
        from stages.reporting.published import find_published

        if self.view and self.for_programs:
            raise BadConfig(
                f"--view shows lines to people, --format {self.format} is for programs; leave one of them out"
            )
        if self.expect and self.against:
            raise BadConfig("--expect compares with the paper, --against with a row of yours; leave one of them out")
        for flag, path in (("--plot", self.plot), ("--arc", self.arc), ("--matrix", self.matrix)):
            if path:
                check_plot(path, flag)
        if self.html:
            check_page(self.html)
        if self.expect:
            find_published(self.expect)
        if self.before in labels:
            raise BadConfig(f"--before {self.before}: a file has this label; give the row another name")


def report(
    lines: Annotated[InputFlags, Without("file", "limit", "shard")], flags: ReportFlags, seed: opt.Seed = 0
) -> int:
    """Tabulate score files: means with 95 % intervals over tasks, and paired comparisons.

    Means are over scored answers. Where some are unscored, the table also says how many, and between what the mean
    would lie with all of them wrong and all of them right. A label that comes several times is one row of repeated
    runs, with the standard error of their mean. A table that is too wide for the terminal is stacked.

    --view shows what is on a line, --arc draws ARC lines as grids: demonstrations, tests, attempts and solutions. Both
    take lines of any stage; there is a table where all lines have a score. --html writes all of it into one page, which
    loads nothing from elsewhere.

    --expect prints the paper's numbers beside yours. Official summaries of continual runs are told by their content:
    they are averaged, and the table is their matrix, with what is forgotten.

    \b
    Examples:
      seal report scores.jsonl
      seal report none=none.jsonl self=edits.jsonl "round 1"=r1.jsonl --against self --plot ladder.png
      seal report self=edits.jsonl "round 1"=r1.jsonl --html report.html
      seal report none=none.jsonl self=edits.jsonl round-2=r2.jsonl --expect table-2
      seal report matrix.jsonl --matrix matrix.png
      seal report run*/summary_*.json --matrix matrix.png
      seal report scores.jsonl --format csv > rows.csv
      head -1 scores.jsonl | seal report - --view
      seal report arc-scores.jsonl --arc grids.png --task 0a1d4ef5 --task 00576224
    """
    from seal_cli.runs.rejects import open_rejects  # late, as all that a run needs: help does without
    from seal_cli.runs.stdio import claim_stdout, write_stdout
    from seal_cli.terminal.line_view import Picks
    from stages import report as stage
    from stages.reporting.page import PageLines
    from stages.reporting.published import QuestionCounts, check_labels
    from stages.reporting.rows import add_baseline

    stdout, named = claim_stdout(), _split_labels(flags.files)
    picks = Picks(flags.arc, flags.view, flags.tasks, labelled=len(named) > 1)
    flags.check([label for label, _ in named])
    _note_repeated(named)
    if runs := _read_summaries(named, flags):
        return _report_matrix(runs, flags, stdout)
    if flags.expect:
        check_labels(flags.expect, [*filter(None, [flags.before]), *(label for label, _ in named)])
    page, counts = PageLines(), QuestionCounts(flags.expect or "")
    with open_rejects(lines, *(path for _, path in named)) as bad:
        good = ((label, _good_lines(path, bad, flags.needs_score)) for label, path in named)
        seen = ((label, page.watch(label, lines) if flags.html else lines) for label, lines in good)
        found = add_baseline(flags.before, ((label, picks.watch(label, lines)) for label, lines in seen))
        counted = ((label, counts.watch(label, lines) if flags.expect else lines) for label, lines in found)
        rows = stage.run(counted, against=flags.against, seed=seed, allow_empty=lines.allow_empty)
    for label in dict.fromkeys(label for label, _ in named if label not in {row.label for row in rows}):
        note(f"seal report: {label}: no lines in it; left out")
    picks.check()
    table = [] if picks.unscored else rows
    if table:
        write_stdout(stdout, _format_table(table, flags, counts, seed, width_of(stdout)).encode("utf-8", "replace"))
    for row in table:
        if row.mean is None:
            note(f"seal report: {row.label}: no answer is scored; grade them with `seal judge FILE -j NAME`")
    _show(picks, stdout)
    if rows:
        _write_files(flags, rows, page)
    return INCOMPLETE if bad.count or any(row.unscored for row in table) else DONE


def _write_files(flags: ReportFlags, rows: "Sequence[ReportRow]", page: "PageLines") -> None:
    """Draw the plot and write the page, and say where they are."""
    from stages.reporting.page import write_page
    from stages.reporting.plot import draw_plot

    if flags.plot:
        draw_plot(rows, flags.plot)
        note(f"seal report: plot in {flags.plot}")
    if flags.html:
        left_out = write_page(flags.html, rows, page, flags.against)
        note(f"seal report: page in {flags.html}{left_out and f'; {left_out}'}")


def _format_table(
    rows: "Sequence[ReportRow]", flags: ReportFlags, counts: "QuestionCounts", seed: int, width: int
) -> str:
    """The table of the rows, or of the published ones beside them."""
    from seal_cli.terminal.paper_tables import format_comparisons
    from stages.reporting.published import compare_rows

    if flags.expect is None:
        return format_rows(rows, flags.format, flags.against, width)
    return format_comparisons(compare_rows(flags.expect, rows, counts, seed), flags.format, width)


def _read_summaries(named: Sequence[tuple[str, Path]], flags: ReportFlags) -> "list[tuple[str, Matrix]]":
    """Read the official summaries of continual runs, or for --matrix our own; empty if all files are others.

    Raises BadInput for a mixture.
    """
    from seal_cli.runs.stdio import input_records
    from stages.reporting.matrix import read_steps, read_summary

    found = [(str(path), read_summary(path)) for _, path in named]
    runs = [(name, run) for name, run in found if run]
    if flags.matrix and not runs:
        return [run for _, path in named for run in read_steps(input_records(path, ("score",)), str(path))]
    if runs and len(runs) < len(found):
        other = next(name for name, run in found if run is None)
        raise BadInput(
            f"{runs[0][0]} is a summary of a continual run, {other} is none; give them to commands of their own"
        )
    return runs


def _report_matrix(runs: "Sequence[tuple[str, Matrix]]", flags: ReportFlags, stdout: int) -> int:
    """Print and draw the mean of continual runs."""
    from seal_cli.runs.stdio import write_stdout
    from seal_cli.terminal.paper_tables import format_comparisons, format_matrix
    from stages.reporting.matrix import average_runs, draw_matrix
    from stages.reporting.published import compare_matrix

    given: dict[str, object] = {
        "--against": flags.against,
        "--plot": flags.plot,
        "--html": flags.html,
        "--arc": flags.arc,
    }
    given |= {"--before": flags.before, "--view": flags.view, "--task": flags.tasks}
    if idle := next((flag for flag, value in given.items() if value), None):
        raise BadConfig(f"{idle}: a summary of a continual run has no lines to show; --matrix FILE.png draws it")
    matrix, width = average_runs(runs), width_of(stdout)
    if flags.expect:
        text = format_comparisons(compare_matrix(flags.expect, matrix), flags.format, width)
    else:
        text = format_matrix(matrix, flags.format, width)
    write_stdout(stdout, text.encode())
    if flags.matrix:
        draw_matrix(matrix, flags.matrix)
        note(f"seal report: matrix in {flags.matrix}")
    return DONE


def _good_lines(path: Path, bad: "Rejects", needs_score: bool) -> Iterator["Record"]:
    """Yield the usable lines of a file, each once. Raises BadInput for the first bad one where none is good.

    Lines without a score will do where they are only shown.
    """
    from seal_cli.runs.stdio import input_records
    from stages.records.jsonl import Reject, encode_line
    from stages.scoring.grading import get_owner_id
    from stages.sources.repeats import UniqueLines

    before, good, distinct = bad.count, 0, UniqueLines()
    records = input_records(path, ("score",) if needs_score else (), bad)
    for record in records:
        kind, known = next((name, part.id) for name in _KINDS if (part := getattr(record, name)))
        try:
            owner = get_owner_id(record) if record.adapter else known  # the lines of a pool share their adapter
            distinct.add(record.task, (record.task.id, owner), f"{kind} {known} occurs twice")
        except BadLine as error:
            bad(Reject(records.name, *records.place, str(error), encode_line(record).rstrip(b"\n")))
            continue
        good += 1
        yield record
    if bad.count > before:
        bad.check(good)


def _note_repeated(named: Sequence[tuple[str, Path]]) -> None:
    """Say which file is given twice. Raises BadConfig for one that would count as two runs of one row."""
    labels: dict[Path, list[str]] = {}
    for label, path in named:
        labels.setdefault(path.resolve(), []).append(label)
    for path, own in labels.items():
        if len(set(own)) < len(own):
            raise BadConfig(f"{path.name}: given twice as {own[0]!r}: a file is not two runs; leave one out")
        if len(own) > 1:
            say(f"seal report: note: {' and '.join(own)} are the same file, {path.name}")


def _show(picks: "Picks", stdout: int) -> None:
    """Print the chosen lines on stdout, in the colours of its terminal, and draw the picture."""
    from seal_cli.runs.stdio import write_stdout

    with os.fdopen(os.dup(stdout), "w") as out:
        console = terminal(out)
        with console.capture() as shown:  # rich itself would end the process at a closed pipe
            picks.show(console)
    write_stdout(stdout, shown.get().encode("utf-8", "replace"))


def _split_labels(texts: Sequence[str]) -> list[tuple[str, Path]]:
    """Return (label, path) of `LABEL=FILE`, or of `FILE`: its name without the ending, or its path if not unique."""
    named = [("", "", text) if Path(text).is_file() else text.rpartition("=") for text in texts]
    stems = [Path(path).stem for label, _, path in named if not label]
    return [
        (label or (Path(path).stem if stems.count(Path(path).stem) == 1 else path), Path(path))
        for label, _, path in named
    ]
