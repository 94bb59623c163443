"""Show a line as text: the passage, the self-edit, the training data, and the answers with verdicts."""

from rich.console import Console
from rich.text import Text

from seal_cli.terminal.console import strip_control
from stages.domains.base import Domain, TrainingSetup, load_domain
from stages.errors import one_line
from stages.records.record import Record, SelfEdit
from stages.records.schema import TrainingData
from stages.records.task import QaTask, Task
from stages.records.thoughts import remove_thoughts

_MARKS = {True: ("✓", "bold green"), False: ("✗", "bold red"), None: ("?", "bold yellow")}  # by verdict


def print_text(console: Console, text: str, style: str = "") -> None:
    """Print text of a model or a file, without control characters and markup."""
    console.print(Text(strip_control(text), style))


def view_line(console: Console, line: Record, task: QaTask | Task, label: str = "") -> None:
    """Show the sections that a line of this task has."""
    domain = load_domain(task.domain)
    names = [f"{label}: {task.name}" if label else task.name, *([f"task {task.id}"] if task.name != task.id else [])]
    names += [f"self-edit {line.edit.sample}"] if line.edit else []
    names += [f"seed {line.adapter.seed}"] if line.adapter else []
    print_text(console, one_line(", ".join(filter(None, names))), "bold")
    _print_part(console, "passage", task.text)
    if line.edit:
        _print_part(
            console, f"self-edit by {line.edit.model}, {line.edit.template}", _shorten_thought(line.edit.completion)
        )
        _print_part(console, "it cannot be used", line.edit.error)
        _print_sequences(console, line, line.edit, domain)
    if line.adapter:
        _print_part(console, "adapter", line.adapter.error or line.adapter.path)
    _print_answers(console, line, domain)


def _shorten_thought(text: str) -> str:
    """What a model said behind its thoughts, of which only the length is told."""
    said = remove_thoughts(text)
    behind = "" if said is None else said.strip()
    left_out = len(text) - len(said or "")
    return f"(a thought of {left_out} characters) {behind}".strip() if left_out else behind


def _print_part(console: Console, title: str, text: str | None) -> None:
    if text:
        print_text(console, one_line(title), "dim")
        print_text(console, text.strip())
        console.print()


def _print_sequences(console: Console, line: Record, edit: SelfEdit, domain: Domain) -> None:
    """The training sequences, split as the adapter's count says where there is one."""
    config = domain.defaults.fit
    ways = [domain.set_up_training(TrainingSetup(config, split_newlines=split)) for split in (True, False)]
    data = [way.show_data(line.task, edit) for way in ways]
    found = [each.sequences for each in data if isinstance(each, TrainingData)]
    trained = line.adapter.train.sequences if line.adapter and line.adapter.train else len(found[0])
    sequences = next((each for each in found if len(each) == trained), found[0])
    if sequences:
        print_text(console, f"{len(sequences)} training sequences", "dim")
        for number, sequence in enumerate(sequences, 1):
            print_text(console, f"{number:>3}  {sequence}".replace("\n", "\n     "))
        console.print()


def _print_answers(console: Console, line: Record, domain: Domain) -> None:
    """Each question with its gold answers, the prediction and its verdict, and the plain model's."""
    cases = dict(domain.get_cases(line.task))
    if line.score is None:
        print_text(console, f"not answered yet: {len(cases)} questions\n")
        return
    value = "unscored" if line.score.value is None else f"{line.score.value:.2f}"
    before = "" if line.score.baseline is None else f", without the adapter {line.score.baseline:.2f}"
    print_text(console, one_line(f"score {value}{before}, by the judge {line.score.judge}"), "bold")
    for answer in line.score.answers:
        case = cases.get(answer.id)
        if case:
            print_text(console, one_line(case.question))
            print_text(console, one_line(f"  gold      {' | '.join(case.golds)}"))
        said = "no answer" if answer.prediction is None else _shorten_thought(answer.prediction)
        why = f" ({answer.reason})" if answer.reason else ""
        mark, style = _MARKS[answer.correct]
        print_text(console, one_line(f"  {mark} answer  {said}{why}"), style)
        if answer.baseline_prediction is not None:
            mark, style = _MARKS[answer.baseline_correct]
            print_text(console, one_line(f"  {mark} before  {_shorten_thought(answer.baseline_prediction)}"), style)
    console.print()
