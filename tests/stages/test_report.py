"""score → rows: means, intervals, paired tests, repeated runs."""

from collections.abc import Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pytest

from stages import report, tasks
from stages.errors import BadConfig, BadInput
from stages.records.record import Record
from stages.records.score import Score
from stages.reporting import plot, rows
from tests.conftest import paper_file
from tests.invented import a_line, a_task, numbered


def lines(rights: Sequence[int], of: int = 4, sample: int = 0) -> list[Record]:
    """One score line for each task: so many of its answers are right."""
    return [
        a_line(numbered(f"T{n}", of), [place < right for place in range(of)], sample=sample)
        for n, right in enumerate(rights)
    ]


def one_row(records: list[Record]) -> rows.ReportRow:
    (row,) = report.run([("row", records)])
    return row


def test_the_mean_is_over_tasks_and_the_other_over_questions() -> None:
    few, many = numbered("Ada", 2), numbered("Bo", 8)
    row = one_row([a_line(few, [True, True]), a_line(many, [True, *[False] * 7])])
    assert (row.mean, row.by_question) == (pytest.approx((1 + 1 / 8) / 2), pytest.approx(3 / 10))
    assert (row.tasks, row.answers, row.runs, row.run_error) == (2, 10, 1, None)


def test_several_lines_of_a_task_are_one_task() -> None:
    row = one_row(lines([4, 0]) + lines([0, 0], sample=1))
    assert (row.tasks, row.answers, row.mean) == (2, 16, 0.25)


def test_a_score_without_answers_counts_by_its_mean() -> None:
    score = Score(value=0.25, baseline=None, model="m", judge="j", answers=())
    row = one_row([Record(task=a_task(), score=score)])
    assert (row.mean, row.by_question, row.answers) == (0.25, 0.25, 0)


def test_unscored_answers_are_counted_and_move_no_mean() -> None:
    scored = lines([3, 1])
    row = one_row([*scored, a_line(numbered("T9", 2), [None, None])])
    assert (row.unscored, row.answers, row.tasks) == (2, 8, 2)
    assert row.mean == one_row(scored).mean
    assert (row.least, row.most) == (pytest.approx((0.75 + 0.25 + 0) / 3), pytest.approx((0.75 + 0.25 + 1) / 3))


def test_the_scored_answers_of_a_line_count_whatever_became_of_the_others() -> None:
    row = one_row([a_line(numbered("T1", 4), [True, False, True, None])])
    assert (row.mean, row.by_question) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (row.answers, row.unscored, row.least, row.most) == (3, 1, 0.5, 0.75)


def test_where_all_is_scored_the_bounds_are_the_mean() -> None:
    row = one_row(lines([3, 1, 4]))
    assert row.least == row.most == row.mean
    assert row.unscored == 0


def test_the_interval_is_as_wide_as_theory_says() -> None:
    rights = np.random.default_rng(0).binomial(4, 0.4, 200).tolist()
    row = one_row(lines(rights))
    error = stdev(right / 4 for right in rights) / len(rights) ** 0.5
    assert row.low < row.mean < row.high
    assert row.high - row.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_about_95_of_100_intervals_cover_the_truth() -> None:
    draw = np.random.default_rng(1)
    samples = [draw.binomial(5, 0.4, 50) / 5 for _ in range(100)]
    intervals = [rows.bootstrap_interval(sample, 0) for sample in samples]
    assert 88 <= sum(low <= 0.4 <= high for low, high in intervals) <= 100


def test_the_same_seed_gives_the_same_row() -> None:
    records = lines(np.random.default_rng(0).binomial(7, 0.4, 40).tolist(), of=7)
    assert report.run([("a", records)], seed=3) == report.run([("a", records)], seed=3)
    assert report.run([("a", records)], seed=3) != report.run([("a", records)], seed=4)


def test_a_clear_difference_has_a_small_p_value_and_an_interval_above_nothing() -> None:
    base, better = report.run([("base", lines([1] * 30)), ("better", lines([2, 3] * 15))], against="base")
    assert (base.gain, base.p_value) == (None, None)
    assert better.gain == pytest.approx(0.375)
    assert better.gain_low is not None and better.gain_low > 0
    assert better.p_value is not None and 0 < better.p_value < 0.001


def test_no_difference_has_a_large_p_value() -> None:
    same = report.run([("base", lines([1, 3] * 15)), ("same", lines([3, 1] * 15))], against="base")[1]
    assert same.gain == 0
    assert same.p_value is not None and same.p_value > 0.9


def test_under_the_null_hypothesis_small_p_values_are_rare() -> None:
    draw = np.random.default_rng(2)
    p_values = [rows.compute_p_value(draw.normal(0, 1, 25), 0) for _ in range(100)]
    assert sum(p_value < 0.05 for p_value in p_values) <= 12
    assert 0.35 < float(np.mean(p_values)) < 0.65


def test_a_comparison_is_over_the_tasks_that_both_rows_have() -> None:
    short, long = lines([2, 2]), lines([3, 3, 0, 0])
    assert report.run([("a", short), ("b", long)], against="a")[1].gain == pytest.approx(0.25)
    apart = report.run([("a", lines([1])), ("b", [a_line(numbered("else", 2), [True, True])])], against="a")[1]
    assert (apart.gain, apart.p_value) == (None, None)


