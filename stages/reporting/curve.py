"""Rows over a number in their labels, as a curve: the accuracy by rank, for example, and the smallest that holds it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.errors import BadConfig
from stages.reporting.plot import open_figure
from stages.reporting.rows import ReportRow

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")
_TICKS = 12  # at most as many points are named on the axis, each by its number
_WIDE = 8  # times the smallest: from there on the axis is logarithmic


@dataclass(frozen=True)
class Curve:
    """The rows called `word NUMBER`, by their numbers, and the rows beside them, which have none."""

    word: str
    points: tuple[tuple[float, ReportRow], ...]
    levels: tuple[ReportRow, ...]

    def describe(self) -> str:
        """Name the smallest number whose mean is within the 95 % interval of the best mean."""
        best = max((row for _, row in self.points), key=lambda row: row.mean or 0.0)
        low = best.low or 0.0
        number, row = next((number, row) for number, row in self.points if (row.mean or 0.0) >= low)
        told = f"{100 * (row.mean or 0.0):.1f} % {row.kind}"
        interval = f"{100 * low:.1f} … {100 * (best.high or 0.0):.1f}"
        return (
            f"{self.word} {number:g} is the smallest within the 95 % interval of the best: {told}; "
            f"{best.label} has {100 * (best.mean or 0.0):.1f} ({interval})"
        )


def check_labels_over(word: str, labels: Sequence[str]) -> None:
    """Raise BadConfig unless two labels at least are the word and a number, each another."""
    numbers = [number for label in labels if (number := _find_number(word, label)) is not None]
    if len(set(numbers)) < 2:
        raise BadConfig(
            f"--over {word}: two labels at least must be {word} and a number: "
            f'seal report "{word} 1"=one.jsonl "{word} 2"=two.jsonl --over {word}'
        )


def _find_number(word: str, label: str) -> float | None:
    """Return the number of a label that is the word and a number."""
    before, _, number = label.rpartition(" ")
    return float(number) if before == word and _NUMBER.fullmatch(number) else None


def make_curve(word: str, rows: Sequence[ReportRow]) -> Curve:
    """Make the curve of the rows. Raises BadConfig where fewer than two of them have a number and a mean."""
    scored = [row for row in rows if row.mean is not None]
    check_labels_over(word, [row.label for row in scored])
    numbered = [(number, row) for row in scored if (number := _find_number(word, row.label)) is not None]
    levels = tuple(row for row in scored if _find_number(word, row.label) is None)
    return Curve(word, tuple(sorted(numbered, key=lambda point: point[0])), levels)


def draw_curve(curve: Curve, path: Path) -> None:
    """Draw the curve with its intervals, and rows without a number as dashed levels, as PNG, PDF or SVG."""
    numbers = [number for number, _ in curve.points]
    rows = [row for _, row in curve.points]
    means = [100 * (row.mean or 0.0) for row in rows]
    errors = [
        [max(0.0, mean - 100 * (row.low or 0.0)) for mean, row in zip(means, rows, strict=True)],
        [max(0.0, 100 * (row.high or 0.0) - mean) for mean, row in zip(means, rows, strict=True)],
    ]
    with open_figure(path, (6.4, 4.2), "--plot") as figure:
        axes = figure.subplots()
        axes.errorbar(numbers, means, yerr=errors, marker="o", capsize=4, color="#4c72b0", ecolor="#333333")
        if min(numbers) > 0 and max(numbers) >= _WIDE * min(numbers):
            axes.set_xscale("log", base=2)
        if len(numbers) <= _TICKS:
            axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
            axes.minorticks_off()
        for row in curve.levels:
            level = 100 * (row.mean or 0.0)
            axes.axhline(level, linestyle="--", color="#888888", linewidth=1)
            axes.annotate(
                row.label, (max(numbers), level), (0, 3), textcoords="offset points", ha="right", parse_math=False
            )
        axes.set_xlabel(curve.word, parse_math=False)
        axes.set_ylabel(f"{rows[0].kind} (%)", parse_math=False)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        counts = sorted({row.tasks for row in rows})
        tasks = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        axes.set_title(f"mean over {tasks} task{'' if counts[-1] == 1 else 's'}, 95 % interval", fontsize=10)
