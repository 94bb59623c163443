"""A line for people, as rows of text and of grids: the terminal and a picture show the same rows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from stages.domains.base import Domain, TrainingSetup, load_domain
from stages.errors import BadEdit, one_line
from stages.records.arc import Grid
from stages.records.record import Record, SelfEdit
from stages.records.schema import TrainingData
from stages.records.thoughts import remove_thoughts

# of the colours 0 to 9, as on arcprize.org
PALETTE = ("#000000", "#0074D9", "#FF4136", "#2ECC40", "#FFDC00", "#AAAAAA", "#F012BE", "#FF851B", "#7FDBFF", "#870C25")
Style = Literal["title", "heading", "text", "label", "right", "wrong", "unscored", "detail"]
_STYLES: dict[bool | None, tuple[str, Style]] = {True: ("✓", "right"), False: ("✗", "wrong"), None: ("?", "unscored")}


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
    """A text, or an input grid and behind an arrow the grids that belong to it. A picture leaves details out."""

    text: str = ""
    style: Style = "text"
    panels: tuple[Panel, ...] = ()


def find_own_view(domain: Domain) -> Callable[[Record], Iterator[Row]] | None:
    """Return a domain's `make_view`, which yields the rows below a line's title; None for one whose lines are text.

    `seal report --arc` draws the lines of domains that have it. The line may have any sections.
    """
    return getattr(domain, "make_view", None)


def make_view(line: Record, label: str = "") -> list[Row]:
    """Lay out the sections that a line has, as its domain does or as text; with its file's label if there are several.

    Raises BadConfig for a domain that cannot be loaded.
    """
    task, domain = line.task, load_domain(line.task.domain)
    names = [f"{label}: {task.name}" if label else task.name, *([f"task {task.id}"] if task.name != task.id else [])]
    names += [sample] if (sample := name_sample(line)) else []
    own = find_own_view(domain)
    rows = own(line) if own else _view_text(line, domain)
    return [Row(one_line(", ".join(filter(None, names))), "title"), *rows]


def name_sample(line: Record) -> str:
    """Say which of a task's lines it is: self-edit, step and seed; "" where it has none of them."""
    names = [f"self-edit {line.edit.sample}"] if line.edit else []
    if line.adapter:
        names += [f"step {line.adapter.step.number}"] if line.adapter.step else []
        names += [f"seed {line.adapter.seed}"]
    return ", ".join(names)


def put_beside(rows: Iterable[Row], fits: Callable[[list[Row]], bool]) -> list[list[Row]]:
    """Put rows of grids that follow each other beside each other, as many as fit; a text stands alone."""
    lines: list[list[Row]] = []
    for row in rows:
        if lines and row.panels and lines[-1][0].panels and fits([*lines[-1], row]):
            lines[-1].append(row)
        else:
            lines.append([row])
    return lines


def _view_text(line: Record, domain: Domain) -> Iterator[Row]:
    """The passage, the self-edit, the training data, and the answers with verdicts."""
    yield from _view_part("passage", line.task.text)
    if line.edit:
        said = _shorten_thought(line.edit.completion)
        yield from _view_part(f"self-edit by {line.edit.model}, {line.edit.template}", said)
        yield from _view_part("it cannot be used", line.edit.error)
        yield from _view_sequences(line, line.edit, domain)
    if line.adapter:
        gate = line.adapter.step.gate if line.adapter.step else None
        refusal = f"refused: {gate.refusal}" if gate and gate.refusal else None
        yield from _view_part("adapter", line.adapter.error or refusal or line.adapter.path)
    yield from _view_answers(line, domain)
    yield Row()


def _shorten_thought(text: str) -> str:
    """The text behind a model's thoughts, of which only the length is told."""
    said = remove_thoughts(text)
    behind = "" if said is None else said.strip()
    left_out = len(text) - len(said or "")
    return f"(a thought of {left_out} characters) {behind}".strip() if left_out else behind


def _view_part(title: str, text: str | None) -> list[Row]:
    return [Row(one_line(title), "label"), Row(text.strip()), Row()] if text else []


def _view_sequences(line: Record, edit: SelfEdit, domain: Domain) -> Iterator[Row]:
    """The training sequences, split as the adapter's count says where there is one."""
    found: list[tuple[str, ...]] = []
    for split in (True, False):
        own = domain.set_up_training(TrainingSetup(domain.defaults.fit, split_newlines=split))
        try:
            data = own.show_data(line.task, edit)
        except BadEdit as error:
            yield from [] if edit.error else _view_part("it cannot be used", str(error))
            return
        found += [data.sequences] if isinstance(data, TrainingData) else []
    if not any(found):
        return
    trained = line.adapter.train.sequences if line.adapter and line.adapter.train else len(found[0])
    sequences = next((each for each in found if len(each) == trained), found[0])
    yield Row(f"{len(sequences)} training sequences", "label")
    yield from (Row(f"{number:>3}  {text}".replace("\n", "\n     ")) for number, text in enumerate(sequences, 1))
    yield Row()


def _view_answers(line: Record, domain: Domain) -> Iterator[Row]:
    """Each question with its gold answers, the prediction and its verdict, and the plain model's."""
    cases = dict(domain.get_cases(line.task))
    if line.score is None:
        yield Row(f"not answered yet: {len(cases)} questions")
        return
    value = "unscored" if line.score.value is None else f"{line.score.value:.2f}"
    before = "" if line.score.baseline is None else f", without the adapter {line.score.baseline:.2f}"
    judge = line.score.judge if line.score.likelihoods else f"the judge {line.score.judge}"
    yield Row(one_line(f"score {value}{before}, by {judge}"), "heading")
    for each in line.score.likelihoods:
        case = cases.get(each.id)
        numbers = ["unscored" if number is None else f"{number:.4f}" for number in (each.value, each.baseline)]
        behind = f" ({each.error})" if each.error else "" if each.baseline is None else f", before {numbers[1]}"
        yield Row(one_line(case.question if case else each.id))
        yield Row(one_line(f"  likelihood {numbers[0]}{behind}{f' of {each.gold}' if each.gold else ''}"))
    for answer in line.score.answers:
        if case := cases.get(answer.id):
            yield Row(one_line(case.question))
            yield Row(one_line(f"  gold      {' | '.join(case.golds)}"))
        said = "no answer" if answer.prediction is None else _shorten_thought(answer.prediction)
        mark, style = _STYLES[answer.correct]
        yield Row(one_line(f"  {mark} answer  {said}{f' ({answer.reason})' if answer.reason else ''}"), style)
        if answer.baseline_prediction is not None:
            mark, style = _STYLES[answer.baseline_correct]
            yield Row(one_line(f"  {mark} before  {_shorten_thought(answer.baseline_prediction)}"), style)
