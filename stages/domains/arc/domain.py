"""Few-shot learning (SEAL, arXiv 2506.10943, few-shot): a self-edit chooses how a model is trained on demonstrations.

The model sees a task's demonstrations and says as JSON which tools make training tasks of them, what the loss is on,
the learning rate and the epochs. The adapted model is then put the task's tests. Grids are compared cell by cell.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

from stages.domains.arc.prompts import (
    EDIT_CHOICES,
    EDIT_SYSTEM,
    PLACE,
    SCHEMA,
    TOOLS_TEMPLATE,
    demonstrations_text,
    get_fixed_edit,
    join_messages,
    make_edit_prompt,
    make_example,
    make_messages,
    template_text,
)
from stages.domains.arc.self_edit import ALL_TOKENS, BATCH_SIZE, check_steps, parse_edit
from stages.domains.arc.training_set import Pair, Puzzle, TrainingTask, make_training_tasks
from stages.domains.arc.view import view_grids
from stages.domains.arc.voting import (
    count_votes,
    get_first_attempt,
    get_tests,
    prompt_variants,
    read_vote,
    variant_prompt,
)
from stages.domains.base import GradableAnswer, Query, TrainingSetup, Voting
from stages.domains.defaults import DEFAULTS, Defaults
from stages.domains.views import Row
from stages.errors import BadConfig, BadEdit, BadInput, BadLine, Untrainable
from stages.interfaces import Completion, Example, Prompt, TrainingSet
from stages.judges.base import Case, Verdict
from stages.records.arc import ArcChoice, ArcTask, ArcTrainingData, Demonstration, Grid, TrainingGrids, Vote
from stages.records.record import Record, SelfEdit
from stages.records.task import Task
from stages.records.thoughts import BROKEN_OFF, CUT_OFF


def anything_fits(_: Example) -> bool:
    """Return that no row is too long."""
    return True


@dataclass(frozen=True)
class Arc:
    """The `arc` domain.

    `fits` says which training rows are short enough, `rows_a_step` how many make an optimizer step, `chat` whether
    they go through the student's chat template, `seed` what draws among them.
    """

    seed: int = 0
    rows_a_step: int = BATCH_SIZE
    chat: bool = True
    fits: Callable[[Example], bool] = anything_fits
    name: ClassVar[str] = "arc"
    judge: ClassVar[str] = "grids"
    task_type: ClassVar[type[ArcTask]] = ArcTask
    defaults: ClassVar[Defaults] = DEFAULTS["arc"]
    templates: ClassVar[tuple[str, ...]] = (TOOLS_TEMPLATE,)
    chosen_by_edit: ClassVar[str] = "each at the learning rate and for the epochs that its self-edit says"
    measures_rows: ClassVar[bool] = True
    refused_flags: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "adapt": {
            **dict.fromkeys(
                ("--learning-rate", "--epochs"),
                "an ARC self-edit chooses it; write one yourself with `seal generate -t oracle:FILE`",
            ),
            **dict.fromkeys(("--split-newlines", "--no-split-newlines"), "an ARC self-edit has no sequences to split"),
        },
        "eval": {"--judge": "ARC's grids are compared cell by cell; leave it out"},
    }

    def read_tasks(self, text: str, name: str) -> Iterator[Task]:
        """Find no tasks here: grids are recognised by the files' content."""
        raise BadConfig("--domain arc: grids are known by what their files hold; leave it out")

    # ---- self-edits

    def edit_prompt(self, task: Task, template: str, *, chat: bool) -> Prompt:
        """Write the paper's prompt, or a file's with the demonstrations at {demonstrations}."""
        shown = get_pairs(_grid_task(task))
        if template == TOOLS_TEMPLATE:
            turns = make_edit_prompt(shown)
        else:
            turns = make_messages(EDIT_SYSTEM, template_text(template).replace(PLACE, demonstrations_text(shown)))
        return turns if chat else f"{join_messages(turns)}\n\n"

    def template_text(self, template: str) -> str:
        """Return the template's text. Raises BadConfig or MissingInput for an unknown one."""
        return EDIT_CHOICES if template == TOOLS_TEMPLATE else template_text(template)

    def get_fixed_edit(self, template: str) -> str | None:
        """Return a self-edit written by a person: `oracle`, or that of `oracle:FILE`."""
        return get_fixed_edit(template)

    def read_choice(self, completion: str) -> ArcChoice:
        """Parse the self-edit's choice. Raises BadEdit if it cannot be read."""
        return parse_edit(completion)

    def schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of keys and types, without the bounds of numbers."""
        return SCHEMA

    # ---- training

    def set_up_training(self, setup: TrainingSetup) -> "Arc":
        """Return the domain with a test for rows that fit the model."""
        rows = setup.config.batch_size * setup.config.accumulation
        return Arc(seed=setup.seed, rows_a_step=rows, chat=setup.chat is not False, fits=setup.fits or anything_fits)

    @property
    def training_settings(self) -> Mapping[str, Any]:
        """Return whether rows are chats."""
        return {"chat": self.chat}

    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        """Make the training tasks of the self-edit's tools.

        Raises BadEdit for too many steps, too, Untrainable where no row is short enough, and BadLine where the line
        says otherwise than the self-edit does.
        """
        found = parse_edit(edit.completion)
        if edit.chosen not in (None, found):
            ways = "change the completion, and leave chosen out: jq 'del(.edit.chosen)'"
            raise BadLine(f"self-edit {edit.id} of {task.name!r}: chosen is not what its completion says; {ways}")
        made = self.training(task, found)
        if not made.tasks:
            raise Untrainable(f"no training task of {task.name!r} is short enough for the model")
        return TrainingSet(made.on_all if found.strategy == ALL_TOKENS else made.on_answers, found.fit)

    def training(self, task: Task, edit: ArcChoice) -> "Training":
        """Make the self-edit's training tasks. Raises BadEdit for more steps than are allowed."""
        made = _training_rows(get_pairs(_grid_task(task)), edit.tools, self.seed, self.fits, self.chat)
        check_steps(edit, len(made.tasks), self.rows_a_step)
        return made

    def show_data(self, task: Task, edit: SelfEdit) -> ArcTrainingData:
        """Return the training tasks as grids, each with its tool; for a failed self-edit none, and the reason."""
        chosen, error = None, edit.error
        rows: tuple[TrainingTask, ...] = ()
        try:
            chosen = parse_edit(edit.completion)
            rows = self.training(task, chosen).tasks if error is None else ()
        except BadEdit as bad:
            error = error or str(bad)
        made = tuple(_grids_of(row) for row in rows)
        return ArcTrainingData(task_id=task.id, edit_id=edit.id, chosen=chosen, error=error, tasks=made)

    def make_view(self, line: Record) -> Iterator[Row]:
        """Show a line as grids."""
        return view_grids(line, _grid_task(line.task))

    # ---- answers

    def check(self, task: Task) -> None:
        """Raise BadLine for a task without tests, or with a test that comes twice."""
        ids = [test_id for test_id, _, _ in get_tests(_grid_task(task))]
        if not ids:
            raise BadLine(f"task {task.id} has no test; `seal eval` needs at least one")
        if len(set(ids)) < len(ids):
            raise BadLine(f"task {task.id} has two tests with one input; take one out")

    def queries(self, task: Task, *, in_context: bool, chat: bool) -> Iterator[Query]:
        """Yield every variant of every test; with `in_context` one each, after all demonstrations, without a vote."""
        task = _grid_task(task)
        for test_id, test_input, _ in get_tests(task):
            for way in prompt_variants(task, in_context=in_context):
                turns = variant_prompt(task, test_input, way)
                yield Query(f"{test_id}/{way.name}", turns if chat else join_messages(turns))

    def make_answers(
        self, task: Task, completions: Sequence[Completion], *, in_context: bool
    ) -> Iterator[GradableAnswer]:
        """Make two attempts for each test, and grade whether one of them is the solution."""
        task = _grid_task(task)
        asked = prompt_variants(task, in_context=in_context)
        for place, (test_id, _, solution) in enumerate(get_tests(task)):
            own = completions[place * len(asked) : (place + 1) * len(asked)]
            found = count_votes([read_vote(way, each) for way, each in zip(asked, own, strict=True)])
            failed = next((each.error for each in found.votes if each.prediction is None), None)
            unsaid = failed or next((each.error for each in found.votes if _is_unsaid(each)), None)
            said = None if failed else get_first_attempt(found)
            yield GradableAnswer(
                test_id, said, Verdict(None, unsaid) if unsaid else _grade_attempts(found, solution), found
            )

    def get_cases(self, task: Task) -> Iterator[tuple[str, Case]]:
        """Yield nothing: no judge is asked."""
        return iter(())


