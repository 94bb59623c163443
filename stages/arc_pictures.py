"""ARC lines as people know them: coloured grids, each input with what comes of it, on one sheet a line.

`sheet` says what there is to see, `compose` where on the page it goes, `draw` is the only part that needs matplotlib.
Lengths are in dots, DOTS to the inch, so that cells are whole dots of a PNG.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

from stages.arc_records import ArcChoice, ArcTask
from stages.domains.arc_text import BadGrid, read_grid
from stages.domains.arc_votes import tests_of
from stages.failures import BadConfig
from stages.grids import Grid
from stages.lines import one_line
from stages.records import AnyAnswer, GridAnswer, Record

PALETTE = (  # the colours of arcprize.org, 0 to 9
    *("#000000", "#0074D9", "#FF4136", "#2ECC40", "#FFDC00"),
    *("#AAAAAA", "#F012BE", "#FF851B", "#7FDBFF", "#870C25"),
)
VERDICTS = {True: "right", False: "wrong", None: "unscored"}
MOST = 20  # sheets on a page
DOTS = 150  # an inch


@dataclass(frozen=True)
class Panel:
    """A grid under its title. `right`: whether it is the solution; None where that is no question, or not known."""

    title: str
    grid: Grid | None  # None: there is none, for what `note` says
    note: str = ""
    right: bool | None = None

    @property
    def heading(self) -> str:
        return self.title if self.right is None else f"{self.title} {'✓' if self.right else '✗'}"

    @property
    def caption(self) -> str:
        """Rows × columns, and the note."""
        size = f"{len(self.grid)}×{len(self.grid[0])}" if self.grid else ""
        return ", ".join(filter(None, (size, self.note)))


@dataclass(frozen=True)
class Strip:
    """An input, and behind an arrow what comes of it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Sheet:
    """What there is to see of one line. `facts` say what it chose and how it did."""

    title: str
    facts: tuple[str, ...]
    demonstrations: tuple[Strip, ...]
    tests: tuple[Strip, ...]


# ---- what there is to see


def sheet(line: Record, task: ArcTask, label: str = "") -> Sheet:
    """The line of this task, as far as it has come; with its file's label where there are several."""
    names = [f"{label}: {task.id}" if label else task.id]
    names += [f"self-edit {line.edit.sample}"] if line.edit else []
    names += [f"seed {line.adapter.seed}"] if line.adapter else []
    return Sheet(
        title=one_line(", ".join(names)),
        facts=tuple(one_line(fact) for fact in (score_fact(line), *edit_facts(line)) if fact),
        demonstrations=tuple(
            Strip("", (Panel(f"input {place}", pair.input), Panel(f"output {place}", pair.output)))
            for place, pair in enumerate(task.train, 1)
        ),
        tests=tuple(strips_of_tests(task, answers_of(line))),
    )


def answers_of(line: Record) -> Mapping[str, AnyAnswer]:
    """The answers by the ids of their tests."""
    return {answer.id: answer for answer in line.score.answers} if line.score else {}


def score_fact(line: Record) -> str:
    """How many tests are right, and how many were before."""
    if line.score is None:
        return "not answered yet"
    answers = line.score.answers
    if not answers:
        return "unscored" if line.score.value is None else f"score {line.score.value:.2f}"
    told = f"{sum(answer.correct is True for answer in answers)} of {counted(len(answers), 'test')} right"
    unscored = sum(answer.correct is None for answer in answers)
    told += f", {unscored} unscored" if unscored else ""
    before = [answer.baseline_correct for answer in answers]
    return told if None in before else f"{told}; {before.count(True)} without training"


def edit_facts(line: Record) -> Iterator[str]:
    """What the self-edit chose, or why it or its adapter failed."""
    edit, adapter = line.edit, line.adapter
    if edit is None:
        yield "no self-edit: the model as it is" if line.score else ""
        return
    if edit.chosen:
        yield choice_fact(edit.chosen)
    if edit.error:
        yield f"the self-edit failed: {edit.error}"
    if adapter and adapter.error and adapter.error != edit.error:
        yield f"no adapter, {adapter.fault or 'training'} failed: {adapter.error}"


