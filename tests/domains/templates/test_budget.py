"""Samples are asked for until a task's tokens are there, whatever is asked at once."""

from collections.abc import Callable, Collection, Iterator

import pytest

from stages.domains.templates.budget import TokenBudget
from stages.errors import BadConfig
from stages.interfaces import NullProgress
from stages.records.record import Record
from tests.invented import a_task, an_edit

ADA, BO = a_task("Ada"), a_task("Bo")
KEYS = [f"{task.id}/{sample}" for task in (ADA, BO) for sample in range(9)]


def writer(
    length: Callable[[Record], int | None], asked: list[list[str]]
) -> Callable[[Collection[str]], Iterator[Record]]:
    """Writes what it is asked for, of these lengths; -1: it is lost."""

    def ask(keys: Collection[str]) -> Iterator[Record]:
        asked.append(sorted(keys))
        for key in sorted(keys, reverse=True):
            name, _, sample = key.rpartition("/")
            task = ADA if name == ADA.id else BO
            line = Record(task=task, edit=an_edit(task, int(sample)))
            count = length(line)
            lost = {"finish": "failed", "tokens": None} if count == -1 else {"tokens": count}
            yield line.grow(edit=line.edit.model_copy(update=lost) if line.edit else None)

    return ask


def samples(lines: list[Record]) -> dict[str, list[int]]:
    return {
        task.title: sorted(line.edit.sample for line in lines if line.task == task and line.edit) for task in (ADA, BO)
    }


def varied(line: Record) -> int:
    return 10 + 3 * (line.edit.sample if line.edit else 0) if line.task == ADA else 40


@pytest.mark.parametrize("longest", [40, 100, 8192])
def test_the_same_samples_are_asked_for_however_many_at_once(longest: int) -> None:
    asked: list[list[str]] = []
    budget = TokenBudget(100, longest)
    lines = list(budget.fill(KEYS, (), writer(varied, asked)))
    assert samples(lines) == {"Ada": [0, 1, 2, 3, 4, 5], "Bo": [0, 1, 2]}  # 10+13+16+19+22+25, 40+40+40
    assert len(asked[0]) == (6 if longest == 40 else 2)
    assert list(budget.describe(lines)) == [
        "9 self-edits of 2 tasks have 225 tokens; 25 are over the budget of 100 a task, since the last one stays whole"
    ]


class Meter(NullProgress):
    """Counts what is told."""

    def __init__(self) -> None:
        self.expected = self.done = 0

    def expect(self, amount: int, unit: str = "tokens", *, steps: int = 0) -> None:
        assert unit == "tokens"
        self.expected += amount

    def add_trained(self, tokens: int) -> None:
        self.done += tokens


def test_progress_is_of_the_budgets_tokens_and_complete_when_every_task_has_them() -> None:
    budget, meter = TokenBudget(100, 8192), Meter()
    lines = list(budget.fill(KEYS, (), writer(varied, []), meter))
    assert (meter.expected, meter.done) == (200, 200)  # of 225
    rest = Meter()
    list(budget.fill([key for key in KEYS if ADA.id in key], lines[:0], writer(lambda line: 3, []), rest))
    assert (rest.expected, rest.done) == (100, 27)  # nine samples are all there are


def test_a_task_with_just_as_many_tokens_is_neither_over_nor_short() -> None:
    budget = TokenBudget(80, 8192)
    lines = list(budget.fill([key for key in KEYS if key.startswith(BO.id)], (), writer(varied, [])))
    assert list(budget.describe(lines)) == [
        "2 self-edits of 1 tasks have 80 tokens; 0 are over the budget of 80 a task, since the last one stays whole"
    ]


def test_a_run_that_goes_on_asks_for_the_rest_alone() -> None:
    budget = TokenBudget(100, 8192)
    whole = list(budget.fill(KEYS, (), writer(varied, [])))
    finished = [line for line in whole if line.edit and line.edit.sample != 1]
    left = [key for key in KEYS if key not in {f"{line.task.id}/{line.edit and line.edit.sample}" for line in finished}]
    asked: list[list[str]] = []
    lines = list(budget.fill(left, finished, writer(varied, asked)))
    assert samples(lines) == {"Ada": [1], "Bo": [1]}
    assert sum(map(len, asked)) == 2


def test_a_completion_that_never_came_holds_back_the_later_ones() -> None:
    lines = list(TokenBudget(100, 8192).fill(KEYS, (), writer(lambda line: -1 if line.task == ADA else 40, [])))
    assert samples(lines) == {"Ada": [0], "Bo": [0, 1, 2]}


def test_an_editor_that_writes_nothing_ends_with_the_samples_and_is_told() -> None:
    budget = TokenBudget(100, 8192)
    lines = list(budget.fill(KEYS, (), writer(lambda line: 0, [])))
    assert len(lines) == len(KEYS)
    assert "2 tasks have fewer tokens than that" in list(budget.describe(lines))[1]


def test_a_server_that_counts_no_tokens_cannot_be_given_a_budget() -> None:
    with pytest.raises(BadConfig, match="--budget-tokens 100: editor does not say how many tokens a completion has"):
        list(TokenBudget(100, 8192).fill(KEYS, (), writer(lambda line: None, [])))
