"""Tables as text, Markdown or CSV. No number is ever cut: a table that is too wide is stacked, row under row."""

import csv
import io
from collections.abc import Iterable, Sequence

from seal_cli.terminal.console import strip_control

Rows = Sequence[Sequence[str]]
_GAP = 2  # blanks between two columns


def as_text(columns: Sequence[str], rows: Rows, width: int) -> str:
    """Align columns, the first to the left and the others to the right; stack rows if wider than `width`."""
    cells = [[strip_control(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(_cell_width, column)) for column in zip(*cells, strict=True)]
    if sum(widths) + _GAP * (len(widths) - 1) > width:
        return _as_stack(cells[0], cells[1:])
    lines = [
        (" " * _GAP).join(
            _pad(cell, size, left=place == 0) for place, (cell, size) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    rule = "-" * (sum(widths) + _GAP * (len(widths) - 1))
    return "".join(f"{line.rstrip()}\n" for line in (lines[0], rule, *lines[1:]))


def _as_stack(columns: Sequence[str], rows: Rows) -> str:
    """Each row as a block: its first cell, and below it a line for each other cell that is not empty."""
    widest = max(map(_cell_width, columns[1:]), default=0)
    blocks = []
    for first, *others in rows:
        lines = [
            f"  {_pad(name, widest, left=True)}  {cell}\n"
            for name, cell in zip(columns[1:], others, strict=True)
            if cell
        ]
        blocks.append(f"{first}\n{''.join(lines)}")
    return "\n".join(blocks)


def as_markdown(columns: Sequence[str], rows: Rows) -> str:
    """Write a table in GitHub's Markdown."""
    marks = ["---", *["---:"] * (len(columns) - 1)]
    cells = [[strip_control(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in (columns, *rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (cells[0], marks, *cells[1:]))


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write CSV (RFC 4180, with plain line ends); an empty cell stands for None."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([columns, *rows])
    return out.getvalue()


def _pad(cell: str, width: int, *, left: bool) -> str:
    blanks = " " * (width - _cell_width(cell))
    return cell + blanks if left else blanks + cell


def _cell_width(text: str) -> int:
    """Columns on a terminal: two for each wide character."""
    from rich.cells import cell_len

    return cell_len(text)