def choice_fact(chosen: ArcChoice) -> str:
    tools = f"tools {', '.join(chosen.tools)}" if chosen.tools else "no tools"
    repairs = [f"repaired: {', '.join(chosen.repairs)}"] if chosen.repairs else []
    trained = [chosen.strategy, f"learning rate {chosen.learning_rate:g}", counted(chosen.epochs, "epoch")]
    return "; ".join([tools, *trained, *repairs])


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def strips_of_tests(task: ArcTask, answers: Mapping[str, AnyAnswer]) -> Iterator[Strip]:
    """Each test's input, attempts, solution, and what the model said without training."""
    for place, (test_id, test_input, truth) in enumerate(tests_of(task), 1):
        answer = answers.get(test_id)
        told = f"test {place}" if len(task.test) > 1 else "test"
        if answer:
            told += f": {VERDICTS[answer.correct]}" + (f" ({one_line(answer.reason)})" if answer.reason else "")
        panels = [Panel("input", test_input), *(attempt_panels(answer, truth) if answer else ())]
        panels += [Panel("solution", truth)] if truth else [Panel("solution", None, "not known")]
        panels += [before_panel(answer, truth)] if answer and answer.baseline_prediction is not None else []
        yield Strip(told, tuple(panels))


def attempt_panels(answer: AnyAnswer, truth: Grid | None) -> Iterator[Panel]:
    """The attempts with their votes; where there is none, an empty place."""
    votes = [vote.grid for vote in answer.votes] if isinstance(answer, GridAnswer) else []
    for place, attempt in enumerate(attempts_of(answer), 1):
        note = f"{votes.count(attempt)} of {counted(len(votes), 'vote')}" if votes else ""
        yield Panel(f"attempt {place}", attempt, note, compared(attempt, truth))
    if not attempts_of(answer):
        yield Panel("no attempt", None, f"none of {counted(len(votes), 'vote')}" if votes else "")


def attempts_of(answer: AnyAnswer) -> tuple[Grid, ...]:
    if isinstance(answer, GridAnswer):
        return answer.attempts
    found = read_grid(answer.prediction or "")
    return () if isinstance(found, BadGrid) else (found,)


def before_panel(answer: AnyAnswer, truth: Grid | None) -> Panel:
    """The first attempt without training; of a second the line says only whether it was right."""
    found = read_grid(answer.baseline_prediction or "")
    if isinstance(found, BadGrid):
        return Panel("without training", None, "no grid")
    right = compared(found, truth)
    return Panel("without training", found, "second is right" if answer.baseline_correct and not right else "", right)


def compared(grid: Grid, truth: Grid | None) -> bool | None:
    return None if truth is None else grid == truth


# ---- where it goes


MARGIN, GAP, ARROW, BETWEEN = 45, 40, 45, 60  # dots: at the edge, between panels, for the arrow, between strips
LINE, LARGE, SMALL = 24, 12, 7.5  # dots from a line of text to the next; points
WIDEST, NARROWEST, LONGEST = 1800, 1000, 24_000  # dots: a row that is filled, a page, the side of a PNG
NO_GRID = (130, 90)  # dots
INK, PALE, GREEN, RED = "#222222", "#777777", "#1A9850", "#D62728"


@dataclass(frozen=True)
class Tile:
    """A panel, and the upper left corner of its grid."""

    panel: Panel
    x: int
    y: int


@dataclass(frozen=True)
class Words:
    """Text with the middle of its line at y, and its middle, or beginning, at x."""

    text: str
    x: float
    y: float
    points: float = SMALL
    colour: str = PALE
    middle: bool = True


