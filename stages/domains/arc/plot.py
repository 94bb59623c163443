"""ARC lines as people know them: coloured grids, each input with what comes of it, one view a line.

Lengths are in dots, DOTS to the inch, so that cells are whole dots of a PNG, and all cells of a picture are equally
large.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from stages.domains.arc.view import Panel, Row, View
from stages.errors import BadConfig
from stages.records.arc import Grid

# 0 to 9, as on arcprize.org
PALETTE = ("#000000", "#0074D9", "#FF4136", "#2ECC40", "#FFDC00", "#AAAAAA", "#F012BE", "#FF851B", "#7FDBFF", "#870C25")
MOST = 20  # views in a picture
_DOTS = 150
MARGIN, GAP, ARROW, BETWEEN = 45, 40, 24, 80  # dots: at the edge, between panels, more for an arrow, between strips
LINE, NO_GRID = 24, (130, 90)  # dots: from a line of text to the next; the place of a grid that there is not
FILLED, NARROWEST, LONGEST = 1900, 1000, 24_000  # dots: a full row, the narrowest picture, the longest side of a PNG
LARGE, MEDIUM, SMALL = 12, 8.5, 7.5  # points
INK, PALE, GREEN, RED = "#222222", "#777777", "#1A9850", "#D62728"


def draw_grids(views: Sequence[View], path: Path) -> None:
    """The picture as PNG, PDF or SVG by the file's ending."""
    figure = picture(views)
    longest = _DOTS * max(figure.get_size_inches())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font lacks
        figure.savefig(path, dpi=min(_DOTS, int(_DOTS * LONGEST / longest)))


def picture(views: Sequence[View]) -> Any:
    """The views below each other, as a matplotlib Figure. Raises BadConfig where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise BadConfig("--arc needs matplotlib: pip install 'seal-toolkit[plot]'") from None
    cell = _cell_of(views)
    rows = [[*_in_rows(each.demonstrations, cell), *([test] for test in each.tests)] for each in views]
    widest = max(sum(_width_of(strip, cell) for strip in row) for shown in rows for row in shown)
    page = Page(
        Figure(dpi=_DOTS, facecolor="white").add_axes((0, 0, 1, 1)), cell, max(NARROWEST, widest - BETWEEN + 2 * MARGIN)
    )
    for each, shown in zip(views, rows, strict=True):
        page.add_view(each, shown)
    page.axes.set(xlim=(0, page.width), ylim=(page.y, 0))
    page.axes.set_axis_off()
    page.axes.figure.set_size_inches(page.width / _DOTS, page.y / _DOTS)
    return page.axes.figure


@dataclass
class Page:
    """Axes that are drawn on from the top, `y`, down. `cell`: the side of a cell."""

    axes: Any
    cell: int
    width: int
    y: int = MARGIN

    def add_view(self, each: View, rows: Sequence[Sequence[Row]]) -> None:
        if self.y > MARGIN:
            self.axes.axhline(self.y - MARGIN // 2, color="#DDDDDD", linewidth=0.8)
        self.write(each.title, LARGE, INK)
        for fact in each.facts:
            self.write(fact, MEDIUM, PALE)
        for row in rows:
            self.y += LINE // 2
            self.write(row[0].title, MEDIUM, INK)
            self.add_row(row)
        self.y += MARGIN

    def write(self, text: str, points: float, colour: str) -> None:
        """Text over the whole width, in as many lines as it needs."""
        for part in wrap(text, (self.width - 2 * MARGIN) // _text_width("x", points)):
            self.text(MARGIN, self.y + LINE / 2, part, points, colour, ha="left")
            self.y += round(LINE * points / SMALL)

    def text(self, x: float, y: float, text: str, points: float, colour: str, ha: str = "center") -> None:
        self.axes.text(x, y, text, fontsize=points, color=colour, ha=ha, va="center", parse_math=False)

    def add_row(self, strips: Sequence[Row]) -> None:
        """Strips beside each other, their grids in the middle of the row's height."""
        tall = max(_size_of(panel, self.cell)[1] for strip in strips for panel in strip.panels)
        x, middle = MARGIN, self.y + LINE + tall // 2
        for strip in strips:
            for place, panel in enumerate(strip.panels):
                if place == 1:
                    self.text(x + (ARROW - GAP) / 2, middle, "→", LARGE, INK)
                    x += ARROW
                (wide, high), slot = _size_of(panel, self.cell), _slot_of(panel, self.cell)
                self.add_panel(panel, x + (slot - wide) // 2, middle - high // 2)
                x += slot + GAP
            x += BETWEEN - GAP
        self.y += tall + 2 * LINE + 8

    def add_panel(self, panel: Panel, x: int, y: int) -> None:
        """A grid with its upper left corner there, in a frame that says right or wrong; heading and caption."""
        from matplotlib.patches import Rectangle

        wide, high = _size_of(panel, self.cell)
        if panel.grid:
            self.add_grid(panel.grid, x, y)
        colour = PALE if panel.right is None else GREEN if panel.right else RED
        edge, width = (0, 1.0) if panel.right is None else (4, 2.6)
        frame = Rectangle((x - edge, y - edge), wide + 2 * edge, high + 2 * edge, fill=False, lw=width, ec=colour)
        frame.set_linestyle("-" if panel.grid else ":")
        self.axes.add_patch(frame)
        self.text(x + wide / 2, y - LINE / 2 - 4, panel.heading, SMALL, colour)
        self.text(x + wide / 2, y + high + LINE / 2 + 6, panel.caption, SMALL, PALE)

    def add_grid(self, grid: Grid, x: int, y: int) -> None:
        from matplotlib.colors import ListedColormap

        columns = [x + self.cell * n for n in range(len(grid[0]) + 1)]
        rows = [y + self.cell * n for n in range(len(grid) + 1)]
        mesh = self.axes.pcolormesh(columns, rows, grid, cmap=ListedColormap(PALETTE), vmin=0, vmax=9)
        mesh.set(edgecolor="#6E6E6E", linewidth=0.3 + self.cell / 120)


def _cell_of(views: Sequence[View]) -> int:
    """The side of a cell: smaller where there are large grids."""
    strips = [strip for each in views for strip in (*each.demonstrations, *each.tests)]
    grids = [panel.grid for strip in strips for panel in strip.panels if panel.grid]
    return max(12, min(42, 300 // max(max(len(grid), len(grid[0])) for grid in grids)))


def _in_rows(strips: Sequence[Row], cell: int) -> list[list[Row]]:
    """As many strips to a row as it holds."""
    rows: list[list[Row]] = [[]]
    for strip in strips:
        if rows[-1] and sum(_width_of(each, cell) for each in (*rows[-1], strip)) > FILLED:
            rows.append([])
        rows[-1].append(strip)
    return rows


def _size_of(panel: Panel, cell: int) -> tuple[int, int]:
    """Width and height of the grid, or of the empty place."""
    return (cell * len(panel.grid[0]), cell * len(panel.grid)) if panel.grid else NO_GRID


def _slot_of(panel: Panel, cell: int) -> int:
    """The width of a grid with its texts."""
    return max(_size_of(panel, cell)[0], _text_width(panel.heading, SMALL), _text_width(panel.caption, SMALL))


def _width_of(strip: Row, cell: int) -> int:
    return sum(_slot_of(panel, cell) + GAP for panel in strip.panels) + ARROW + BETWEEN - GAP


def _text_width(text: str, points: float) -> int:
    """Roughly, in the sans serif that matplotlib brings along."""
    return round(0.62 * points * len(text) * _DOTS / 72)
