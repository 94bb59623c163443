"""ARC lines as pictures: what a view says, and that the file shows just that, read back cell by cell."""

import struct
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import eval as evaluation
from stages import tasks
from stages.domains import plot as pictures
from stages.domains.arc import voting
from stages.domains.arc.domain import Arc
from stages.domains.arc.grid_text import numpy_text
from stages.domains.views import Panel, Row, make_view
from stages.errors import BadConfig
from stages.interfaces import Request
from stages.judges.exact import ExactJudge
from stages.records.arc import ArcChoice, ArcTask, Demonstration, Grid, GridPair, Vote
from stages.records.record import Adapter, Record, SelfEdit
from stages.records.score import GridAnswer, make_score
from tests.domains.test_arc_transforms import arc_file
from tests.invented import Backwards

# Written down once more, as 0 to 255: https://arcprize.org/play
COLOURS = [(0, 0, 0), (0, 116, 217), (255, 65, 54), (46, 204, 64), (255, 220, 0)]
COLOURS += [(170, 170, 170), (240, 18, 190), (255, 133, 27), (127, 219, 255), (135, 12, 37)]
EVERY_COLOUR: Grid = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
TRUTH: Grid = ((1, 2), (3, 4), (5, 6))
WRONG: Grid = ((1, 2), (3, 4), (5, 7))
BEFORE: Grid = ((9, 9, 9),)
CHOSEN = ArcChoice(
    tools=("basic", "chain"), strategy="train_using_output_tokens", learning_rate=1e-4, epochs=2, repairs=()
)
NOT_JSON = "the self-edit is not a JSON object: [1, 2]"


def a_puzzle(name: str = "puzzle", solutions: Sequence[Grid | None] = (TRUTH,)) -> ArcTask:
    """Two demonstrations of different sizes, and a test of one row for each solution."""
    shown = (Demonstration(input=EVERY_COLOUR, output=((7,),)), Demonstration(input=((8, 0), (0, 8)), output=((6, 6),)))
    asked = tuple(GridPair(input=((place + 1, 0, 5),), output=grid) for place, grid in enumerate(solutions))
    return ArcTask(id=name, domain="arc", train=shown, test=asked)


def a_vote(grid: Grid | None, error: str | None = None) -> Vote:
    return Vote(variant="flip_0", shown=(1, 0), prediction="…", grid=grid, error=error)


def an_answer(test_id: str, truth: Grid | None, votes: Sequence[Vote], **changed: Any) -> GridAnswer:
    """The attempts are the grids that were voted for, in their order."""
    attempts = tuple(dict.fromkeys(vote.grid for vote in votes if vote.grid))[:2]
    found = {
        "id": test_id,
        "prediction": numpy_text(attempts[0]) if attempts else "",
        "correct": truth in attempts if truth else None,
        "reason": None if truth else "no solution is known",
        "baseline_prediction": None,
        "baseline_correct": None,
        "attempts": attempts,
        "votes": tuple(votes),
        "baseline_attempts": (),
    }
    return GridAnswer.model_validate({**found, **changed})


def plain(task: ArcTask, *votes: Sequence[Vote], **changed: Any) -> Record:
    """The score line of the model as it is: for each test its votes."""
    asked = zip(voting.get_tests(task), votes, strict=True)
    answers = [an_answer(test_id, truth, cast, **changed) for (test_id, _, truth), cast in asked]
    return Record(task=task, score=make_score(answers, model="student", judge="grids"))


def an_edit(**changed: Any) -> SelfEdit:
    found = {"id": "edit", "sample": 3, "model": "editor", "template": "tools", "prompt": "Choose.", "completion": "{}"}
    more = {"finish": "stop", "tokens": 9, "sampling": {}, "error": None, "chosen": CHOSEN}
    return SelfEdit.model_validate({**found, **more, **changed})


def an_adapter(**changed: Any) -> Adapter:
    found = {"id": "adapter", "seed": 7, "model": "student", "path": "adapters/one", "fit": {}, "train": None}
    return Adapter.model_validate({**found, "fault": None, "error": None, **changed})


