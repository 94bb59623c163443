"""The rows of `seal report` as text: for people only columns that some row fills, for programs every field."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from seal_cli.terminal.tables import as_csv, as_markdown, as_text

if TYPE_CHECKING:
    from stages.report import ReportRow

Format = Literal["table", "md", "csv", "jsonl"]


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
