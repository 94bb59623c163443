"""`seal report --arc` and `--view`: the grids of ARC lines as a picture and on the terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.text import Text

from stages.records.arc import ArcTask, Grid
from stages.records.record import Record
from tests.cli.conftest import jsonl, seal, surroundings
from tests.domains.test_arc_plot import (
    COLOURS,
    MIXED,
    NOT_JSON,
    TRUTH,
    WRONG,
    a_puzzle,
    a_vote,
    adapted,
    an_adapter,
    an_edit,
    plain,
)
from tests.forked import forked_seal
from tests.invented import a_line, a_task

DIGITS = {TRUTH: ["1 2", "3 4", "5 6"], WRONG: ["1 2", "3 4", "5 7"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Score lines of four tasks, in-context lines of two of them, and lines of the stages before."""
    scores = [adapted(a_puzzle(f"puzzle-{n}"), MIXED) for n in range(4)]
    (tmp_path / "scores.jsonl").write_text(jsonl(scores))
    (tmp_path / "context.jsonl").write_text(jsonl(plain(a_puzzle(f"puzzle-{n}"), [a_vote(TRUTH)]) for n in range(2)))
    (tmp_path / "tasks.jsonl").write_text(jsonl(Record(task=line.task) for line in scores))
    (tmp_path / "passages.jsonl").write_text(jsonl([a_line(a_task(), [True, False]), *scores]))
    return tmp_path


def test_the_help_has_an_example_of_the_picture_and_one_of_the_view() -> None:
    helped = seal("report", "--help").out
    assert "\n    seal report arc-scores.jsonl --arc grids.png --task " in helped
    assert "\n    head -1 scores.jsonl | seal report - --view\n" in helped
    assert all(f"\n  {flag} " in helped for flag in ("--arc FILE.png", "--view", "--task ID"))


# ---- the picture