def adapted(task: ArcTask, *votes: Sequence[Vote], before: Grid | str = BEFORE, **changed: Any) -> Record:
    """The score line of an adapter, with what the plain model says first."""
    told = before if isinstance(before, str) else numpy_text(before)
    line = plain(task, *votes, **{"baseline_prediction": told, "baseline_correct": False, **changed})
    return line.grow(edit=an_edit(), adapter=an_adapter())


@dataclass(frozen=True)
class Asked:
    title: str
    panels: tuple[Panel, ...]


class View(list[Row]):
    """The rows of a line, by what they are."""

    @property
    def title(self) -> str:
        return self[0].text

    @property
    def facts(self) -> tuple[str, ...]:
        return tuple(row.text for row in self if row.style == "text" and not row.panels)

    @property
    def demonstrations(self) -> list[Row]:
        return [row for row in self if row.panels and row.panels[0].title != "input"]

    @property
    def tests(self) -> list[Asked]:
        return [Asked(one.text, other.panels) for one, other in pairwise(self) if one.style == "heading"]


def seen(line: Record, label: str = "") -> View:
    return View(make_view(line, label))


def of_test(line: Record) -> dict[str, Grid | None]:
    """The grids of the only test by their headings."""
    (strip,) = seen(line).tests
    return {panel.heading: panel.grid for panel in strip.panels}


MIXED = [a_vote(WRONG), a_vote(TRUTH), a_vote(WRONG), a_vote(None, "row 1 is not digits")]


# ---- what there is to see


def test_a_view_has_the_demonstrations_the_attempts_the_solution_and_the_model_before() -> None:
    found = seen(adapted(a_puzzle(), MIXED))
    first, second = found.demonstrations
    assert [(panel.title, panel.grid) for panel in (*first.panels, *second.panels)] == [
        ("input 1", EVERY_COLOUR),
        ("output 1", ((7,),)),
        ("input 2", ((8, 0), (0, 8))),
        ("output 2", ((6, 6),)),
    ]
    (asked,) = found.tests
    assert asked.title == "test: right"
    assert asked.panels == (
        Panel("input", ((1, 0, 5),)),
        Panel("attempt 1", WRONG, "2 of 4 votes", False),
        Panel("attempt 2", TRUTH, "1 of 4 votes", True),
        Panel("solution", TRUTH),
        Panel("without training", BEFORE, "", False),
    )


def test_a_title_tells_lines_of_a_task_apart_and_the_facts_say_what_was_chosen_and_how_it_did() -> None:
    found = seen(adapted(a_puzzle("0a1d4ef5"), MIXED), label="round 1")
    assert found.title == "round 1: 0a1d4ef5, self-edit 3, seed 7"
    assert found.facts == (
        "1 of 1 test right; 0 without training",
        "tools basic, chain; train_using_output_tokens; learning rate 0.0001; 2 epochs",
    )
    assert seen(Record(task=a_puzzle("0a1d4ef5"))).title == "0a1d4ef5"


def test_repairs_and_no_tools_are_told() -> None:
    chosen = CHOSEN.model_copy(update={"tools": (), "epochs": 1, "repairs": ("fence", "quotes")})
    line = Record(task=a_puzzle(), edit=an_edit(chosen=chosen))
    assert seen(line).facts == (
        "not answered yet",
        "no tools; train_using_output_tokens; learning rate 0.0001; 1 epoch; repaired: fence, quotes",
    )


def test_a_heading_says_right_or_wrong_and_a_caption_the_size_and_the_votes() -> None:
    assert [Panel("x", TRUTH, "", verdict).heading for verdict in (True, False, None)] == ["x ✓", "x ✗", "x"]
    assert Panel("x", TRUTH, "1 of 2 votes").caption == "3×2, 1 of 2 votes"
    assert (Panel("x", BEFORE).caption, Panel("x", None, "not known").caption) == ("1×3", "not known")


