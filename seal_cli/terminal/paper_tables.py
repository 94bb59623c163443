"""The tables of `seal report` about the paper: a continual run's matrix, and published numbers beside ours."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from seal_cli.terminal.tables import Format, as_csv, as_markdown, as_text

if TYPE_CHECKING:
    from stages.reporting.matrix import Matrix
    from stages.reporting.published import ComparedRow


def format_matrix(matrix: "Matrix", form: Format, width: int) -> str:
    """Format a matrix and what follows from it; CSV has a line for each measured cell, and the matrix alone."""
    facts = {
        "mean_accuracy": matrix.accuracies[-1],
        "forgetting": matrix.forgetting,
        "backward_transfer": matrix.backward_transfer,
    }
    stds = matrix.stds or [[None] * len(row) for row in matrix.means]
    if form == "csv":
        cells = [
            [step, passage + 1, value, stds[step][passage]]
            for step, row in enumerate(matrix.means)
            for passage, value in enumerate(row)
            if value is not None
        ]
        return as_csv(["step", "passage", "mean", "std"], cells)
    if form == "jsonl":
        lines: list[dict[str, object]]
        lines = [{"step": step, "mean": row, "std": stds[step]} for step, row in enumerate(matrix.means)]
        for step, count in matrix.refused.items():
            lines[step]["refused"] = count
        return "".join(json.dumps(line) + "\n" for line in (*lines, {"sequences": matrix.sequences, **facts}))
    columns = ["after step", *(f"passage {passage + 1}" for passage in range(len(matrix.means[0]))), "mean"]
    columns += ["refused"] if matrix.refused else []
    table = [
        [str(step), *map(_percent, row), _percent(mean), *_count_refused(matrix, step)]
        for step, (row, mean) in enumerate(zip(matrix.means, matrix.accuracies, strict=True))
    ]
    told = [[name.replace("_", " "), f"{_percent(value)} %"] for name, value in facts.items() if value is not None]
    told.append(["sequences", str(matrix.sequences)])
    if matrix.refused:
        told.append(["updates refused", f"{sum(matrix.refused.values())} of {matrix.updates}"])
    if form == "md":
        return as_markdown(columns, table) + "\n" + as_markdown(["in the end", ""], told)
    return as_text(columns, table, width) + "\n" + as_text(["in the end", ""], told, width)


def _count_refused(matrix: "Matrix", step: int) -> list[str]:
    """The cell that says how many sequences refused a step, where some refused any."""
    return [str(matrix.refused.get(step, ""))] if matrix.refused else []


def format_comparisons(rows: "Sequence[ComparedRow]", form: Format, width: int) -> str:
    """Format published numbers beside ours; without a column that no row fills."""
    if form == "jsonl":
        return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    if form == "csv":
        return as_csv(list(asdict(rows[0])), [list(asdict(row).values()) for row in rows])
    columns = ["row", "published %", "ours %", "95 % interval", "difference", "inside", "mean over", "source", "remark"]
    cells = [
        [
            row.row,
            _percent(row.published, 1),
            _percent(row.ours, 1),
            "" if row.low is None or row.high is None else f"{100 * row.low:.1f} … {100 * row.high:.1f}",
            "" if row.difference is None else f"{round(100 * row.difference, 1) or 0.0:+.1f}",
            "" if row.inside is None else "yes" if row.inside else "no",
            row.over,
            row.source,
            row.remark,
        ]
        for row in rows
    ]
    filled = [place for place in range(len(columns)) if any(row[place] for row in cells)]
    columns, cells = [columns[place] for place in filled], [[row[place] for place in filled] for row in cells]
    return as_text(columns, cells, width) if form == "table" else as_markdown(columns, cells)


def _percent(share: float | None, digits: int = 2) -> str:
    return "" if share is None else f"{100 * share:.{digits}f}"