def test_the_picture_is_drawn_beside_the_table_and_shows_every_colour(folder: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    run = seal("report", "scores.jsonl", "--arc", "grids.png", cwd=folder)
    assert (run.code, run.err) == (0, "seal report: grids in grids.png\n")
    assert "mean %" in run.out
    found = (255 * image.imread(folder / "grids.png")[:, :, :3]).round().astype(int)
    counts = [int((found == colour).all(axis=2).sum()) for colour in COLOURS]
    assert min(counts) > 4 * 1500  # of each of four views a cell of 42 x 42 dots, without its lines


def test_a_picture_of_one_task_is_smaller_than_one_of_all(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    heights = []
    for more in ([], ["--task", "puzzle-1"], ["--task", "puzzle-1", "--task", "puzzle-3"]):
        assert seal("report", "scores.jsonl", "--arc", "grids.png", *more, cwd=folder).code == 0
        heights.append(struct.unpack(">I", (folder / "grids.png").read_bytes()[20:24])[0])
    assert heights[1] < heights[2] < heights[0]
    assert heights[2] == pytest.approx(2 * heights[1], rel=0.1)


def test_a_picture_has_twenty_lines_and_says_how_to_pick_others(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    (folder / "many.jsonl").write_text(jsonl(Record(task=a_puzzle(f"puzzle-{n}")) for n in range(23)))
    run = seal("report", "many.jsonl", "--arc", "grids.svg", cwd=folder)
    assert run.code == 0
    assert run.err.endswith("seal report: grids.svg shows the first 20 of 23 lines; pick with --task ID\n")
    drawn = (folder / "grids.svg").read_text()
    assert [f"<!-- puzzle-{n} -->" in drawn for n in (0, 19, 20, 22)] == [True, True, False, False]


def test_lines_of_several_files_have_their_labels(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    run = seal("report", "none=context.jsonl", "scores.jsonl", "--arc", "g.svg", "--task", "puzzle-0", cwd=folder)
    assert run.code == 0
    drawn = (folder / "g.svg").read_text()
    assert "<!-- none: puzzle-0 -->" in drawn
    assert "<!-- scores: puzzle-0, self-edit 3, seed 7 -->" in drawn
    assert "puzzle-1" not in drawn


# ---- the terminal


def columns(shown: str, title: str) -> list[str]:
    """The lines below a title, as far as they begin in its column, each up to the gap behind it."""
    lines = shown.splitlines()
    row = next(number for number, line in enumerate(lines) if title in line)
    start = lines[row].index(title)
    return [line[start:].split("   ")[0].rstrip() for line in lines[row + 1 : row + 5]]


def test_the_view_shows_grids_as_digits_where_there_are_no_colours(folder: Path) -> None:
    run = seal("report", "scores.jsonl", "--view", "--task", "puzzle-2", cwd=folder)
    assert (run.code, run.err) == (0, "")
    assert "\x1b" not in run.out
    assert "puzzle-2, self-edit 3, seed 7\n1 of 1 test right; 0 without training\ntools basic, chain; " in run.out
    assert "puzzle-1" not in run.out
    assert ". 1 2 3 4" in run.out and "5 6 7 8 9" in run.out
    assert columns(run.out, "attempt 1 ✗") == [*DIGITS[WRONG], "3×2, 2 of 4 votes"]
    assert columns(run.out, "attempt 2 ✓") == [*DIGITS[TRUTH], "3×2, 1 of 4 votes"]
    assert columns(run.out, "solution") == [*DIGITS[TRUTH], "3×2"]
    assert columns(run.out, "without training ✗")[:2] == ["9 9 9", "1×3"]


def test_the_view_lists_the_votes_and_counts_them(folder: Path) -> None:
    run = seal("report", "scores.jsonl", "--view", "--task", "puzzle-2", cwd=folder)
    table = run.out[run.out.index("variant") :].splitlines()
    assert [line.split() for line in table[1:5]] == [
        ["flip_0", "2", "1", "wrong", "2"],
        ["flip_0", "2", "1", "right", "1"],
        ["flip_0", "2", "1", "wrong", "2"],
        ["flip_0", "2", "1", "unreadable:", "row", "1", "is", "not", "digits"],
    ]
    assert table[5] == "4 votes: 2 wrong, 1 right, 1 unreadable"


def test_votes_without_a_known_solution_are_grids_and_those_of_a_failed_engine_no_answers(tmp_path: Path) -> None:
    lost = a_vote(None, "the server is gone").model_copy(update={"prediction": None})
    line = plain(a_puzzle(solutions=[None]), [a_vote(TRUTH), lost])
    run = seal("report", "-", "--view", stdin=jsonl([line]))
    assert run.code == 3  # its answer is unscored
    assert "no answer: the server is gone" in run.out
    assert "2 votes: 1 a grid, 1 no answer\n" in run.out
    assert "not known" in run.out


def test_the_view_shows_three_lines_and_says_how_to_see_others(folder: Path) -> None:
    run = seal("report", "scores.jsonl", "--view", cwd=folder)
    assert [f"puzzle-{n}, self-edit 3" in run.out for n in range(4)] == [True, True, True, False]
    assert run.err == (
        "seal report: the view shows the first 3 of 4 lines; pick with --task ID, or with "
        "`head -1 FILE | seal report - --view`\n"
    )


def test_one_line_through_a_pipe_is_seen_whole(folder: Path) -> None:
    first = (folder / "scores.jsonl").read_text().splitlines(keepends=True)[0]
    run = seal("report", "-", "--view", stdin=first)
    assert run.code == 0
    assert "puzzle-0, self-edit 3, seed 7" in run.out
    assert run.err == ""


def test_a_failed_self_edit_is_viewed_with_its_reason(tmp_path: Path) -> None:
    failed = an_edit(chosen=None, error=NOT_JSON)
    adapter = an_adapter(path=None, fault="edit", error=NOT_JSON)
    line = adapted(a_puzzle(), [], prediction=None, reason=NOT_JSON, correct=False)
    run = seal("report", "-", "--view", stdin=jsonl([line.grow(edit=failed, adapter=adapter)]))
    assert run.code == 0
    assert f"the self-edit failed: {NOT_JSON}\n" in run.out
    assert "no attempt" in run.out
    assert "(none)" in run.out
    assert "variant" not in run.out


def test_text_of_a_model_never_steers_the_terminal(tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07\x1b[31mred\x9b31m[bold]\r"
    task = a_puzzle("evil\x1b[2J")
    line = adapted(task, [a_vote(None, hostile)], reason=hostile).grow(edit=an_edit(chosen=None, error=hostile))
    (tmp_path / "evil.jsonl").write_text(jsonl([line]))
    run = seal("report", "\x1b[5mlabel=evil.jsonl", "evil.jsonl", "--view", cwd=tmp_path)
    assert run.code == 0
    assert "[bold]" in run.out
    assert not set("\x1b\x07\x9b\r") & set(run.out + run.err)


def on_a_terminal(*arguments: str, width: int, cwd: Path, **env: str) -> str:
    """stdout of the command, which is a terminal so many columns wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    around = {**surroundings(TERM="xterm-256color", COLORTERM="truecolor"), **env}
    around = {name: value for name, value in around.items() if value and name not in ("COLUMNS", "LINES")}
    command = [forked_seal(), "report", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, cwd=cwd, env=around) as running:
        os.close(theirs)
        found = b""
        while part := read(ours):
            found += part
    os.close(ours)
    assert running.returncode == 0, found
    return found.decode().replace("\r\n", "\n")


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side is closed
        return b""


def backgrounds(line: str) -> list[tuple[int, int, int] | None]:
    """The background of each column."""
    text = Text.from_ansi(line)
    found: list[tuple[int, int, int] | None] = [None] * len(text.plain)
    for span in text.spans:
        colour = span.style.bgcolor if not isinstance(span.style, str) else None
        if colour is not None:
            found[span.start : span.end] = [tuple(colour.get_truecolor())] * (span.end - span.start)  # type: ignore[list-item]
    return found


def coloured(grid: Grid, cell: int = 2) -> list[list[tuple[int, int, int]]]:
    return [[COLOURS[colour] for colour in row for _ in range(cell)] for row in grid]


def shown_grid(shown: str, title: str, rows: int) -> list[list[tuple[int, int, int] | None]]:
    """The backgrounds of a grid below its title; a grid ends where there is no background."""
    lines = shown.splitlines()
    row = next(number for number, line in enumerate(lines) if title in Text.from_ansi(line).plain)
    start = Text.from_ansi(lines[row]).plain.index(title)
    found = []
    for line in lines[row + 1 : row + 1 + rows]:
        part = backgrounds(line)[start:]
        found.append(part[: part.index(None)] if None in part else part)
    return found


def test_on_a_terminal_a_cell_is_two_spaces_in_its_official_colour(folder: Path) -> None:
    shown = on_a_terminal("scores.jsonl", "--view", "--task", "puzzle-0", width=120, cwd=folder, NO_COLOR="")
    assert shown_grid(shown, "input 1", 2) == coloured(((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)))
    assert shown_grid(shown, "attempt 1 ✗", 3) == coloured(WRONG)
    assert shown_grid(shown, "attempt 2 ✓", 3) == coloured(TRUTH)
    assert shown_grid(shown, "solution", 3) == coloured(TRUTH)
    assert shown_grid(shown, "without training ✗", 1) == coloured(((9, 9, 9),))


def test_a_terminal_that_wants_no_colours_has_digits(folder: Path) -> None:
    shown = on_a_terminal("scores.jsonl", "--view", "--task", "puzzle-0", width=120, cwd=folder, NO_COLOR="1")
    assert columns(Text.from_ansi(shown).plain, "attempt 2 ✓")[:3] == DIGITS[TRUTH]
    assert "\x1b[48" not in shown


@pytest.mark.parametrize(("width", "cell"), [(100, 2), (70, 2), (50, 1)])
def test_a_wide_grid_is_whole_on_a_narrow_terminal(width: int, cell: int, tmp_path: Path) -> None:
    large: Grid = tuple(tuple((row + column) % 10 for column in range(30)) for row in range(30))
    line = Record(task=a_puzzle(solutions=[large]))
    (tmp_path / "tasks.jsonl").write_text(jsonl([line]))
    shown = on_a_terminal("tasks.jsonl", "--view", width=width, cwd=tmp_path, NO_COLOR="")
    assert shown_grid(shown, "solution", 30) == coloured(large, cell)


# ---- lines that are not scored, and what is refused


@pytest.mark.parametrize("flags", [["--view"], ["--arc", "grids.png"]])
def test_lines_without_a_score_are_shown_without_a_table(flags: Sequence[str], folder: Path) -> None:
    pytest.importorskip("matplotlib")
    run = seal("report", "tasks.jsonl", "scores.jsonl", *flags, cwd=folder)
    assert run.code == 0
    assert run.err.startswith("seal report: no table: 4 lines without a score (run `seal eval` first)\n")
    assert "mean %" not in run.out
    assert ("tasks: puzzle-0\nnot answered yet\n" in run.out) == ("--view" in flags)


@pytest.mark.parametrize("flags", [["--plot", "rows.png"], ["--against", "tasks"]])
def test_what_needs_scores_refuses_lines_without_them(flags: Sequence[str], folder: Path) -> None:
    run = seal("report", "tasks.jsonl", "--view", *flags, cwd=folder)
    assert (run.code, run.out) == (65, "")
    assert run.err.startswith("seal: tasks.jsonl:1: has a task but no score (run `seal eval` first)")


REFUSED = [
    (78, ["--view", "--task", "puzzle-9"], "--task puzzle-9: no line is about it; there are puzzle-0, puzzle-1, pu"),
    (78, ["--task", "puzzle-0"], "--task puzzle-0: picks lines for --arc FILE.png and --view; give one of them, too"),
    (78, ["--arc", "grids.gif"], "--arc grids.gif: the file must end in .png, .pdf or .svg"),
]


@pytest.mark.parametrize(("code", "flags", "words"), REFUSED)
def test_what_cannot_be_shown_is_refused_in_one_line(code: int, flags: Sequence[str], words: str, folder: Path) -> None:
    run = seal("report", "scores.jsonl", *flags, cwd=folder)
    assert (run.code, run.out, run.err.count("\n")) == (code, "", 1)
    assert run.err.startswith(f"seal: {words}")


def test_a_picture_of_lines_about_passages_is_refused_unless_others_are_picked(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    run = seal("report", "passages.jsonl", "--arc", "g.png", cwd=folder)
    assert (run.code, run.out, run.err.count("\n")) == (65, "", 1)
    assert run.err.startswith("seal: passages: task 'Ada' is about a passage; --arc draws ARC tasks (leave ")
    assert not (folder / "g.png").exists()
    assert seal("report", "passages.jsonl", "--arc", "g.png", "--task", "puzzle-0", cwd=folder).code == 0


def test_a_name_of_many_tasks_is_answered_with_the_first_few(tmp_path: Path) -> None:
    lines = jsonl(Record(task=a_puzzle(f"p{n}")) for n in range(14))
    run = seal("report", "-", "--view", "--task", "q", stdin=lines)
    assert run.err.endswith("p8, p9 and 4 more\n")


def test_a_task_without_a_test_is_shown(tmp_path: Path) -> None:
    task = a_puzzle(solutions=[])
    assert isinstance(task, ArcTask)
    run = seal("report", "-", "--view", "--arc", "grids.svg", stdin=jsonl([Record(task=task)]), cwd=tmp_path)
    assert run.code == 0, run.err
    assert "output 2" in run.out
