"""Which lines `--arc` and `--view` of `seal report` show, and how a line is seen on the terminal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.text import Text

from seal_cli.terminal.console import note, strip_control
from stages.domains.base import load_domain
from stages.domains.plot import MOST, draw_grids
from stages.domains.views import PALETTE, Panel, Row, find_own_view, make_view, put_beside
from stages.errors import BadConfig, BadInput
from stages.records.record import Record
from stages.records.score import Score

_VIEWED = 3  # lines on the terminal
_NAMED = 10  # tasks in a message
_NO_SCORE = Score(value=None, baseline=None, model="", judge="", answers=())
_SPACES = "      ", " → ", "   "  # before an input, behind it, between other grids
_STYLES = {"title": "bold", "heading": "bold", "label": "dim"}
_STYLES |= {"right": "bold green", "wrong": "bold red", "unscored": "bold yellow"}
_HEADINGS = {None: "dim", True: "bold green", False: "bold red"}


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
        if self.arc and find_own_view(load_domain(record.task.domain)) is None:
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
            lines = f"{self.unscored} line{'' if self.unscored == 1 else 's'}"
            note(f"seal report: no table: {lines} without a score (run `seal eval` first)")
        if self.view:
            for label, record in self.lines[:_VIEWED]:
                print_view(console, make_view(record, label))
            self.tell_rest("the view", _VIEWED, ", or with `head -1 FILE | seal report - --view`")
        if self.arc and self.lines:
            draw_grids([make_view(record, label) for label, record in self.lines], self.arc)
            note(f"seal report: grids in {self.arc}")
            self.tell_rest(str(self.arc), MOST)

    def tell_rest(self, where: str, most: int, other: str = "") -> None:
        if self.count > most:
            note(f"seal report: {where} shows the first {most} of {self.count} lines; pick with --task ID{other}")


def print_view(console: Console, view: Sequence[Row]) -> None:
    """Print texts without control characters and markup, and grids beside each other where they fit."""
    widths = [len(panel.grid[0]) for row in view for panel in row.panels if panel.grid]
    cell = 2 if 2 * max(widths, default=0) + len(_SPACES[1]) <= console.width else 1
    digits = console.no_color or console.color_system is None

    def draw(rows: Sequence[Row]) -> list[tuple[str, Text]]:
        """The space before each grid, and the grid."""
        places = ((place, panel) for row in rows for place, panel in enumerate(row.panels))
        return [(_SPACES[min(place, 2)], _draw_panel(panel, cell, digits)) for place, panel in places]

    def fits(rows: Sequence[Row]) -> bool:
        return sum(len(space) + _measure(grid) for space, grid in draw(rows)) - len(_SPACES[0]) <= console.width

    for rows in put_beside(view, fits):
        if rows[0].panels:
            _print_grids(console, draw(rows))
            console.print()
        else:
            console.print(Text(strip_control(rows[0].text), _STYLES.get(rows[0].style, "")))


def _draw_panel(panel: Panel, cell: int, digits: bool) -> Text:
    """A grid under its heading and over its caption: coloured backgrounds, or digits with a point for 0."""
    lines = [Text("(none)")]
    if panel.grid and digits:
        lines = [Text((" " * (cell - 1)).join(str(colour or ".") for colour in row)) for row in panel.grid]
    elif panel.grid:
        lines = [Text.assemble(*((" " * cell, f"on {PALETTE[colour]}") for colour in row)) for row in panel.grid]
    heading = Text(strip_control(panel.heading), _HEADINGS[panel.right])
    return Text("\n").join([heading, *lines, Text(strip_control(panel.caption), "dim")])


def _measure(grid: Text) -> int:
    return max(line.cell_len for line in grid.split(allow_blank=True))


def _print_grids(console: Console, grids: Sequence[tuple[str, Text]]) -> None:
    """Print grids beside each other, the lower ones in the middle of the height; what is too wide on several lines."""
    width, parts = 0, list[Text]()
    for space, grid in grids:
        needed = len(space) + _measure(grid)
        if parts and width + needed > console.width:
            _print_beside(console, parts)
            width, parts = 0, []
        parts += [Text(space), grid] if parts or space == _SPACES[1] else [grid]
        width += needed
    _print_beside(console, parts)


def _print_beside(console: Console, parts: Sequence[Text]) -> None:
    """Print texts beside each other, shorter ones in the middle of the height."""
    blocks = [part.split(allow_blank=True) for part in parts]
    tall = max(map(len, blocks))
    columns = [[Text()] * ((tall - len(block)) // 2) + [*block] for block in blocks]
    for cells in zip_longest(*columns, fillvalue=Text()):
        line, end = Text(), 0
        for cell, part in zip(cells, parts, strict=True):
            line.append(" " * (end - line.cell_len) if cell else "").append_text(cell)
            end += _measure(part)
        console.print(line, no_wrap=True, overflow="crop", crop=True)
