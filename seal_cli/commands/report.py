"""`seal report`"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from seal_cli.exit_codes import DONE, INCOMPLETE
from seal_cli.flags import options as opt
from seal_cli.flags.expand import Without
from seal_cli.flags.run import InputFlags
from seal_cli.terminal.console import note, terminal, width_of
from seal_cli.terminal.tables import Format, format_rows
from stages.errors import BadConfig
from stages.settings import Doc

if TYPE_CHECKING:
    from seal_cli.runs.rejects import Rejects
    from seal_cli.terminal.line_view import Picks
    from stages.reporting.page import PageTable
    from stages.reporting.page_lines import PageLines
    from stages.reporting.published import QuestionCounts
    from stages.reporting.rows import ReportRow


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
    over: Annotated[
        str | None,
        Doc(
            "Labels are this word and a number (rank 1, rank 2 …): --plot draws a curve, and the smallest number that "
            "keeps up with the best is told.",
            "WORD",
        ),
    ] = None
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
    card: Annotated[Path | None, Doc("With --html: the card of `seal card`, above the rows.", "FILE.json")] = None
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
        more = (self.against, self.before, self.plot, self.over, self.html, self.expect, self.for_programs)
        return not only_shown or any(more)

    def check(self, labels: Sequence[str]) -> None:
        """Raise BadConfig for what cannot be done, before anything is read."""
        from stages.card import read_card
        from stages.reporting.curve import check_labels_over
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
        elif self.card:
            raise BadConfig(f"--card {self.card}: it stands in the page; give --html FILE.html, too")
        if self.card:
            read_card(self.card)
        if self.expect:
            find_published(self.expect)
        if self.over:
            check_labels_over(self.over, labels)
        if self.before in labels:
            raise BadConfig(f"--before {self.before}: a file has this label; give the row another name")

    def check_matrix(self) -> None:
        """Raise BadConfig for what shows lines and rows, where there is only a matrix."""
        given: dict[str, object] = {
            "--against": self.against,
            "--plot": self.plot,
            "--over": self.over,
            "--html": self.html,
            "--card": self.card,
            "--arc": self.arc,
        }
        given |= {"--before": self.before, "--view": self.view, "--task": self.tasks}
        if idle := next((flag for flag, value in given.items() if value), None):
            raise BadConfig(f"{idle}: with a matrix there are no rows and lines to show; --matrix FILE.png draws it")


def report(
    lines: Annotated[InputFlags, Without("file", "limit", "shard")], flags: ReportFlags, seed: opt.Seed = 0
) -> int:
    """Tabulate score files: means with 95 % intervals over tasks, and paired comparisons.

    Means are over scored answers. Where some are unscored, the table also says how many, and between what the mean
    would lie with all of them wrong and all of them right. A label that comes several times is one row of repeated
    runs, with the standard error of their mean. A table that is too wide for the terminal is stacked.

    --view shows what is on a line, --arc draws ARC lines as grids: demonstrations, tests, attempts and solutions. Both
    take lines of any stage; there is a table where all lines have a score. --html writes all of it into one page, which
    loads nothing from elsewhere: also rounds, told by their labels ("round 1"), as a curve, and the matrix of a
    sequence of self-edits that `seal eval --on` has asked about all tasks.

    --expect prints the paper's numbers beside yours. Official summaries of continual runs are told by their content:
    they are averaged, and the table is their matrix, with what is forgotten.

    \b
    Examples:
      seal report scores.jsonl
      seal report none=none.jsonl self=edits.jsonl "round 1"=r1.jsonl --against self --plot ladder.png
      seal report self=edits.jsonl "round 1"=r1.jsonl --html report.html
      seal report runs/mine/rows/*.jsonl --html report.html --card runs/mine/card.json
      seal report none=none.jsonl self=edits.jsonl round-2=r2.jsonl --expect table-2
      seal report "rank 1"=r1.jsonl "rank 8"=r8.jsonl "rank 64"=r64.jsonl --over rank --plot rank.png
      seal report matrix.jsonl --matrix matrix.png
      seal report run*/summary_*.json --matrix matrix.png
      seal report scores.jsonl --format csv > rows.csv
      head -1 scores.jsonl | seal report - --view
      seal report arc-scores.jsonl --arc grids.png --task 0a1d4ef5 --task 00576224
    """
    from seal_cli.reports.continual import read_runs, report_matrix  # late, as all that a run needs: help does without
    from seal_cli.reports.score_files import note_empty, note_repeated, note_ways, split_labels
    from seal_cli.runs.rejects import open_rejects
    from seal_cli.runs.stdio import claim_stdout, write_stdout

    stdout, named = claim_stdout(), split_labels(flags.files)
    watchers = _Watchers.choose(flags, labelled=len(named) > 1)
    flags.check([label for label, _ in named])
    note_repeated(named)
    if runs := read_runs(named, any_lines=flags.matrix is not None):
        flags.check_matrix()
        return report_matrix(runs, stdout, form=flags.format, expect=flags.expect, picture=flags.matrix)
    with open_rejects(lines, None, *(path for _, path in named)) as bad:
        rows = watchers.make_rows(named, flags, bad, seed, allow_empty=lines.allow_empty)
    note_empty(named, {row.label for row in rows})
    note_ways(named)
    watchers.picks.check()
    table = [] if watchers.picks.unscored else rows
    if table:
        text = _format_table(table, flags, watchers.counts, seed, width_of(stdout))
        write_stdout(stdout, text.encode("utf-8", "replace"))
    _note_unscored(table)
    _show(watchers.picks, stdout)
    if rows:
        _write_files(flags, rows, watchers.page)
    return INCOMPLETE if bad.count or any(row.unscored for row in table) else DONE


@dataclass(frozen=True)
class _Watchers:
    """Who looks at the lines while rows are made of them: --arc and --view, the page, and the paper's counts."""

    picks: "Picks"
    page: "PageLines"
    counts: "QuestionCounts"

    @classmethod
    def choose(cls, flags: ReportFlags, *, labelled: bool) -> "_Watchers":
        from seal_cli.terminal.line_view import Picks
        from stages.reporting.page import MOST_BYTES
        from stages.reporting.page_lines import PageLines
        from stages.reporting.published import QuestionCounts

        picks = Picks(flags.arc, flags.view, flags.tasks, labelled=labelled)
        return cls(picks, PageLines(MOST_BYTES, flags.before), QuestionCounts(flags.expect or ""))

    def make_rows(
        self,
        named: Sequence[tuple[str, Path]],
        flags: ReportFlags,
        bad: "Rejects",
        seed: int,
        *,
        allow_empty: bool,
    ) -> "list[ReportRow]":
        """Read the files, each line once, and make a row of each label."""
        from seal_cli.reports.score_files import read_good_lines
        from stages import report as stage
        from stages.reporting.published import check_labels
        from stages.reporting.rows import add_baseline

        if flags.expect:
            check_labels(flags.expect, [*filter(None, [flags.before]), *(label for label, _ in named)])
        good = ((label, read_good_lines(path, bad, flags.needs_score)) for label, path in named)
        seen = ((label, self.page.watch(label, lines) if flags.html else lines) for label, lines in good)
        found = add_baseline(flags.before, ((label, self.picks.watch(label, lines)) for label, lines in seen))
        counted = ((label, self.counts.watch(label, lines) if flags.expect else lines) for label, lines in found)
        return stage.run(counted, against=flags.against, seed=seed, allow_empty=allow_empty)


