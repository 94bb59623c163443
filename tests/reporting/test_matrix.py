"""The matrix of a continual run: official summaries, their average, and what is forgotten."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import BadInput
from stages.records.jsonl import encode_line
from stages.records.record import Gate, Origin, Record, Step
from stages.records.score import AnchorAnswers, Answer, make_retention
from stages.reporting.matrix import Matrix, average_runs, draw_matrix, read_steps, read_summary
from tests.cli.inside import run_inside
from tests.conftest import paper_file
from tests.invented import a_score, a_task, an_adapter, an_edit, numbered

MEANS = [[0.2, 0.3, 0.4], [0.5, 0, 0], [0.7, 0.6, 0], [0.4, 0.1, 0.9]]
STDS = [[0.1] * 3, [0.1, 0, 0], [0.1, 0.2, 0], [0.1, 0.2, 0.3]]


def write(path: Path, **change: Any) -> Path:
    found = {"mean_over_sequences": MEANS, "std_over_sequences": STDS, "n_sequences": 8, "dataset": "val.json"}
    path.write_text(json.dumps({**found, **change}))
    return path


def read(path: Path) -> Matrix:
    found = read_summary(path)
    assert found
    return found


def test_what_is_not_measured_is_no_zero(tmp_path: Path) -> None:
    means = [*MEANS[:3], [0.4, 0, 0.9]]
    matrix = read(write(tmp_path / "a.json", mean_over_sequences=means))
    assert matrix.means == [[0.2, 0.3, 0.4], [0.5, None, None], [0.7, 0.6, None], [0.4, 0.0, 0.9]]
    assert matrix.sequences == 8


def test_forgetting_is_the_drop_from_the_best_and_transfer_that_from_the_first(tmp_path: Path) -> None:
    matrix = read(write(tmp_path / "a.json"))
    assert matrix.accuracies == pytest.approx([0.3, 0.5, 0.65, 1.4 / 3])
    assert matrix.forgetting == pytest.approx(((0.7 - 0.4) + (0.6 - 0.1)) / 2)
    assert matrix.backward_transfer == pytest.approx(((0.4 - 0.5) + (0.1 - 0.6)) / 2)


def test_one_passage_cannot_be_forgotten() -> None:
    matrix = Matrix([[0.2], [0.5]])
    assert (matrix.forgetting, matrix.backward_transfer, matrix.accuracies[-1]) == (None, None, 0.5)


def test_runs_are_averaged_to_four_digits_and_their_stds_with_them(tmp_path: Path) -> None:
    other = [[0.25, 0.3, 0.4], [0.50001, 0, 0], [0.7, 0.6, 0], [0.4, 0.2, 0.9]]
    runs = [("a", read(write(tmp_path / "a"))), ("b", read(write(tmp_path / "b", mean_over_sequences=other)))]
    mean = average_runs(runs)
    assert mean.means == [[0.225, 0.3, 0.4], [0.5, None, None], [0.7, 0.6, None], [0.4, 0.15, 0.9]]
    assert (mean.stds, mean.sequences) == (runs[0][1].stds, 16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "x"}, "are not runs of one experiment: dataset is 'x' and 'val.json'"),
        ({"model": "x"}, "model is 'x' and None"),
        ({"mean_over_sequences": [[0.1], [0.2]], "std_over_sequences": [[0.1], [0.2]]}, "one experiment: sizes"),
    ],
)
def test_runs_of_two_experiments_have_no_average(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    runs = [("a", read(write(tmp_path / "a"))), ("b", read(write(tmp_path / "b", **change)))]
    with pytest.raises(BadInput) as caught:
        average_runs(runs)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean_over_sequences": MEANS[:3]}, "mean_over_sequences must be a row of shares more than it has columns"),
        ({"mean_over_sequences": [[2.0], [1.0]]}, "mean_over_sequences must be"),
        ({"mean_over_sequences": "high"}, "mean_over_sequences must be"),
        ({"std_over_sequences": [[0.1], [0.1]]}, "std_over_sequences has 2 rows, mean_over_sequences 4"),
        ({"n_sequences": 0}, "n_sequences must be a number of 1 or more"),
        ({"seed": float("nan")}, "NaN is not JSON"),
    ],
)
def test_a_bad_summary_is_told(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_summary(write(tmp_path / "a.json", **change))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", '{"v": 1}\n{"v": 1}\n', '["mean_over_sequences"]'])
def test_other_files_are_no_summaries(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_summary(tmp_path / "a.json") is None
    assert read_summary(tmp_path) is None


def test_the_matrix_is_drawn_with_a_number_in_every_measured_cell(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_matrix(read(write(tmp_path / "a.json")), tmp_path / "matrix.svg")
    drawn = (tmp_path / "matrix.svg").read_text()
    assert [drawn.count(f"<!-- {cell} -->") for cell in ("70.0", "90.0", "0.0")] == [1, 1, 0]
    assert "<!-- accuracy (%), 8 sequences -->" in drawn


def test_the_command_prints_the_matrix_and_what_follows_from_it(tmp_path: Path) -> None:
    write(tmp_path / "a.json")
    write(tmp_path / "b.json")
    table = run_inside("report", "a.json", "b.json", "--matrix", "m.png", cwd=tmp_path)
    assert (table.code, "seal report: matrix in m.png\n" in table.err) == (0, True)
    assert [line.split() for line in table.out.splitlines()[2:6]][1:] == [
        ["1", "50.00", "50.00"],
        ["2", "70.00", "60.00", "65.00"],
        ["3", "40.00", "10.00", "90.00", "46.67"],
    ]
    assert "forgetting          40.00 %" in table.out
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    *steps, facts = run_inside("report", "a.json", "--json", cwd=tmp_path).lines
    assert steps[1] == {"step": 1, "mean": [0.5, None, None], "std": [0.1, None, None]}
    assert (facts["sequences"], round(facts["forgetting"], 6)) == (8, 0.4)
    assert "1,1,0.5,0.1\n" in run_inside("report", "a.json", "--format", "csv", cwd=tmp_path).out
    assert "| 1 | 50.00 |" in run_inside("report", "a.json", "--format", "md", cwd=tmp_path).out


def asked(step: int, learned: str, about: str, value: float | None, sequence: int = 0) -> Record:
    """A line of `seal eval --on` about a passage, by a step that learned another, or the same."""
    task, edit = numbered(about, 10), an_edit(a_task(learned))
    own = numbered(learned, 10).id
    adapter = an_adapter(edit, 10 * sequence + step).model_copy(
        update={
            "step": Step(sequence=sequence, number=step, before=None),
            "origin": Origin(task_id=own, edit_id=edit.id),
        }
    )
    right = [None] * 10 if value is None else [n < 10 * value for n in range(10)]
    return Record(task=task, adapter=adapter, score=a_score(task, right, [n < 1 for n in range(10)]))


def run_of(values: dict[tuple[int, str], float | None], sequence: int = 0) -> list[Record]:
    return [asked(step, "ABC"[step], about, value, sequence) for (step, about), value in values.items()]


GRID: dict[tuple[int, str], float | None] = {
    (step, about): value
    for step, row in enumerate([[0.5, 0.2, 0.1], [0.7, 0.6, 0.1], [0.4, 0.1, 0.9]])
    for about, value in zip("ABC", row, strict=True)
}


def test_the_lines_of_a_sequence_are_its_matrix_whatever_their_order(tmp_path: Path) -> None:
    lines = [*run_of(GRID)[::-1], *run_of(GRID, sequence=1)]
    ((name, first), (_, second)) = read_steps(lines, "m.jsonl")
    assert name == "m.jsonl, sequence 0"
    assert first.means == second.means == [[0.1] * 3, [0.5, None, None], [0.7, 0.6, None], [0.4, 0.1, 0.9]]
    assert first.forgetting == pytest.approx(0.4)
    (tmp_path / "m.jsonl").write_bytes(b"".join(map(encode_line, lines)))
    table = run_inside("report", "m.jsonl", "--matrix", "m.png", cwd=tmp_path)
    assert (table.code, "sequences" in table.out, "forgetting          40.00 %" in table.out) == (0, True, True)


def gated(line: Record, right: int, limit: float = 0.3) -> Record:
    """The line with a gate's word on its step: so many of four anchors are known yet, of three."""
    answers = [
        Answer(id=str(n), prediction="", correct=n < right, reason=None, baseline_prediction="", baseline_correct=n < 3)
        for n in range(4)
    ]
    kept = make_retention([AnchorAnswers(task_id="t", answers=tuple(answers))], "exact")
    fall = (3 - right) / 4
    gate = Gate(limit=limit, fall=fall, refused=fall > limit, retention=kept)
    assert line.adapter and line.adapter.step
    step = line.adapter.step.model_copy(update={"gate": gate})
    return line.grow(adapter=line.adapter.model_copy(update={"step": step}))