def test_a_failed_self_edit_has_no_attempt_and_says_why() -> None:
    line = adapted(a_puzzle(), [], prediction=None, reason=NOT_JSON, correct=False)
    failed = line.grow(
        edit=an_edit(chosen=None, error=NOT_JSON), adapter=an_adapter(path=None, fault="edit", error=NOT_JSON)
    )
    found = seen(failed)
    assert found.facts == ("0 of 1 test right; 0 without training", f"the self-edit failed: {NOT_JSON}")
    assert found.tests[0].title == f"test: wrong ({NOT_JSON})"
    assert found.tests[0].panels[1] == Panel("no attempt", None)


@pytest.mark.parametrize(("fault", "who"), [("edit", "self-edit"), ("training", "training")])
def test_an_adapter_that_failed_says_whose_fault_it_was(fault: str, who: str) -> None:
    line = Record(task=a_puzzle(), edit=an_edit(), adapter=an_adapter(path=None, fault=fault, error="diverged"))
    assert seen(line).facts[-1] == f"no adapter, the {who} failed: diverged"


def test_votes_that_are_all_unreadable_leave_an_empty_place() -> None:
    line = plain(a_puzzle(), [a_vote(None, "more than 30 rows")], reason="no prediction is a grid: more than 30 rows")
    (asked,) = seen(line).tests
    assert asked.title == "test: wrong (no prediction is a grid: more than 30 rows)"
    assert asked.panels[1] == Panel("no attempt", None, "none of 1 vote is a grid")
    assert seen(line).facts == ("0 of 1 test right", "without a self-edit: the model as it is")


def test_where_the_solution_is_unknown_nothing_is_called_right_or_wrong() -> None:
    line = adapted(a_puzzle(solutions=[None]), MIXED, baseline_correct=None)
    assert of_test(line) == {
        "input": ((1, 0, 5),),
        "attempt 1": WRONG,
        "attempt 2": TRUTH,
        "solution": None,
        "without training": BEFORE,
    }
    assert seen(line).tests[0].title == "test: unscored (no solution is known)"
    assert seen(line).facts[0] == "0 of 1 test right, 1 unscored"


def test_a_second_attempt_without_training_is_told_where_it_was_right() -> None:
    line = adapted(a_puzzle(), MIXED, baseline_correct=True)
    assert seen(line).tests[0].panels[-1] == Panel("without training", BEFORE, "second is right", False)
    known = adapted(a_puzzle(), MIXED, before=TRUTH, baseline_correct=True)
    assert seen(known).tests[0].panels[-1] == Panel("without training", TRUTH, "", True)


@pytest.mark.parametrize("text", ["", "no idea", "[[1 2]\n [3]]"])
def test_an_unreadable_prediction_without_training_is_an_empty_place(text: str) -> None:
    assert seen(adapted(a_puzzle(), MIXED, before=text)).tests[0].panels[-1] == Panel(
        "without training", None, "no grid"
    )


def test_answers_belong_to_tests_by_their_ids_not_by_their_places() -> None:
    line = plain(a_puzzle(solutions=[TRUTH, BEFORE]), [a_vote(TRUTH)], [a_vote(WRONG)])
    assert line.score is not None
    turned = line.grow(score=line.score.model_copy(update={"answers": line.score.answers[::-1]}))
    for each in (line, turned):
        first, second = seen(each).tests
        assert (first.title, second.title) == ("test 1: right", "test 2: wrong")
        assert (first.panels[1].grid, second.panels[1].grid) == (TRUTH, WRONG)
        assert (first.panels[2].grid, second.panels[2].grid) == (TRUTH, BEFORE)
        assert seen(each).facts[0] == "1 of 2 tests right"


def test_a_line_that_is_not_answered_shows_its_task() -> None:
    assert of_test(Record(task=a_puzzle())) == {"input": ((1, 0, 5),), "solution": TRUTH}
    assert seen(Record(task=a_puzzle())).facts == ("not answered yet",)


