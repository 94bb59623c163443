"""Rows over a number: which rows are points, and the smallest that keeps up with the best."""

from pathlib import Path

import pytest

from stages import report
from stages.errors import BadConfig
from stages.reporting.curve import check_labels_over, draw_curve, make_curve
from stages.reporting.rows import ReportRow
from tests.invented import a_line, numbered

TASKS = [numbered(f"Task {n}", 4) for n in range(12)]


def row(label: str, *rights: int) -> tuple[str, list[object]]:
    """A label and its lines: of each task so many answers right, one count after the other."""
    counts = [rights[place % len(rights)] for place in range(len(TASKS))]
    return label, [a_line(task, [n < right for n in range(4)]) for task, right in zip(TASKS, counts, strict=True)]


def rows_of(*files: tuple[str, list[object]]) -> list[ReportRow]:
    return report.run(files)  # type: ignore[arg-type]


def test_the_smallest_number_within_the_interval_of_the_best_is_named_whatever_the_order() -> None:
    rows = rows_of(row("rank 64", 2, 4), row("none", 0), row("rank 1", 1), row("rank 8", 2, 3), row("rank 16", 2, 3))
    curve = make_curve("rank", rows)
    assert [number for number, _ in curve.points] == [1, 8, 16, 64]
    assert [level.label for level in curve.levels] == ["none"]
    best = next(each for each in rows if each.label == "rank 64")
    assert best.low is not None
    assert 0.25 < best.low <= 0.625  # so that rank 1 is outside and rank 8 within
    assert curve.describe().startswith("rank 8 is the smallest within the 95 % interval of the best: 62.5 % accuracy")
    assert "rank 64 has 75.0" in curve.describe()


def test_a_curve_needs_two_numbers_behind_its_word() -> None:
    for labels in (["rank 1", "none"], ["rank 1", "rank 1"], ["rank1", "rank2"], ["rank one", "rank two"]):
        with pytest.raises(BadConfig, match="--over rank: two labels at least must be rank and a number"):
            check_labels_over("rank", labels)
    check_labels_over("share of replay", ["share of replay 0.1", "share of replay 0.25"])


def test_a_curve_is_drawn_with_its_levels(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = rows_of(row("none $x", 1), row("rank 1", 2), row("rank 16", 2, 3))
    draw_curve(make_curve("rank", rows), tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {text} -->" in drawn for text in ("rank", "16", "accuracy (%)"))
    with pytest.raises(BadConfig, match="--over rank"):
        make_curve("rank", rows[:2])
