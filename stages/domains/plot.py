"""Lines as pictures: coloured grids, each input with what comes of it, one view below the other.

Lengths are in dots, _DOTS to the inch, so that cells are whole dots of a PNG, and all cells of a picture are equally
large.
"""

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import Any

from stages.domains.views import PALETTE, Panel, Row, put_beside
from stages.errors import BadConfig
from stages.files import replace_file

MOST = 20  # views in a picture
LONGEST = 24_000  # dots: the longest side of a PNG
_DOTS, _FULL, _NARROWEST = 150, 1900, 1000  # dots: of an inch, of a full row, of the narrowest picture
_MARGIN, _GAP, _ARROW, _BETWEEN = 45, 40, 24, 80  # dots: at the edge, between panels, more for an arrow, between rows
_LINE, _NO_GRID = 24, (130, 90)  # dots: from a line of text to the next; the place of a grid that there is not
_LARGE, _MEDIUM, _SMALL = 12, 8.5, 7.5  # points
_INK, _PALE = "#222222", "#777777"
_TEXTS = {"title": (_LARGE, _INK), "heading": (_MEDIUM, _INK)}  # points and colour; of other texts medium and pale
_FRAMES = {None: (_PALE, 0, 1.0), True: ("#1A9850", 4, 2.6), False: ("#D62728", 4, 2.6)}  # colour, distance, width


def draw_grids(views: Sequence[Sequence[Row]], path: Path) -> None:
    """Write the picture as PNG, PDF or SVG by the file's ending."""
    figure = picture(views)
    longest = _DOTS * max(figure.get_size_inches())
    save_figure(figure, path, min(_DOTS, int(_DOTS * LONGEST / longest)))


def save_figure(figure: Any, path: Path, dots: int = _DOTS) -> None:
    """Write a matplotlib Figure, with so many dots an inch: the file is whole, or as it was. Raises OSError."""
    data = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font lacks
        figure.savefig(data, format=path.suffix[1:], dpi=dots)
    replace_file(path, data.getvalue())


def picture(views: Sequence[Sequence[Row]]) -> Any:
    """The views below each other, as a matplotlib Figure. Raises BadConfig where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise BadConfig("--arc needs matplotlib: pip install 'seal-toolkit[plot]'") from None
    grids = [panel.grid for view in views for row in view for panel in row.panels if panel.grid]
    longest = max((max(len(grid), len(grid[0])) for grid in grids), default=1)
    page = _Page(Figure(dpi=_DOTS, facecolor="white").add_axes((0, 0, 1, 1)), max(12, min(42, 300 // longest)))
    page.draw(views)
    return page.axes.figure


class _Page:
    """Axes that are drawn on from the top, `y`, down. `cell`: the side of a cell."""

    def __init__(self, axes: Any, cell: int) -> None:
        self.axes, self.cell, self.width, self.y = axes, cell, _NARROWEST, _MARGIN

    def draw(self, views: Sequence[Sequence[Row]]) -> None:
        shown = [[row for row in view if row.style != "detail"] for view in views]
        lines = [put_beside(rows, lambda some: self.measure(some) <= _FULL) for rows in shown]
        self.width = max(_NARROWEST, *(self.measure(rows) - _BETWEEN + 2 * _MARGIN for each in lines for rows in each))
        for own in lines:
            if self.y > _MARGIN:
                self.axes.axhline(self.y - _MARGIN // 2, color="#DDDDDD", linewidth=0.8)
            for rows in own:
                self.draw_grids(rows) if rows[0].panels else self.write(rows[0])
            self.y += _MARGIN
        self.axes.set(xlim=(0, self.width), ylim=(self.y, 0))
        self.axes.set_axis_off()
        self.axes.figure.set_size_inches(self.width / _DOTS, self.y / _DOTS)

    def write(self, row: Row) -> None:
        """Text over the whole width, in as many lines as it needs."""
        points, colour = _TEXTS.get(row.style, (_MEDIUM, _PALE))
        for part in wrap(row.text, (self.width - 2 * _MARGIN) // _text_width("x", points)):
            self.put(part, _MARGIN, self.y + _LINE / 2, points, colour, ha="left")
            self.y += round(_LINE * points / _SMALL)

    def put(self, text: str, x: float, y: float, points: float, colour: str, ha: str = "center") -> None:
        self.axes.text(x, y, text, fontsize=points, color=colour, ha=ha, va="center", parse_math=False)

    def draw_grids(self, rows: Sequence[Row]) -> None:
        """Rows beside each other, their grids in the middle of the height."""
        self.y += _LINE // 2
        tall = max(self.size(panel)[1] for row in rows for panel in row.panels)
        x, middle = _MARGIN, self.y + _LINE + tall // 2
        for row in rows:
            for place, panel in enumerate(row.panels):
                if place == 1:
                    self.put("→", x + (_ARROW - _GAP) / 2, middle, _LARGE, _INK)
                    x += _ARROW
                wide, high = self.size(panel)
                self.draw_panel(panel, x + (self.slot(panel) - wide) // 2, middle - high // 2)
                x += self.slot(panel) + _GAP
            x += _BETWEEN - _GAP
        self.y += tall + 2 * _LINE + 8

    def draw_panel(self, panel: Panel, x: int, y: int) -> None:
        """A grid with its upper left corner there, in a frame that says right or wrong; heading and caption."""
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Rectangle

        wide, high = self.size(panel)
        if panel.grid:
            corners = range(x, x + wide + 1, self.cell), range(y, y + high + 1, self.cell)
            mesh = self.axes.pcolormesh(*corners, panel.grid, cmap=ListedColormap(PALETTE), vmin=0, vmax=9)
            mesh.set(edgecolor="#6E6E6E", linewidth=0.3 + self.cell / 120)
        colour, edge, width = _FRAMES[panel.right]
        frame = Rectangle((x - edge, y - edge), wide + 2 * edge, high + 2 * edge, fill=False, lw=width, ec=colour)
        frame.set_linestyle("-" if panel.grid else ":")
        self.axes.add_patch(frame)
        self.put(panel.heading, x + wide / 2, y - _LINE / 2 - 4, _SMALL, colour)
        self.put(panel.caption, x + wide / 2, y + high + _LINE / 2 + 6, _SMALL, _PALE)

    def size(self, panel: Panel) -> tuple[int, int]:
        """Width and height of the grid, or of the empty place."""
        return (self.cell * len(panel.grid[0]), self.cell * len(panel.grid)) if panel.grid else _NO_GRID

    def slot(self, panel: Panel) -> int:
        """The width of a grid with its texts."""
        return max(self.size(panel)[0], *(_text_width(text, _SMALL) for text in (panel.heading, panel.caption)))

    def measure(self, rows: Sequence[Row]) -> int:
        """The width of rows beside each other, with the space behind each."""
        slots = [self.slot(panel) + _GAP for row in rows for panel in row.panels]
        return sum(slots) + len(rows) * (_ARROW + _BETWEEN - _GAP)


def _text_width(text: str, points: float) -> int:
    """Roughly, in the sans serif that matplotlib brings along."""
    return round(0.62 * points * len(text) * _DOTS / 72)