def _is_unsaid(vote: Vote) -> bool:
    """Return whether the prediction ends within a thought: what it would have been nobody knows."""
    return vote.prediction is not None and vote.error in (CUT_OFF, BROKEN_OFF)


def _grade_attempts(found: Voting, solution: Grid | None) -> Verdict:
    """Return whether one of the attempts is the solution; an answer without a grid is the model's failure."""
    if solution is None:
        return Verdict(None, "no solution is known")
    reason = None if found.attempts else f"no prediction is a grid: {found.votes[0].error}"
    return Verdict(solution in found.attempts, reason)


@dataclass(frozen=True)
class Training:
    """Training tasks, and each as a row: with the loss on the answer, and on all tokens."""

    tasks: tuple[TrainingTask, ...]
    on_answers: tuple[Example, ...]
    on_all: tuple[Example, ...]


@lru_cache(maxsize=64)  # many self-edits of a task choose the same tools, and they come together
def _training_rows(
    shown: tuple[Pair, ...], groups: tuple[str, ...], seed: int, fits: Callable[[Example], bool], chat: bool
) -> Training:
    """The training tasks that a setting of the switches makes."""
    made: dict[Puzzle, Example] = {}

    def is_short(puzzle: Puzzle) -> bool:
        made[puzzle] = make_example(puzzle, whole=False, chat=chat)
        return fits(made[puzzle])

    rows = make_training_tasks(shown, groups, seed=seed, is_short=is_short)
    examples = tuple(made[row.puzzle] for row in rows)
    return Training(rows, examples, tuple(replace(each, loss_on_prompt=True) for each in examples))


def _grid_task(task: Task) -> ArcTask:
    """Return the task if it is of this domain. Raises BadInput otherwise."""
    if not isinstance(task, ArcTask):
        raise BadInput(f"task {task.id} is of the domain {task.domain}, not of arc")
    return task


def get_pairs(task: ArcTask) -> tuple[Pair, ...]:
    return tuple(Pair(pair.input, pair.output) for pair in task.train)


def _grids_of(row: TrainingTask) -> TrainingGrids:
    shown = tuple(Demonstration(input=pair.input, output=pair.output) for pair in row.puzzle.shown)
    asked = Demonstration(input=row.puzzle.asked.input, output=row.puzzle.asked.output)
    return TrainingGrids(tool=row.tool, permuted=row.permuted, train=shown, test=asked)