def test_refused_steps_are_marked_and_their_rows_are_those_of_the_kept_model(tmp_path: Path) -> None:
    right = {0: {0: 3, 1: 1, 2: 2}, 1: {0: 0, 1: 1, 2: 3}}  # by sequence and step
    steps = [(line, line.adapter.step) for n in (0, 1) for line in run_of(GRID, n) if line.adapter]
    lines = [gated(line, right[step.sequence][step.number]) for line, step in steps if step]
    first, second = (run for _, run in read_steps(lines, "m.jsonl"))
    assert (dict(first.refused), dict(second.refused)) == ({2: 1}, {1: 1, 2: 1})
    assert first.means == read_steps(run_of(GRID), "m.jsonl")[0][1].means
    assert average_runs([("a", first), ("b", second)]).refused == {1: 1, 2: 2}
    (tmp_path / "m.jsonl").write_bytes(b"".join(map(encode_line, lines)))
    table = run_inside("report", "m.jsonl", "--matrix", "m.svg", cwd=tmp_path)
    rows = [line.split() for line in table.out.splitlines()]
    assert [row[-1] for row in rows if row and row[0] in "123"] == ["1", "2", "46.67"]
    assert ["updates", "refused", "3", "of", "6"] in rows
    assert "<!-- 2 (refused in 2) -->" in (tmp_path / "m.svg").read_text()
    *found, _ = run_inside("report", "m.jsonl", "--matrix", "m.svg", "--json", cwd=tmp_path).lines
    assert [line.get("refused") for line in found] == [None, 1, 2, None]