def test_what_the_stage_writes_in_context_is_one_vote() -> None:
    def solution(request: Request) -> str:
        return f"{numpy_text(TRUTH)}#"

    (line,) = evaluation.run(
        [Record(task=a_puzzle())], Backwards(solution), domain=Arc(), judge=ExactJudge(), in_context=True, chat=True
    )
    assert seen(line).tests[0].panels[1:] == (
        Panel("attempt 1", TRUTH, "1 of 1 vote", True),
        Panel("solution", TRUTH),
    )


def test_text_that_would_steer_a_terminal_or_a_picture_is_one_harmless_line() -> None:
    hostile = "\x1b[31mred\n\x07" + "x" * 500
    line = adapted(a_puzzle(), [], reason=hostile).grow(edit=an_edit(chosen=None, error=hostile))
    told = seen(line, label="a\x1b]0;owned\x07\nb")
    for text in (told.title, *told.facts, told.tests[0].title):
        assert text.isprintable()
        assert len(text) < 350


# ---- the file


def pixels(path: Path) -> Any:
    """(rows, columns, 3), 0 to 255."""
    image = pytest.importorskip("matplotlib.image").imread(path)
    return np.rint(255 * image[:, :, :3]).astype(int)


def read_back(path: Path, views: Sequence[View]) -> list[tuple[str, Grid]]:
    """(heading, grid) of each grid of the PNG, its colours taken from the middles of its cells."""
    pytest.importorskip("matplotlib")
    pictures.draw_grids(views, path)
    (axes,) = pictures.picture(views).axes
    image, found = pixels(path), []
    for mesh in axes.collections:
        corners = mesh.get_coordinates()
        x, y = corners[0, :, 0], corners[:, 0, 1]
        middles = [[image[int(sum(v) / 2), int(sum(h) / 2)] for h in pairwise(x)] for v in pairwise(y)]
        grid = tuple(tuple(COLOURS.index(tuple(map(int, colour))) for colour in row) for row in middles)
        found.append((heading(axes.texts, (x[0] + x[-1]) / 2, y[0]), grid))
    return found


def heading(texts: Sequence[Any], middle: float, top: float) -> str:
    """The text in the middle above a grid."""
    places = [(*text.get_position(), text.get_text()) for text in texts]
    return min((top - y, text) for x, y, text in places if abs(x - middle) < 1 and y < top)[1]


def test_every_cell_of_the_file_has_its_official_colour_and_every_grid_its_heading(tmp_path: Path) -> None:
    shown = seen(adapted(a_puzzle(), MIXED))
    assert read_back(tmp_path / "one.png", [shown]) == [
        ("input 1", EVERY_COLOUR),
        ("output 1", ((7,),)),
        ("input 2", ((8, 0), (0, 8))),
        ("output 2", ((6, 6),)),
        ("input", ((1, 0, 5),)),
        ("attempt 1 ✗", WRONG),
        ("attempt 2 ✓", TRUTH),
        ("solution", TRUTH),
        ("without training ✗", BEFORE),
    ]


