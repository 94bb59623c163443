"""Which lines `--arc` and `--view` of `seal report` show, and an ARC line in text: its grids and its votes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seal_cli.terminal.console import note, strip_control
from seal_cli.terminal.passage_view import print_text, view_line
from stages.domains.arc.plot import MOST, PALETTE, draw_grids
from stages.domains.arc.view import Panel, Row, View, format_count, make_view, split_into_rows
from stages.errors import BadConfig, BadInput, one_line
from stages.records.arc import ArcTask
from stages.records.record import Record
from stages.records.score import Score

_VIEWED = 3  # lines on the terminal
_NAMED = 10  # tasks in a message
_NO_SCORE = Score(value=None, baseline=None, model="", judge="", answers=())
_ARROW, _GAP, _APART = " → ", "   ", "      "  # behind an input, between grids, between rows
_Block = list[Text]  # lines of text that stand beside those of other blocks
_STYLES = {None: "dim", True: "bold green", False: "bold red"}


@dataclass
class Picks:
    """The lines that --arc and --view show, noted while another reader goes through them."""

    arc: Path | None
    view: bool
    tasks: tuple[str, ...]  # only lines of these; of all where there are none
    labelled: bool  # lines are shown with the label of their file
    lines: list[tuple[str, Record]] = field(default_factory=list)  # the first MOST
    count: int = 0
    unscored: int = 0  # lines that have no score, of all
    known: dict[str, None] = field(default_factory=dict)  # tasks of all lines, in their order

    def __post_init__(self) -> None:
        if self.tasks and not self.wanted:
            raise BadConfig(f"--task {self.tasks[0]}: picks lines for --arc FILE.png and --view; give one of them, too")

    @property
    def wanted(self) -> bool:
        return self.view or self.arc is not None

    def watch(self, label: str, records: Iterable[Record]) -> Iterator[Record]:
        """The records, each with a score, which whoever makes a table expects; of `unscored` ones it has nothing."""
        for record in records:
            if self.wanted:
                self.known[record.task.id] = None
                if not self.tasks or record.task.id in self.tasks:
                    self.pick(label, record)
            self.unscored += record.score is None
            yield record if record.score else record.grow(score=_NO_SCORE)

    def pick(self, label: str, record: Record) -> None:
        if self.arc and not isinstance(record.task, ArcTask):
            told = f"{label}: task {record.task.name!r} is about a passage; --arc draws ARC tasks"
            raise BadInput(f"{told} (leave --arc out, take --view, or pick lines with --task ID)")
        self.count += 1
        if len(self.lines) < MOST:
            self.lines.append((label if self.labelled else "", record))

    def check(self) -> None:
        """Raise BadConfig for a task that no line is about."""
        for task in self.tasks:
            if task not in self.known:
                named = [*self.known][:_NAMED]
                more = f" and {len(self.known) - _NAMED} more" if len(self.known) > _NAMED else ""
                raise BadConfig(f"--task {task}: no line is about it; there are {', '.join(named)}{more}")

    def show(self, console: Console) -> None:
        """The lines in text on the console, the picture into its file, and how to see what is left out."""
        if self.unscored:
            lines = format_count(self.unscored, "line")
            note(f"seal report: no table: {lines} without a score (run `seal eval` first)")
        if self.view:
            for label, record in self.lines[:_VIEWED]:
                if isinstance(record.task, ArcTask):
                    _print_view(console, make_view(record, record.task, label))
                else:
                    view_line(console, record, record.task, label)
            self.tell_rest("the view", _VIEWED, ", or with `head -1 FILE | seal report - --view`")
        if self.arc and self.lines:
            # `pick` lets only ARC tasks pass
            draw_grids(
                [make_view(each, each.task, label) for label, each in self.lines if isinstance(each.task, ArcTask)],
                self.arc,
            )
            note(f"seal report: grids in {self.arc}")
            self.tell_rest(str(self.arc), MOST)

    def tell_rest(self, where: str, most: int, other: str = "") -> None:
        if self.count > most:
            note(f"seal report: {where} shows the first {most} of {self.count} lines; pick with --task ID{other}")


def _print_view(console: Console, view: View) -> None:
    print_text(console, view.title, "bold")
    for fact in view.facts:
        print_text(console, fact)
    _print_rows(console, view.demonstrations)
    for test in view.tests:
        print_text(console, test.title, "bold")
        _print_rows(console, [test])
        if test.votes:
            _print_votes(console, test.votes)


def _print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print rows beside each other where they fit, and a row that is too wide on several lines."""
    widest = max(len(panel.grid[0]) for row in rows for panel in row.panels if panel.grid)
    cell = 2 if 2 * widest + len(_ARROW) <= console.width else 1
    digits = console.no_color or console.color_system is None

    def fits(parts: Sequence[list[_Block]]) -> bool:
        return sum(map(_measure, _join(parts))) <= console.width

    drawn = [_draw_row(row, cell, digits) for row in rows]
    for line in split_into_rows(drawn, lambda some: fits([*chain.from_iterable(some)])):
        for parts in split_into_rows(chain.from_iterable(line), fits):
            _print_beside(console, _join(parts))


def _draw_row(row: Row, cell: int, digits: bool) -> list[list[_Block]]:
    """The blocks of a row with the spaces between them, in parts that stay on one line of the terminal."""
    first, second, *others = (_draw_panel(panel, cell, digits) for panel in row.panels)
    return [[[Text(_APART)], first], [[Text(_ARROW)]], [second], *([[Text(_GAP)], block] for block in others)]


def _draw_panel(panel: Panel, cell: int, digits: bool) -> _Block:
    """A grid under its heading and over its caption: coloured backgrounds, or digits with a point for 0."""
    grid = [Text("(none)")]
    if panel.grid and digits:
        grid = [Text((" " * (cell - 1)).join(str(colour or ".") for colour in row)) for row in panel.grid]
    elif panel.grid:
        grid = [Text.assemble(*((" " * cell, f"on {PALETTE[colour]}") for colour in row)) for row in panel.grid]
    heading = Text(strip_control(panel.heading), _STYLES[panel.right])
    return [heading, *grid, Text(strip_control(panel.caption), "dim")]


def _join(parts: Sequence[list[_Block]]) -> list[_Block]:
    """Blocks beside each other, without a space before the first."""
    blocks = [*chain.from_iterable(parts)]
    return blocks if blocks[0][0].plain.strip() else blocks[1:]


def _measure(block: _Block) -> int:
    return max(line.cell_len for line in block)


def _print_beside(console: Console, blocks: Sequence[_Block]) -> None:
    """What is shorter than the rest is in the middle of the height."""
    tall = max(map(len, blocks))
    columns = [[Text()] * ((tall - len(block)) // 2) + block for block in blocks]
    for parts in zip_longest(*columns, fillvalue=Text()):
        line, end = Text(), 0
        for part, block in zip(parts, blocks, strict=True):
            line.append(" " * (end - line.cell_len) if part else "").append_text(part)
            end += _measure(block)
        console.print(line, no_wrap=True, overflow="crop", crop=True)
    console.print()


def _print_votes(console: Console, votes: Sequence[tuple[str, str, str, str]]) -> None:
    """Print a table of all votes, and how many are right, wrong, or no grids."""
    table = Table("variant", "demonstrations", "says", "votes for it", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].style = "dim"
    for vote in votes:
        table.add_row(*(Text(strip_control(one_line(cell))) for cell in vote))
    console.print(table)
    kinds = Counter(says.partition(":")[0] for _, _, says, _ in votes)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    print_text(console, f"{format_count(len(votes), 'vote')}: {told}\n")
