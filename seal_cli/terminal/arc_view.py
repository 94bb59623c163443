"""Which lines `--arc` and `--view` of `seal report` show, and an ARC line in text: its grids and its votes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seal_cli.terminal.console import note, strip_control
from seal_cli.terminal.passage_view import print_text, view_line
from stages.domains.arc.plot import MOST, PALETTE, draw_grids
from stages.domains.arc.view import Panel, Row, format_count, make_view
from stages.domains.arc.voting import get_tests
from stages.errors import BadConfig, BadInput, one_line
from stages.records.arc import ArcTask, Grid, Vote
from stages.records.record import GridAnswer, Record, Score

_VIEWED = 3  # lines on the terminal
_NAMED = 10  # tasks in a message
_NO_SCORE = Score(value=None, baseline=None, model="", judge="", answers=())
ARROW, GAP, APART = " → ", "   ", "      "  # behind an input, between grids, between strips
_STYLES = {None: "dim", True: "bold green", False: "bold red"}


@dataclass
class Picks:
    """The lines that --arc and --view show, noted while another reader goes through them."""

    arc: Path | None
    view: bool
    tasks: tuple[str, ...]  # only lines of these; of all where there are none
    labelled: bool  # lines are shown with the label of their file
    lines: list[tuple[str, Record]] = field(default_factory=list)  # the first MOST
    count: int = 0
    unscored: int = 0  # lines that have no score, of all
    known: dict[str, None] = field(default_factory=dict)  # tasks of all lines, in their order

    def __post_init__(self) -> None:
        if self.tasks and not self.wanted:
            raise BadConfig(f"--task {self.tasks[0]}: picks lines for --arc FILE.png and --view; give one of them, too")

    @property
    def wanted(self) -> bool:
        return self.view or self.arc is not None

    def passing(self, label: str, records: Iterable[Record]) -> Iterator[Record]:
        """The records, each with a score, which whoever makes a table expects; of `unscored` ones it has nothing."""
        for record in records:
            if self.wanted:
                self.known[record.task.id] = None
                if not self.tasks or record.task.id in self.tasks:
                    self.pick(label, record)
            self.unscored += record.score is None
            yield record if record.score else record.grow(score=_NO_SCORE)

    def pick(self, label: str, record: Record) -> None:
        if self.arc and not isinstance(record.task, ArcTask):
            told = f"{label}: task {record.task.name!r} is about a passage; --arc draws ARC tasks"
            raise BadInput(f"{told} (leave --arc out, take --view, or pick lines with --task ID)")
        self.count += 1
        if len(self.lines) < MOST:
            self.lines.append((label if self.labelled else "", record))

    def check(self) -> None:
        """Raise BadConfig for a task that no line is about."""
        for task in self.tasks:
            if task not in self.known:
                named = [*self.known][:_NAMED]
                more = f" and {len(self.known) - _NAMED} more" if len(self.known) > _NAMED else ""
                raise BadConfig(f"--task {task}: no line is about it; there are {', '.join(named)}{more}")

    def show(self, console: Console) -> None:
        """The lines in text on the console, the picture into its file, and how to see what is left out."""
        if self.unscored:
            note(
                f"seal report: no table: {format_count(self.unscored, 'line')} without a score (run `seal eval` first)"
            )
        if self.view:
            for label, record in self.lines[:_VIEWED]:
                if isinstance(record.task, ArcTask):
                    _view_grids(console, record, label)
                else:
                    view_line(console, record, record.task, label)
            self.tell_rest("the view", _VIEWED, ", or with `head -1 FILE | seal report - --view`")
        if self.arc and self.lines:
            draw_grids([make_view(record, _arc_task(record), label) for label, record in self.lines], self.arc)
            note(f"seal report: grids in {self.arc}")
            self.tell_rest(str(self.arc), MOST)

    def tell_rest(self, where: str, most: int, other: str = "") -> None:
        if self.count > most:
            note(f"seal report: {where} shows the first {most} of {self.count} lines; pick with --task ID{other}")


@dataclass(frozen=True)
class Block:
    """Lines of text that are equally wide: a grid under its heading, over its caption."""

    lines: tuple[Text, ...]
    width: int


def _arc_task(line: Record) -> ArcTask:
    """The line's task. Raises BadInput for another domain's."""
    if not isinstance(line.task, ArcTask):
        raise BadInput(f"task {line.task.name!r} is about a passage, which has no grids")
    return line.task


def _view_grids(console: Console, line: Record, label: str = "") -> None:
    """One line as far as it has come: demonstrations, tests, attempts, solutions, votes."""
    task = _arc_task(line)
    seen = make_view(line, task, label)
    print_text(console, seen.title, "bold")
    for fact in seen.facts:
        print_text(console, fact)
    _show_strips(console, seen.demonstrations)
    answers = {answer.id: answer for answer in line.score.answers} if line.score else {}
    for strip, (test_id, _, truth) in zip(seen.tests, get_tests(task), strict=True):
        print_text(console, strip.title, "bold")
        _show_strips(console, [strip])
        answer = answers.get(test_id)
        if isinstance(answer, GridAnswer) and answer.votes:
            _show_votes(console, answer, truth)


# ---- grids


def _show_strips(console: Console, strips: Sequence[Row]) -> None:
    """Grids side by side, each strip on lines of its own where the next does not fit beside it."""
    widest = max(len(panel.grid[0]) for strip in strips for panel in strip.panels if panel.grid)
    cell = 2 if 2 * widest + len(ARROW) <= console.width else 1
    digits = console.no_color or console.color_system is None
    row: list[Block] = []
    for strip in strips:
        made = [*_blocks(strip, cell, digits)]
        if row and sum(block.width for block in (*row, _between(APART), *made)) > console.width:
            _show_row(console, row)
            row = []
        row += [*([_between(APART)] if row else []), *made]
    _show_row(console, row)


def _blocks(strip: Row, cell: int, digits: bool) -> Iterator[Block]:
    """A strip's grids with what stands between them: an arrow behind the input, then gaps."""
    for place, panel in enumerate(strip.panels):
        if place:
            yield _between(ARROW if place == 1 else GAP)
        yield _block(panel, cell, digits)