def _note_unscored(rows: "Sequence[ReportRow]") -> None:
    """Say how the rows without a mean get one."""
    for row in rows:
        if row.mean is None:
            note(f"seal report: {row.label}: no answer is scored; grade them with `seal judge FILE -j NAME`")


def _write_files(flags: ReportFlags, rows: "Sequence[ReportRow]", page: "PageLines") -> None:
    """Draw the plot and write the page, and say where they are."""
    from stages.reporting.curve import draw_curve, make_curve
    from stages.reporting.page import write_page
    from stages.reporting.plot import draw_plot

    curve = make_curve(flags.over, rows) if flags.over else None
    if curve:
        note(f"seal report: {curve.describe()}")
    if flags.plot:
        draw_curve(curve, flags.plot) if curve else draw_plot(rows, flags.plot)
        note(f"seal report: plot in {flags.plot}")
    if flags.html:
        left_out = write_page(flags.html, rows, page, flags.against, _list_tables(flags.card))
        note(f"seal report: page in {flags.html}{left_out and f'; {left_out}'}")


def _list_tables(card: Path | None) -> "Sequence[PageTable]":
    from seal_cli.terminal.card_tables import list_card_tables
    from stages.card import read_card

    return list_card_tables(read_card(card)) if card else ()


def _format_table(
    rows: "Sequence[ReportRow]", flags: ReportFlags, counts: "QuestionCounts", seed: int, width: int
) -> str:
    """The table of the rows, or of the published ones beside them."""
    from seal_cli.terminal.paper_tables import format_comparisons
    from stages.reporting.published import compare_rows

    if flags.expect is None:
        return format_rows(rows, flags.format, flags.against, width)
    return format_comparisons(compare_rows(flags.expect, rows, counts, seed), flags.format, width)


def _show(picks: "Picks", stdout: int) -> None:
    """Print the chosen lines on stdout, in the colours of its terminal, and draw the picture."""
    from seal_cli.runs.stdio import write_stdout

    with os.fdopen(os.dup(stdout), "w") as out:
        console = terminal(out)
        with console.capture() as shown:  # rich itself would end the process at a closed pipe
            picks.show(console)
    write_stdout(stdout, shown.get().encode("utf-8", "replace"))
