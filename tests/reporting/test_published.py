"""Published numbers beside ours: which row is which, which mean is compared, and what lies in the interval."""

from pathlib import Path

import pytest

from stages import report, tasks
from stages.errors import BadConfig, BadInput
from stages.records.jsonl import encode_line
from stages.records.record import Record
from stages.records.score import Rating, Score
from stages.reporting.matrix import average_runs, read_summary
from stages.reporting.published import (
    PUBLISHED,
    ComparedRow,
    QuestionCounts,
    check_labels,
    compare_matrix,
    compare_rows,
    find_published,
)
from stages.reporting.rows import add_baseline
from tests.cli.inside import run_inside
from tests.conftest import paper_file
from tests.invented import a_line, numbered
from tests.invented_grids import an_arc_task


def lines(*rights: int, of: int = 10, before: int = 2) -> list[Record]:
    """A line for each task, with so many right answers."""
    return [
        a_line(numbered(f"Task {n}", of), [m < right for m in range(of)], before=[m < before for m in range(of)])
        for n, right in enumerate(rights)
    ]


def compare(table: str, **files: list[Record]) -> dict[str, ComparedRow]:
    counts = QuestionCounts(table)
    rows = report.run([(label, counts.watch(label, found)) for label, found in files.items()])
    return {each.row: each for each in compare_rows(table, rows, counts)}


def test_a_row_is_compared_with_the_published_one_of_its_name() -> None:
    found = compare("table-2", self=lines(3, 5, 4), **{"Round 2": lines(9, 9, 9, 9)})
    assert (found["self"].published, found["self"].ours, found["self"].inside) == (0.397, pytest.approx(0.4), True)
    assert found["self"].difference == pytest.approx(0.003)
    assert (found["round-2"].ours, found["round-2"].inside) == (pytest.approx(0.9), False)
    assert (found["none"].published, found["none"].ours, found["none"].inside) == (0.327, None, None)


def test_methods_that_are_not_run_here_are_marked_as_published() -> None:
    found = compare("table-2", self=lines(3))
    assert (found["generative-adapter"].published, found["ppo"].published) == (0.668, None)
    assert all(found[name].remark.startswith("not run here, as published") for name in ("generative-adapter", "ppo"))


def test_the_numbers_of_many_passages_are_means_over_questions() -> None:
    records = [*lines(1, of=1), a_line(numbered("Long", 9), [False] * 9)]
    found = compare("cpt-lora", self=records)["self"]
    assert (found.over, found.ours) == ("questions", pytest.approx(0.1))
    assert (found.low, found.high) == (0.0, 1.0)


def test_every_published_row_has_a_source_a_name_of_its_own_and_a_share() -> None:
    for table, rows in PUBLISHED.items():
        assert len({row.name for row in rows}) == len(rows) > 1, table
        assert all(row.source for row in rows)
        assert all(row.percent is None or -100 <= row.percent <= 100 for row in rows)


def test_names_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(BadConfig, match=r"--expect table-9: no such table; there are table-1, table-2, 3b, cpt-lora"):
        find_published("table-9")
    with pytest.raises(BadConfig) as caught:
        check_labels("rounds", ["self", "scores"])
    told = "no row is called 'scores'; there are self, round-1, round-2. Name the file: ROW=FILE"
    assert str(caught.value) == f"--expect rounds: {told}"


def test_two_labels_of_one_row_are_refused() -> None:
    for labels in (["self", "Self"], ["round 2", "none", "Round_2"]):
        with pytest.raises(
            BadConfig, match=f"'{labels[0]}' and '{labels[-1]}' are the same row; give them the same label"
        ):
            check_labels("table-2", labels)
    check_labels("table-2", ["self", "self"])  # two runs of one row


def test_lines_of_another_domain_are_not_compared() -> None:
    with pytest.raises(
        BadInput, match="self: task 'Task 0' is of the domain qa; --expect table-1 is published for arc"
    ):
        compare("table-1", self=lines(3))
    puzzle = an_arc_task()
    solved = Record(task=puzzle, score=Score(value=1.0, baseline=None, model="m", judge="grids", answers=()))
    with pytest.raises(BadInput, match=r"is of the domain arc; --expect table-2 is published for qa"):
        compare("table-2", self=[solved])
    assert compare("table-1", self=[solved])["self"].ours == 1.0


