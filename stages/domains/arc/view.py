"""An ARC line for people: its grids, what its self-edit chose, and who voted for what."""

from collections import Counter
from collections.abc import Iterator

from stages.domains.arc.grid_text import BadGrid, read_grid
from stages.domains.arc.voting import get_tests
from stages.domains.views import Panel, Row
from stages.errors import one_line
from stages.records.arc import ArcTask, Grid, Vote
from stages.records.record import Record
from stages.records.score import AnyAnswer, GridAnswer
from stages.records.thoughts import remove_thoughts

_WIDEST = 60  # letters of a column of votes, where a longer one stands out
_VERDICTS = {True: "right", False: "wrong", None: "unscored"}


def view_grids(line: Record, task: ArcTask) -> Iterator[Row]:
    """Yield the rows of a line: the facts, each demonstration, and each test with its answer, if it has one."""
    yield from (Row(one_line(fact)) for fact in _list_facts(line))
    for place, pair in enumerate(task.train, 1):
        yield Row(panels=(Panel(f"input {place}", pair.input), Panel(f"output {place}", pair.output)))
    answers = {answer.id: answer for answer in line.score.answers} if line.score else {}
    for place, (test_id, test_input, truth) in enumerate(get_tests(task), 1):
        answer = answers.get(test_id)
        title = f"test {place}" if len(task.test) > 1 else "test"
        if answer:
            title += f": {_VERDICTS[answer.correct]}{f' ({one_line(answer.reason)})' if answer.reason else ''}"
        yield Row(title, "heading")
        yield Row(panels=(Panel("input", test_input), *_list_answers(answer, truth)))
        if isinstance(answer, GridAnswer) and answer.votes:
            yield from _list_votes(answer.votes, truth)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list_facts(line: Record) -> Iterator[str]:
    """The numbers of tests right now and before, and the self-edit's choice, or why it or its adapter failed."""
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
        yield f"{verdicts.count(True)} of {_count(len(verdicts), 'test')} right{unscored}{plain}"
    if edit and edit.chosen:
        tools = f"tools {', '.join(edit.chosen.tools)}" if edit.chosen.tools else "no tools"
        rate, epochs = f"learning rate {edit.chosen.learning_rate:g}", _count(edit.chosen.epochs, "epoch")
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
        note = f"{count} of {_count(len(votes), 'vote')}" if votes else ""
        yield Panel(f"attempt {place}", attempt, note, attempt == truth if truth else None)
    if answer and not attempts:
        yield Panel("no attempt", None, f"none of {_count(len(votes), 'vote')} is a grid" if votes else "")
    yield Panel("solution", truth, "" if truth else "not known")
    if answer and answer.baseline_prediction is not None:
        grid = read_grid(remove_thoughts(answer.baseline_prediction) or "")
        if isinstance(grid, BadGrid):
            yield Panel("without training", None, "no grid")
        else:
            second = "second is right" if answer.baseline_correct and grid != truth else ""
            yield Panel("without training", grid, second, grid == truth if truth else None)


def _list_votes(votes: tuple[Vote, ...], truth: Grid | None) -> Iterator[Row]:
    """Every prediction: how the test was put, what came of it, and how many said the same; then a count of them."""
    counts, kinds = Counter(vote.grid for vote in votes), Counter[str]()
    table = [("variant", "demonstrations", "says", "votes for it")]
    for vote in votes:
        kind = "a grid" if truth is None else "right" if vote.grid == truth else "wrong"
        if vote.grid is None:
            kind = "no answer" if vote.prediction is None else "unreadable"
        kinds[kind] += 1
        order = " ".join(str(place + 1) for place in vote.shown)
        says, count = (kind, str(counts[vote.grid])) if vote.grid else (f"{kind}: {vote.error}", "")
        table.append((one_line(vote.variant), order, one_line(says), count))
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*table, strict=True)]
    for cells in table:
        yield Row("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), "detail")
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    yield from (Row(f"{_count(len(votes), 'vote')}: {told}", "detail"), Row(style="detail"))