def _between(text: str) -> Block:
    return Block((Text(text),), len(text))


def _block(panel: Panel, cell: int, digits: bool) -> Block:
    rows = [_cells(row, cell, digits) for row in panel.grid] if panel.grid else [Text("(none)")]
    lines = [Text(strip_control(panel.heading), _STYLES[panel.right]), *rows, Text(strip_control(panel.caption), "dim")]
    return Block(tuple(lines), max(line.cell_len for line in lines))


def _cells(row: Sequence[int], cell: int, digits: bool) -> Text:
    """A row of a grid: coloured backgrounds, or digits with a point for 0."""
    if digits:
        return Text((" " * (cell - 1)).join(str(colour) if colour else "." for colour in row))
    return Text.assemble(*((" " * cell, f"on {PALETTE[colour]}") for colour in row))


def _show_row(console: Console, row: Sequence[Block]) -> None:
    """Blocks beside each other, and below each other where the terminal is too narrow."""
    part: list[Block] = []
    for each in row:
        if part and sum(block.width for block in (*part, each)) > console.width:
            _show_beside(console, part)
            part = []
        part += [each] if part or each.lines[0].plain.strip() else []
    _show_beside(console, part)


def _show_beside(console: Console, row: Sequence[Block]) -> None:
    """What is shorter than the rest is in the middle of the height."""
    tall = max(len(block.lines) for block in row)
    columns = [(Text(),) * ((tall - len(block.lines)) // 2) + block.lines for block in row]
    for parts in zip_longest(*columns, fillvalue=Text()):
        line, end = Text(), 0
        for part, each in zip(parts, row, strict=True):
            line.append(" " * (end - line.cell_len) if part else "").append_text(part)
            end += each.width
        console.print(line, no_wrap=True, overflow="crop", crop=True)
    console.print()


# ---- votes


def _show_votes(console: Console, answer: GridAnswer, truth: Grid | None) -> None:
    """Every prediction: how the test was put, and what came of it."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("variant", "demonstrations", "says", "votes for it"):
        drawn.add_column(column, style="dim" if column == "variant" else "")
    found = Counter(vote.grid for vote in answer.votes if vote.grid)
    for vote in answer.votes:
        order = " ".join(str(place + 1) for place in vote.shown)
        told = [vote.variant, order, _outcome(vote, answer, truth), str(found[vote.grid]) if vote.grid else ""]
        drawn.add_row(*(Text(strip_control(one_line(cell))) for cell in told))
    console.print(drawn)
    kinds = Counter(_outcome(vote, answer, truth).partition(":")[0] for vote in answer.votes)
    print_text(
        console, f"{format_count(len(answer.votes), 'vote')}: {', '.join(f'{kinds[kind]} {kind}' for kind in kinds)}\n"
    )


def _outcome(vote: Vote, answer: GridAnswer, truth: Grid | None) -> str:
    """`right`, `wrong`, `a grid` where nobody knows, `unreadable: …`, or `no answer: …` where the engine failed."""
    if vote.grid is None:
        return f"{'no answer' if vote.prediction is None else 'unreadable'}: {vote.error}"
    return "a grid" if truth is None else "right" if vote.grid == truth else "wrong"