def test_runs_with_other_gates_have_no_average() -> None:
    one, other = (read_steps([gated(line, 3, limit) for line in run_of(GRID)], "m")[0] for limit in (0.1, 0.2))
    with pytest.raises(BadInput, match=r"one experiment: --gate is 0.2 and 0.1"):
        average_runs([one, other])


def test_lines_that_are_no_whole_matrix_are_refused() -> None:
    lines = run_of(GRID)
    other = [line.grow(adapter=line.adapter and line.adapter.model_copy(update={"id": "other"})) for line in lines[:1]]
    for wrong, words in (
        ([Record(task=a_task(), score=a_score(a_task(), [True, True]))], "is of no step of a sequence"),
        ([line for line in lines if line.task.title != "A"], "a step was not asked about task"),
        ([line for line in lines if line.adapter and line.adapter.step and line.adapter.step.number], "must be all of"),
        (run_of({**GRID, (2, "A"): None}), "an answer to task .* is unscored"),
        ([*lines, asked(1, "B", "A", 0.3)], "step 1 of sequence 0 has answered task .* twice; give the lines of each"),
        ([*lines[1:], *other], "step 0 of sequence 0 is of two runs; give the lines of each run in a file of their"),
        ([], "no lines in it"),
    ):
        with pytest.raises(BadInput, match=words):
            read_steps(wrong, "m.jsonl")


def test_summaries_and_lines_are_not_mixed_and_other_flags_have_nothing_to_show(tmp_path: Path) -> None:
    write(tmp_path / "a.json")
    (tmp_path / "lines.jsonl").write_text("")
    for arguments, words in (
        (["lines.jsonl", "--matrix", "m.png"], "lines.jsonl: no lines in it; give those of `seal eval --on`"),
        (["a.json", "lines.jsonl"], "a.json is a summary of a continual run, lines.jsonl is none"),
        (["a.json", "--plot", "m.png"], "--plot: with a matrix there are no rows and lines to show"),
        (["a.json", "--matrix", "m.gif"], "--matrix m.gif: the file must end in .png, .pdf or .svg"),
        (["a.json", "--expect", "table-2"], "--expect table-2: not a table of a continual run; --expect continual is"),
    ):
        failed = run_inside("report", *arguments, cwd=tmp_path)
        assert failed.code != 0
        assert words in failed.err


def test_a_summary_that_was_cut_off_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"a\.json: not JSON: .* the line ends early, is the file cut off"):
        read_summary(path)


@pytest.mark.paper_data
def test_the_papers_matrix_comes_in_to_the_digit() -> None:
    path = paper_file("continual_overall_results.json")
    stated = json.loads(path.read_bytes())["mean_over_sequences"]
    matrix = average_runs([("overall", read(path))])
    assert [[value or 0.0 for value in row] for row in matrix.means] == stated
    assert matrix.sequences == 64
    assert round(matrix.accuracies[-1], 4) == 0.2474
    assert read(paper_file("continual_run0.json")).sequences == 8
