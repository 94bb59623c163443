"""Lay out an ARC line for people: its grids with titles and captions, for a picture and for the terminal alike."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from stages.domains.arc.grid_text import BadGrid, read_grid
from stages.domains.arc.voting import get_tests
from stages.errors import one_line
from stages.records.arc import ArcTask, Grid, Vote
from stages.records.record import Record
from stages.records.score import AnyAnswer, GridAnswer
from stages.records.thoughts import remove_thoughts

_T = TypeVar("_T")
_VERDICTS = {True: "right", False: "wrong", None: "unscored"}


@dataclass(frozen=True)
class Panel:
    """A grid under its title. `right`: whether it is the solution; None if that does not apply or is unknown."""

    title: str
    grid: Grid | None  # None: there is none
    note: str = ""
    right: bool | None = None

    @property
    def heading(self) -> str:
        return self.title if self.right is None else f"{self.title} {'✓' if self.right else '✗'}"

    @property
    def caption(self) -> str:
        """The grid's rows × columns, and the note."""
        size = f"{len(self.grid)}×{len(self.grid[0])}" if self.grid else ""
        return ", ".join(filter(None, (size, self.note)))


@dataclass(frozen=True)
class Row:
    """An input, and after an arrow the grids that belong to it."""

    title: str
    panels: tuple[Panel, ...]
    votes: tuple[tuple[str, str, str, str], ...] = ()  # (variant, demonstrations, what it says, votes for the same)


@dataclass(frozen=True)
class View:
    """The layout of one line. `facts` say how it did and what it chose."""

    title: str
    facts: tuple[str, ...]
    demonstrations: tuple[Row, ...]
    tests: tuple[Row, ...]


def make_view(line: Record, task: ArcTask, label: str = "") -> View:
    """Lay out the sections that a line of this task has; with its file's label if there are several."""
    names = [f"{label}: {task.id}" if label else task.id]
    names += [f"self-edit {line.edit.sample}"] if line.edit else []
    names += [f"seed {line.adapter.seed}"] if line.adapter else []
    answers = {answer.id: answer for answer in line.score.answers} if line.score else {}
    tests = []
    for place, (test_id, test_input, truth) in enumerate(get_tests(task), 1):
        answer = answers.get(test_id)
        title = f"test {place}" if len(task.test) > 1 else "test"
        if answer:
            title += f": {_VERDICTS[answer.correct]}{f' ({one_line(answer.reason)})' if answer.reason else ''}"
        panels = Panel("input", test_input), *_list_answers(answer, truth)
        tests.append(Row(title, panels, tuple(_list_votes(answer, truth))))
    return View(
        title=one_line(", ".join(names)),
        facts=tuple(map(one_line, _list_facts(line))),
        demonstrations=tuple(
            Row("", (Panel(f"input {place}", pair.input), Panel(f"output {place}", pair.output)))
            for place, pair in enumerate(task.train, 1)
        ),
        tests=tuple(tests),
    )


def split_into_rows(items: Iterable[_T], fits: Callable[[list[_T]], bool]) -> list[list[_T]]:
    """Put as many items beside each other as fit, at least one, and the next ones below."""
    rows: list[list[_T]] = [[]]
    for item in items:
        if rows[-1] and not fits([*rows[-1], item]):
            rows.append([])
        rows[-1].append(item)
    return rows


def format_count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list_facts(line: Record) -> Iterator[str]:
    """How many tests are right, and were before; what the self-edit chose, or why it or its adapter failed."""
    edit, adapter, score = line.edit, line.adapter, line.score
    verdicts = [answer.correct for answer in score.answers] if score else []
    if score is None:
        yield "not answered yet"
    elif not verdicts:
        yield "unscored" if score.value is None else f"score {score.value:.2f}"
    else:
        unscored = f", {verdicts.count(None)} unscored" if None in verdicts else ""
        before = [answer.baseline_correct for answer in score.answers]
        plain = "" if None in before else f"; {before.count(True)} without training"
        yield f"{verdicts.count(True)} of {format_count(len(verdicts), 'test')} right{unscored}{plain}"
    if edit and edit.chosen:
        tools = f"tools {', '.join(edit.chosen.tools)}" if edit.chosen.tools else "no tools"
        rate, epochs = f"learning rate {edit.chosen.learning_rate:g}", format_count(edit.chosen.epochs, "epoch")
        repairs = [f"repaired: {', '.join(edit.chosen.repairs)}"] if edit.chosen.repairs else []
        yield "; ".join([tools, edit.chosen.strategy, rate, epochs, *repairs])
    if edit and edit.error:
        yield f"the self-edit failed: {edit.error}"
    elif adapter and adapter.error:
        yield f"no adapter, the {'self-edit' if adapter.fault == 'edit' else 'training'} failed: {adapter.error}"
    elif score and not edit:
        yield "without a self-edit: the model as it is"


def _list_answers(answer: AnyAnswer | None, truth: Grid | None) -> Iterator[Panel]:
    """The attempts or an empty place, the solution, and the first attempt without training.

    Of a second attempt without training the line says only whether it was right.
    """
    attempts, votes = (answer.attempts, answer.votes) if isinstance(answer, GridAnswer) else ((), ())
    for place, attempt in enumerate(attempts, 1):
        count = sum(vote.grid == attempt for vote in votes)
        note = f"{count} of {format_count(len(votes), 'vote')}" if votes else ""
        yield Panel(f"attempt {place}", attempt, note, attempt == truth if truth else None)
    if answer and not attempts:
        yield Panel("no attempt", None, f"none of {format_count(len(votes), 'vote')} is a grid" if votes else "")
    yield Panel("solution", truth, "" if truth else "not known")
    if answer and answer.baseline_prediction is not None:
        grid = read_grid(remove_thoughts(answer.baseline_prediction) or "")
        if isinstance(grid, BadGrid):
            yield Panel("without training", None, "no grid")
        else:
            second = "second is right" if answer.baseline_correct and grid != truth else ""
            yield Panel("without training", grid, second, grid == truth if truth else None)


def _list_votes(answer: AnyAnswer | None, truth: Grid | None) -> Iterator[tuple[str, str, str, str]]:
    """Every prediction: how the test was put, and what came of it."""
    votes: tuple[Vote, ...] = answer.votes if isinstance(answer, GridAnswer) else ()
    counts = Counter(vote.grid for vote in votes)
    for vote in votes:
        if vote.grid is None:
            says = f"{'no answer' if vote.prediction is None else 'unreadable'}: {vote.error}"
        else:
            says = "a grid" if truth is None else "right" if vote.grid == truth else "wrong"
        order = " ".join(str(place + 1) for place in vote.shown)
        yield vote.variant, order, says, str(counts[vote.grid]) if vote.grid else ""