def test_what_is_no_accuracy_is_not_compared() -> None:
    rating = Rating(text="Final Score: 12", points=12, value=0.5, error=None)
    score = Score(value=0.5, baseline=None, model="m", judge="rubric:m", answers=(), rating=rating)
    with pytest.raises(
        BadInput, match=r"self: its values are no accuracies \(rating\), as those of --expect proxy are"
    ):
        compare("proxy", self=[line.grow(score=score) for line in lines(3)])


def test_the_row_before_is_the_first_files_baseline_each_task_once() -> None:
    twice = [*lines(5, 7), a_line(numbered("Task 0", 10), [True] * 10, sample=1, before=[True, True, *([False] * 8)])]
    files = add_baseline("none", [("self", twice), ("more", lines(9, 9, before=8))])
    none, own, more = report.run(files)
    assert (none.label, none.mean, none.answers) == ("none", pytest.approx(0.2), 20)
    assert [row.label for row in (own, more)] == ["self", "more"]
    assert own.mean == pytest.approx((0.75 + 0.7) / 2)


def test_a_file_without_baselines_gives_no_row_before() -> None:
    score = Score(value=0.5, baseline=None, model="m", judge="exact", answers=())
    unmeasured = [a_line(numbered("Task", 2), [True, False]).grow(score=score)]
    with pytest.raises(BadInput, match=r"self: --before none: its lines do not say how the model does without"):
        report.run(add_baseline("none", [("self", unmeasured)]))


def test_the_command_prints_published_ours_difference_and_inside(tmp_path: Path) -> None:
    (tmp_path / "self.jsonl").write_bytes(b"".join(map(encode_line, lines(3, 5, 4, 5))))
    command = ("report", "self.jsonl", "--before", "none", "--expect", "table-2")
    rows = {row["row"]: row for row in run_inside(*command, "--json", cwd=tmp_path).lines}
    assert [rows[name]["ours"] for name in ("none", "self")] == pytest.approx([0.2, 0.425])
    assert rows["passage"]["ours"] is None
    assert (rows["self"]["inside"], rows["none"]["inside"]) == (True, False)
    shown = run_inside(*command, "--format", "md", cwd=tmp_path).out.splitlines()
    assert shown[0] == (
        "| row | published % | ours % | 95 % interval | difference | inside | mean over | source | remark |"
    )
    assert shown[2].startswith("| none | 32.7 | 20.0 | 20.0 … 20.0 | -12.7 | no | tasks | v1, table 2, n = 1 |")
    assert "row,published,ours,low,high" in run_inside(*command, "--format", "csv", cwd=tmp_path).out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--expect", "nothing"], "--expect nothing: no such table"),
        (["--expect", "3b", "--before", "base"], "no row is called 'base'"),
        (["--expect", "3b", "--against", "self"], "--expect compares with the paper"),
        (["--before", "self"], "--before self: a file has this label"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "self.jsonl").write_bytes(b"".join(map(encode_line, lines(3, 5))))
    failed = run_inside("report", "self.jsonl", *flags, cwd=tmp_path)
    assert (failed.code, words in failed.err) == (78, True), failed.err


@pytest.mark.paper_data
def test_the_papers_files_are_the_papers_numbers() -> None:
    pooled = tasks.run(str(paper_file("cpt_base.json")))
    counts = QuestionCounts()
    none, own = report.run(
        (label, counts.watch(label, found)) for label, found in add_baseline("none", [("self", pooled)])
    )
    compared = {each.row: each for each in compare_rows("cpt-lora", [none, own], counts)}
    assert round(own.by_question or 0, 4) == 0.4097
    assert round(none.by_question or 0, 4) == 0.3255
    assert (abs(compared["self"].difference or 1) < 0.0005, compared["self"].inside) == (True, True)
    matrix = read_summary(paper_file("continual_overall_results.json"))
    assert matrix
    found = compare_matrix("continual", average_runs([("overall", matrix)]))
    assert all(each.difference is not None and abs(each.difference) < 0.0001 for each in found)
