"""A bar for each row of a report, with its interval."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.domains.plot import save_figure
from stages.errors import BadConfig
from stages.reporting.rows import ReportRow

LABEL_WIDTH, LABEL_LINES = 12, 4  # letters and lines of a label under its bar


def check_plot(path: Path, flag: str = "--plot") -> None:
    """Raise BadConfig for a file that cannot be drawn, before anything is computed."""
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise BadConfig(f"{flag} {path}: the file must end in .png, .pdf or .svg")


def draw_plot(rows: Sequence[ReportRow], path: Path) -> None:
    """Draw a bar per row with its interval, as PNG, PDF or SVG by the file's ending. No mean, no bar."""
    with open_figure(path, (1.6 + 1.1 * len(rows), 4.2), "--plot") as figure:
        draw_bars(figure.subplots(), rows)


@contextmanager
def open_figure(path: Path, size: tuple[float, float], flag: str) -> Iterator[Any]:
    """Yield a figure of so many inches that is written to the file at the end. Raises BadConfig without matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise BadConfig(f"{flag} needs matplotlib: pip install 'seal-toolkit[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=size, layout="constrained")
    yield figure
    save_figure(figure, path)


def draw_bars(axes: Any, rows: Sequence[ReportRow]) -> None:
    """Draw the bars with their means above them, and the number of tasks under each where it differs."""
    bars = [(100 * (row.mean or 0.0), 100 * (row.low or 0.0), 100 * (row.high or 0.0)) for row in rows]
    errors = [[max(0.0, mean - low) for mean, low, _ in bars], [max(0.0, high - mean) for mean, _, high in bars]]
    means = [mean for mean, _, _ in bars]
    axes.bar(range(len(rows)), means, yerr=errors, capsize=4, color="#4c72b0", ecolor="#333333", width=0.65)
    for place, (row, (mean, _, high)) in enumerate(zip(rows, bars, strict=True)):
        told = "unscored" if row.mean is None else f"{mean:.1f}"
        axes.annotate(told, (place, max(mean, high)), (0, 4), textcoords="offset points", ha="center")
    counts = sorted({row.tasks for row in rows})
    labels = [_wrap_label(row.label) + ("" if len(counts) == 1 else f"\nn = {row.tasks}") for row in rows]
    axes.set_xticks(range(len(rows)), labels, parse_math=False)
    axes.set_ylabel(f"{rows[0].kind} (%)", parse_math=False)
    top = 1.12 * max(max(mean, high) for mean, _, high in bars) + 5  # room for the number above the highest bar
    axes.set_ylim(0, top)
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= min(100, top)])
    axes.spines[["top", "right"]].set_visible(False)
    tasks = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    axes.set_title(f"mean over {tasks} task{'' if counts[-1] == 1 else 's'}, 95 % interval", fontsize=10)


def _wrap_label(label: str) -> str:
    """The label in lines that are no wider than a bar's place; what is beyond four lines is left out."""
    lines = textwrap.wrap(label, LABEL_WIDTH, max_lines=LABEL_LINES, placeholder="…")
    return "\n".join(lines) or label