def test_grids_stay_apart_from_each_other_and_cells_are_equally_large(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    large: Grid = tuple(tuple((row + column) % 10 for column in range(30)) for row in range(30))
    shown = tuple(Demonstration(input=large, output=large if place % 2 else TRUTH) for place in range(6))
    task = a_puzzle(solutions=[large, TRUTH]).model_copy(update={"train": shown})
    line = adapted(task, [a_vote(large), a_vote(TRUTH)], [a_vote(WRONG)])
    (axes,) = pictures.picture([seen(line), seen(Record(task=a_puzzle("other")))]).axes
    boxes = [mesh.get_coordinates() for mesh in axes.collections]
    for box in boxes:
        rows, columns = box.shape[0] - 1, box.shape[1] - 1
        assert (box[-1, -1] - box[0, 0]).tolist() == [12 * columns, 12 * rows]
    spans = [(*box[0, 0], *box[-1, -1]) for box in boxes]
    for place, (left, top, right, bottom) in enumerate(spans):
        assert left >= 0 and top >= 0 and right <= axes.get_xlim()[1] and bottom <= axes.get_ylim()[0]
        for x, y, far_x, far_y in spans[:place]:
            assert far_x + 9 < left or right + 9 < x or far_y + 9 < top or bottom + 9 < y


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_the_largest_picture_is_no_wall(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    large: Grid = ((3,) * 30,) * 30
    shown = (Demonstration(input=large, output=large),) * 6
    task = a_puzzle(solutions=[large]).model_copy(update={"train": shown})
    views = [seen(adapted(task, [a_vote(large), a_vote(TRUTH)]))] * pictures.MOST
    pictures.draw_grids(views[:1], tmp_path / "one.png")
    pictures.draw_grids(views, tmp_path / "all.png")
    width, height = size_of(tmp_path / "one.png")
    assert 1000 <= width <= 2400 and 1000 <= height <= 2400
    assert max(size_of(tmp_path / "all.png")) <= pictures.LONGEST


def test_small_grids_are_large_enough_to_see_and_sizes_differ(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (axes,) = pictures.picture([seen(Record(task=a_puzzle()))]).axes
    corners = [mesh.get_coordinates() for mesh in axes.collections]
    sizes = [tuple((each[-1, -1] - each[0, 0]).tolist()) for each in corners]
    assert sizes[:4] == [(210, 84), (42, 42), (84, 84), (84, 42)]


def frames(line: Record) -> list[tuple[float, ...]]:
    """The colours of the frames of the only test, 0 to 255."""
    from matplotlib.colors import to_rgb

    (axes,) = pictures.picture([seen(line)]).axes
    return [tuple(round(255 * part) for part in to_rgb(patch.get_edgecolor())) for patch in axes.patches[4:]]


def test_a_frame_is_green_where_it_is_right_and_red_where_it_is_wrong() -> None:
    pytest.importorskip("matplotlib")
    _, wrong, right, solution, before = frames(adapted(a_puzzle(), MIXED))
    assert right[1] > 1.5 * max(right[0], right[2])
    assert wrong == before
    assert wrong[0] > 1.5 * max(wrong[1:])
    assert len(set(solution)) == 1


def test_titles_facts_and_reasons_are_in_the_picture_and_within_its_width(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    line = adapted(a_puzzle(), MIXED).grow(edit=an_edit(chosen=None, error="why " * 60))
    shown = seen(line, label="ours")
    figure = pictures.picture([shown])
    figure.savefig(tmp_path / "one.png")
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert {shown.title, "1 of 1 test right; 0 without training", "test: right", "3×2, 2 of 4 votes"} <= set(texts)
    assert sum(text.count("why") for text in texts) == 60
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text


def test_dollars_and_foreign_scripts_in_a_name_are_no_formula_and_no_warning(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.draw_grids([seen(Record(task=a_puzzle("$x_{1$ 漢字")), label="$\\frac{$")], tmp_path / "one.png")


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_picture_is_written_in_the_format_of_its_name(name: str, start: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pictures.draw_grids([seen(adapted(a_puzzle(), MIXED))], tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_without_matplotlib_the_flag_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BadConfig) as caught:
        pictures.draw_grids([seen(Record(task=a_puzzle()))], tmp_path / "one.png")
    assert str(caught.value) == "--arc needs matplotlib: pip install 'seal-toolkit[plot]'"


@pytest.mark.paper_data
def test_every_task_of_the_papers_sets_is_drawn_as_it_is(tmp_path: Path) -> None:
    lines = [*tasks.run(str(arc_file("arc-agi_evaluation_challenges_filtered_1B_eval_set.json")))]
    drawn = [grid for _, grid in read_back(tmp_path / "all.png", [seen(line) for line in lines])]
    expected: list[Grid | None] = []
    for line in lines:
        assert isinstance(line.task, ArcTask)
        expected += [grid for pair in (*line.task.train, *line.task.test) for grid in (pair.input, pair.output)]
    assert len(lines) == 10
    assert drawn == [grid for grid in expected if grid]
