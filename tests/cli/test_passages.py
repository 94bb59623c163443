"""A line about a passage in text: what a model said, not how long it thought."""

import io

from rich.console import Console

from seal_cli.terminal.line_view import print_view
from stages.domains.views import make_view
from stages.records.record import Record
from stages.records.score import make_score
from tests.invented import a_line, a_task, an_edit

THOUGHT = "<think>\n" + "Ada? " * 200 + "\n</think>\n\n"
LENGTH = len(THOUGHT.rstrip())


def seen(line: Record) -> str:
    file = io.StringIO()
    print_view(Console(file=file, width=200), make_view(line))
    return file.getvalue()


def test_of_a_thought_only_its_length_is_shown() -> None:
    line = a_line(a_task(), [True, None], completion=f"{THOUGHT}Ada is tall.")
    assert line.score is not None
    first, second = line.score.answers
    first = first.model_copy(update={"prediction": f"{THOUGHT}Velm", "baseline_prediction": f"{THOUGHT}a town"})
    second = second.model_copy(update={"prediction": "<think>\nAda?", "reason": "it thought on"})
    text = seen(line.grow(score=make_score([first, second], model="student", judge="exact")))
    assert "Ada? " not in text
    assert f"(a thought of {LENGTH} characters) Ada is tall.\n" in text
    assert "  1  Ada\n     Ada is tall.\n" in text  # as it is trained on
    assert f"✓ answer  (a thought of {LENGTH} characters) Velm\n" in text
    assert f"✗ before  (a thought of {LENGTH} characters) a town\n" in text
    assert "? answer  (a thought of 12 characters) (it thought on)\n" in text


def test_a_self_edit_that_ends_within_its_thought_has_no_training_sequences() -> None:
    text = seen(Record(task=a_task(), edit=an_edit(a_task(), completion="<think>\nAda?")))
    assert "(a thought of 12 characters)\n" in text
    assert "training sequences" not in text