def test_a_label_that_comes_again_is_another_run_of_its_row() -> None:
    files = [("ours", lines([4, 0])), ("other", lines([1, 1])), ("ours", lines([4, 4])), ("ours", lines([2, 4]))]
    ours, other = report.run(files, against="other")
    assert (ours.label, ours.runs, ours.tasks, ours.answers) == ("ours", 3, 2, 24)
    assert ours.mean == pytest.approx(0.75)
    assert ours.run_error == pytest.approx(stdev([0.5, 1.0, 0.75]) / 3**0.5)
    assert ours.gain == pytest.approx(0.5)
    assert (other.label, other.runs, other.run_error) == ("other", 1, None)


def test_an_unknown_row_to_compare_with_is_answered_with_those_that_exist() -> None:
    with pytest.raises(BadConfig) as caught:
        report.run([("a", lines([1])), ("b", lines([2]))], against="c")
    assert str(caught.value) == "--against c: no such row; there are a, b"


def test_files_without_scores_are_refused_by_their_label() -> None:
    with pytest.raises(BadInput) as caught:
        one_row([Record(task=a_task())])
    assert str(caught.value) == f"row: task {a_task().id} has no score (run `seal eval` first)"
    with pytest.raises(
        BadInput, match=r"^row: no lines in it; run the stage before \(`seal eval`\) again, or give --allow-empty$"
    ):
        one_row([])


def test_a_row_without_a_scored_answer_has_no_mean_and_stops_no_other_row(tmp_path: Path) -> None:
    files = [("base", lines([1, 2])), ("lost", [a_line(a_task(), [None, None])])]
    base, lost = report.run(files, against="base")
    assert (lost.mean, lost.low, lost.high, lost.by_question, lost.gain) == (None, None, None, None, None)
    assert (lost.answers, lost.unscored, lost.tasks, lost.least, lost.most) == (0, 2, 0, 0.0, 1.0)
    assert base.mean is not None
    pytest.importorskip("matplotlib")
    plot.draw_plot([base, lost], tmp_path / "rows.png")
    assert (tmp_path / "rows.png").stat().st_size > 1000


def test_the_plot_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = report.run([("none", lines([1, 2])), ("round 1", lines([3, 4]))])
    for name, start in (("ladder.png", b"\x89PNG"), ("ladder.svg", b"<?xml")):
        plot.draw_plot(rows, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(("tasks", "title"), [(1, "mean over 1 task, 95 % interval"), (2, "mean over 2 tasks, 95 %")])
def test_the_plots_words_are_true_of_every_domain(tasks: int, title: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.draw_plot([one_row(lines([1] * tasks))], tmp_path / "rows.svg")
    words = (tmp_path / "rows.svg").read_text()  # each text is also a comment there
    assert "<!-- accuracy (%) -->" in words
    assert f"<!-- {title}" in words
    assert "passage" not in words


@pytest.mark.paper_data
def test_the_papers_first_round_gains_over_no_adapter_beyond_doubt() -> None:
    adapted = list(tasks.run(str(paper_file("rank_iter0.json"))))
    before = [
        line.grow(score=line.score.model_copy(update={"value": line.score.baseline})) for line in adapted if line.score
    ]
    base, ours = report.run([("base", before), ("ours", adapted)], against="base")
    assert (round(base.mean, 4), round(ours.mean, 4)) == (0.3187, 0.4018)
    assert (ours.tasks, ours.answers) == (50, 3375)
    assert ours.p_value is not None and ours.p_value < 0.01


def test_a_plot_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BadConfig, match=r"--plot x.foo: the file must end in .png, .pdf or .svg"):
        plot.check_plot(Path("x.foo"))
    with pytest.raises(BadConfig, match=r"--arc x.PNG: the file must end in .png, .pdf or .svg"):
        plot.check_plot(Path("x.PNG"), "--arc")


def drawn(rows: Sequence[rows.ReportRow]) -> Any:
    """The axes of the plot, laid out, with the figure behind them."""
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(1.6 + 1.1 * len(rows), 4.2), layout="constrained")
    axes = figure.subplots()
    plot.draw_bars(axes, rows)
    figure.draw_without_rendering()
    return axes


def test_a_plot_keeps_its_numbers_below_the_title_and_its_labels_inside_the_picture() -> None:
    label = "a very long label with $signs^ and averyveryveryverylongsingleword behind it"
    axes = drawn(report.run([("all", lines([4, 4, 4])), (label, lines([1]))]))
    title = axes.title.get_window_extent()
    assert [text.get_text() for text in axes.texts] == ["100.0", "25.0"]
    assert all(not text.get_window_extent().overlaps(title) for text in axes.texts)
    box, labels = axes.figure.bbox, [text.get_window_extent() for text in axes.get_xticklabels()]
    assert all(box.x0 <= each.x0 and each.x1 <= box.x1 and each.y0 >= box.y0 for each in labels)
    assert not labels[0].overlaps(labels[1])
    assert max(axes.get_yticks()) <= 100


def test_a_plot_says_how_many_tasks_each_row_has_where_they_differ() -> None:
    axes = drawn(report.run([("all", lines([4, 4, 4])), ("short", lines([1]))]))
    assert axes.get_title() == "mean over 1 to 3 tasks, 95 % interval"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["all\nn = 3", "short\nn = 1"]
    assert drawn(report.run([("all", lines([4]))])).get_title() == "mean over 1 task, 95 % interval"


def test_any_integer_is_a_seed_of_intervals_and_p_values() -> None:
    values = np.array([0.1, 0.4, 0.9])
    for seed in (-1, 2**80):
        low, high = rows.bootstrap_interval(values, seed)
        assert 0.1 <= low < values.mean() < high <= 0.9
        assert 0 < rows.compute_p_value(values, seed) <= 1