@dataclass
class Page:
    """What is placed so far, from the top down. `cell`: the side of a cell."""

    cell: int
    width: int
    height: int = MARGIN
    tiles: list[Tile] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)

    def write(self, text: str, points: float = SMALL, colour: str = PALE) -> None:
        """Text over the whole width, in as many lines as it needs."""
        for part in wrap(text, int((self.width - 2 * MARGIN) / text_width("x", points))):
            self.words.append(Words(part, MARGIN, self.height + LINE / 2, points, colour, middle=False))
            self.height += round(LINE * max(1, points / SMALL))

    def add_row(self, strips: Sequence[Strip]) -> None:
        """Strips beside each other, their grids in the middle of the row's height."""
        tall = max(size_of(panel, self.cell)[1] for strip in strips for panel in strip.panels)
        x, top = MARGIN, self.height + LINE
        for strip in strips:
            for place, panel in enumerate(strip.panels):
                if place == 1:
                    self.words.append(Words("→", x + (ARROW - GAP) / 2, top + tall / 2, LARGE, INK))
                    x += ARROW
                wide, high = size_of(panel, self.cell)
                slot = slot_width(panel, self.cell)
                self.place(panel, x + (slot - wide) // 2, top + (tall - high) // 2)
                x += slot + GAP
            x += BETWEEN - GAP
        self.height = top + tall + 2 * LINE

    def place(self, panel: Panel, x: int, y: int) -> None:
        wide, high = size_of(panel, self.cell)
        colour = PALE if panel.right is None else GREEN if panel.right else RED
        self.tiles.append(Tile(panel, x, y))
        self.words.append(Words(panel.heading, x + wide / 2, y - LINE / 2 - 3, colour=colour))
        self.words.append(Words(panel.caption, x + wide / 2, y + high + LINE / 2 + 3))


def compose(sheets: Sequence[Sheet]) -> Page:
    """The sheets below each other; cells are equally large on the whole page."""
    grids = [panel.grid for each in sheets for strip in (*each.demonstrations, *each.tests) for panel in strip.panels]
    cell = max(12, min(42, 360 // max(max(len(grid), len(grid[0])) for grid in grids if grid)))
    found = [(each, [*flow(each.demonstrations, cell)]) for each in sheets]
    rows = [row for each, shown in found for row in (*shown, *([test] for test in each.tests))]
    widest = max(sum(strip_width(strip, cell) for strip in row) for row in rows) - BETWEEN
    page = Page(cell, max(NARROWEST, widest + 2 * MARGIN))
    for each, shown in found:
        page.write(each.title, LARGE, INK)
        for fact in each.facts:
            page.write(fact, 8.5)
        page.height += LINE // 2
        for row in shown:
            page.add_row(row)
        for test in each.tests:
            page.write(test.title, 9, INK)
            page.add_row([test])
        page.height += MARGIN
    return page


def flow(strips: Sequence[Strip], cell: int) -> Iterator[list[Strip]]:
    """As many strips to a row as it holds."""
    row: list[Strip] = []
    for strip in strips:
        if row and sum(strip_width(each, cell) for each in (*row, strip)) > WIDEST:
            yield row
            row = []
        row.append(strip)
    yield row


def size_of(panel: Panel, cell: int) -> tuple[int, int]:
    """Width and height of the grid, or of the empty place."""
    return (cell * len(panel.grid[0]), cell * len(panel.grid)) if panel.grid else NO_GRID


def slot_width(panel: Panel, cell: int) -> int:
    return max(size_of(panel, cell)[0], *(text_width(text) for text in (panel.heading, panel.caption)))


def strip_width(strip: Strip, cell: int) -> int:
    return sum(slot_width(panel, cell) + GAP for panel in strip.panels) + ARROW + BETWEEN - GAP


def text_width(text: str, points: float = SMALL) -> int:
    """Roughly, in the sans serif that matplotlib brings along."""
    return round(0.56 * points * len(text) * DOTS / 72)


# ---- the picture


def draw(sheets: Sequence[Sheet], path: Path) -> None:
    """The page as PNG, PDF or SVG by the file's ending. Raises BadConfig where matplotlib is not installed."""
    try:
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise BadConfig("--arc needs matplotlib: pip install 'seal-toolkit[plot]'") from None
    page = compose(sheets)
    figure: Any = Figure(figsize=(page.width / DOTS, page.height / DOTS), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, page.width), ylim=(page.height, 0))
    axes.set_axis_off()
    for tile in page.tiles:
        draw_tile(axes, tile, page.cell, ListedColormap(PALETTE))
    for words in page.words:
        place = {"ha": "center" if words.middle else "left", "va": "center", "parse_math": False}
        axes.text(words.x, words.y, words.text, fontsize=words.points, color=words.colour, **place)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font lacks
        figure.savefig(path, dpi=min(DOTS, DOTS * LONGEST // max(page.width, page.height)))


def draw_tile(axes: Any, tile: Tile, cell: int, colours: Any) -> None:
    """The cells with thin lines between them, and a frame that says right or wrong."""
    panel, (wide, high) = tile.panel, size_of(tile.panel, cell)
    frame = {"fill": False, "edgecolor": INK, "linewidth": 1.0}
    if panel.right is not None:
        frame |= {"edgecolor": GREEN if panel.right else RED, "linewidth": 2.6}
    if panel.grid:
        x, y = ([start + cell * n for n in range(side // cell + 1)] for start, side in ((tile.x, wide), (tile.y, high)))
        axes.pcolormesh(x, y, panel.grid, cmap=colours, vmin=0, vmax=9, edgecolors="#6E6E6E", linewidth=cell / 50)
    else:
        frame |= {"edgecolor": "#BBBBBB", "linestyle": "--"}
    edge = 0 if panel.right is None else 4
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((tile.x - edge, tile.y - edge), wide + 2 * edge, high + 2 * edge, **frame))
