"""What there is to see of an ARC line: its grids with titles and captions, for a picture and for the terminal alike."""

from collections.abc import Iterator
from dataclasses import dataclass

from stages.domains.arc.grid_text import BadGrid, read_grid
from stages.domains.arc.voting import get_tests
from stages.errors import one_line
from stages.records.arc import ArcTask, Grid
from stages.records.record import AnyAnswer, GridAnswer, Record
from stages.records.thoughts import remove_thoughts

_VERDICTS = {True: "right", False: "wrong", None: "unscored"}


@dataclass(frozen=True)
class Panel:
    """A grid under its title. `right`: whether it is the solution; None where that is no question, or not known."""

    title: str
    grid: Grid | None  # None: there is none
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
class Row:
    """An input, and behind an arrow what comes of it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class View:
    """What there is to see of one line. `facts` say how it did and what it chose."""

    title: str
    facts: tuple[str, ...]
    demonstrations: tuple[Row, ...]
    tests: tuple[Row, ...]


def make_view(line: Record, task: ArcTask, label: str = "") -> View:
    """The line of this task, as far as it has come; with its file's label where there are several."""
    names = [f"{label}: {task.id}" if label else task.id]
    names += [f"self-edit {line.edit.sample}"] if line.edit else []
    names += [f"seed {line.adapter.seed}"] if line.adapter else []
    return View(
        title=one_line(", ".join(names)),
        facts=tuple(map(one_line, [_score_fact(line), *_edit_facts(line)])),
        demonstrations=tuple(
            Row("", (Panel(f"input {place}", pair.input), Panel(f"output {place}", pair.output)))
            for place, pair in enumerate(task.train, 1)
        ),
        tests=tuple(_list_tests(line, task)),
    )


def _score_fact(line: Record) -> str:
    """How many tests are right, and how many were before."""
    if line.score is None:
        return "not answered yet"
    verdicts = [answer.correct for answer in line.score.answers]
    if not verdicts:
        return "unscored" if line.score.value is None else f"score {line.score.value:.2f}"
    told = f"{verdicts.count(True)} of {format_count(len(verdicts), 'test')} right"
    told += f", {verdicts.count(None)} unscored" if None in verdicts else ""
    before = [answer.baseline_correct for answer in line.score.answers]
    return told if None in before else f"{told}; {before.count(True)} without training"


def _edit_facts(line: Record) -> Iterator[str]:
    """What the self-edit chose, or why it or its adapter failed."""
    edit, adapter = line.edit, line.adapter
    if edit and edit.chosen:
        tools = f"tools {', '.join(edit.chosen.tools)}" if edit.chosen.tools else "no tools"
        rate, epochs = f"learning rate {edit.chosen.learning_rate:g}", format_count(edit.chosen.epochs, "epoch")
        repairs = [f"repaired: {', '.join(edit.chosen.repairs)}"] if edit.chosen.repairs else []
        yield "; ".join([tools, edit.chosen.strategy, rate, epochs, *repairs])
    if edit and edit.error:
        yield f"the self-edit failed: {edit.error}"
    elif adapter and adapter.error:
        yield f"no adapter, the {'self-edit' if adapter.fault == 'edit' else 'training'} failed: {adapter.error}"
    elif line.score and not edit:
        yield "without a self-edit: the model as it is"


def format_count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list_tests(line: Record, task: ArcTask) -> Iterator[Row]:
    """Each test's input, attempts and solution, and what the model said without training."""
    answers = {answer.id: answer for answer in line.score.answers} if line.score else {}
    for place, (test_id, test_input, truth) in enumerate(get_tests(task), 1):
        answer = answers.get(test_id)
        title = f"test {place}" if len(task.test) > 1 else "test"
        if answer:
            reason = f" ({one_line(answer.reason)})" if answer.reason else ""
            title += f": {_VERDICTS[answer.correct]}{reason}"
        attempts = tuple(_list_attempts(answer, truth)) if answer else ()
        solution = Panel("solution", truth, "" if truth else "not known")
        yield Row(title, (Panel("input", test_input), *attempts, solution, *_before(answer, truth)))


def _list_attempts(answer: AnyAnswer, truth: Grid | None) -> Iterator[Panel]:
    """The attempts with their votes; where there is none, an empty place."""
    attempts, votes = (answer.attempts, answer.votes) if isinstance(answer, GridAnswer) else ((), ())
    for place, attempt in enumerate(attempts, 1):
        mine = sum(vote.grid == attempt for vote in votes)
        note = f"{mine} of {format_count(len(votes), 'vote')}" if votes else ""
        yield Panel(f"attempt {place}", attempt, note, attempt == truth if truth else None)
    if not attempts:
        yield Panel("no attempt", None, f"none of {format_count(len(votes), 'vote')} is a grid" if votes else "")


def _before(answer: AnyAnswer | None, truth: Grid | None) -> Iterator[Panel]:
    """The first attempt without training; of a second the line says only whether it was right."""
    if answer is None or answer.baseline_prediction is None:
        return
    grid = read_grid(remove_thoughts(answer.baseline_prediction) or "")
    if isinstance(grid, BadGrid):
        yield Panel("without training", None, "no grid")
    else:
        second = "second is right" if answer.baseline_correct and grid != truth else ""
        yield Panel("without training", grid, second, grid == truth if truth else None)
