"""Tables as text, Markdown, CSV or JSON lines, and the rows of `seal report` in them.

People get only the columns that some row fills, programs every field. No number is ever cut: a table that is too wide
is stacked, row under row.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from seal_cli.terminal.console import strip_control

if TYPE_CHECKING:
    from stages.reporting.rows import ReportRow

Format = Literal["table", "md", "csv", "jsonl"]
Rows = Sequence[Sequence[str]]
_GAP = 2  # blanks between two columns


def format_rows(rows: "Sequence[ReportRow]", form: Format, against: str | None, width: int) -> str:
    """Format the rows; a table no wider than `width`. `against`: the row that the others are compared with."""
    if form == "jsonl":
        return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    if form == "csv":
        return as_csv(list(asdict(rows[0])), [list(asdict(row).values()) for row in rows])
    columns = _column_names(rows, against)
    table = [_cells(row, columns) for row in rows]
    return as_text(columns, table, width) if form == "table" else as_markdown(columns, table)


def _column_names(rows: "Sequence[ReportRow]", against: str | None) -> list[str]:
    columns = ["row", "tasks", "answers", "mean %", "95 % interval", "by question %"]
    columns += ["runs", "± s.e."] if any(row.runs > 1 for row in rows) else []
    columns += ["unscored", "mean if wrong … right"] if any(row.unscored for row in rows) else []
    return columns + ([f"gain on {against}", "its 95 % interval", "p"] if against else [])


def _cells(row: "ReportRow", columns: list[str]) -> list[str]:
    """Return the cells of a row under these columns."""
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


def as_text(columns: Sequence[str], rows: Rows, width: int) -> str:
    """Align columns, the first to the left and the others to the right; stack rows if wider than `width`."""
    cells = [[strip_control(cell).replace("\n", " ") for cell in row] for row in (columns, *rows)]
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


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
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
