"""Ask a test in many variants, and vote the predictions down to two attempts.

As SEAL's few-shot evaluation (arXiv 2506.10943, after ekinakyurek/marc): every choice of all demonstrations but one,
each in its own order and in two other orders, and one of these turned or mirrored in each of five ways, with the
prediction turned back. What is drawn depends on the task's name alone. The attempts are the two grids with most votes;
Akyürek et al. (arXiv 2411.07279) vote in two stages, within each way of turning first.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from stages.domains.arc.grid_text import END, BadGrid, numpy_text, read_grid
from stages.domains.arc.prompts import Messages, make_task_prompt
from stages.domains.arc.training_set import Pair
from stages.domains.arc.transforms import VARIANTS, shuffle
from stages.domains.base import Voting
from stages.interfaces import Completion
from stages.records.arc import ArcTask, Grid, Vote
from stages.records.frozen import content_id, derive_seed
from stages.records.thoughts import explain_no_answer, extract_answer

_ORDERS = 2  # official permute_n: other orders of the same demonstrations
_ATTEMPTS = 2  # ARC-AGI-1
_PLAIN = "identity"


@dataclass(frozen=True)
class PromptVariant:
    """One variant of a test's prompt: turned or mirrored, and after which demonstrations, by place."""

    variant: str
    shown: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.variant}/{','.join(map(str, self.shown))}"


def prompt_variants(task: ArcTask, *, in_context: bool) -> list[PromptVariant]:
    """Every way in which each test of the task is put; `in_context`: once, after all demonstrations as they are.

    A task with one demonstration always shows it.
    """
    every = tuple(range(len(task.train)))
    if in_context:
        return [PromptVariant(_PLAIN, every)]
    random = Random(derive_seed(0, content_id("ways", task.id)))
    left = [every[:place] + every[place + 1 :] for place in every] if len(every) > 1 else [every]
    orders = [order for kept in left for order in [kept, *(tuple(shuffle(kept, random)) for _ in range(_ORDERS))]]
    straight = [PromptVariant(_PLAIN, order) for order in dict.fromkeys(orders)]
    return straight + [PromptVariant(name, random.choice(straight).shown) for name in VARIANTS if name != _PLAIN]


def variant_prompt(task: ArcTask, test_input: Grid, way: PromptVariant) -> Messages:
    """Write the messages that ask a test in this variant."""
    turn = VARIANTS[way.variant].apply
    shown = [Pair(turn(task.train[place].input), turn(task.train[place].output)) for place in way.shown]
    return make_task_prompt(shown, turn(test_input))


def read_vote(way: PromptVariant, completion: Completion) -> Vote:
    """Read the grid after a completion's thoughts, and turn it back. The answer ends at the end mark."""
    text, error, grid = completion.text, completion.error, None
    said = extract_answer(text, completion.finish)
    if error is None and said is None:
        error = explain_no_answer(completion.finish)
    elif error is None and said is not None:
        found = read_grid(said.partition(END)[0])
        grid, error = (None, found.reason) if isinstance(found, BadGrid) else (found, None)
    return Vote(
        variant=way.variant,
        shown=way.shown,
        prediction=text if completion.error is None else None,
        grid=VARIANTS[way.variant].undo(grid) if grid else None,
        error=error,
    )


def count_votes(votes: Sequence[Vote]) -> Voting:
    """Return the two grids with most votes; among equals the one that was voted for first."""
    counted = Counter(each.grid for each in votes if each.grid)
    return Voting(tuple(grid for grid, _ in counted.most_common(_ATTEMPTS)), tuple(votes))


def get_tests(task: ArcTask) -> Iterator[tuple[str, Grid, Grid | None]]:
    """Yield (id, input, output or None) of each test. The id depends on the input alone."""
    for pair in task.test:
        yield content_id("test", pair.input)[:8], pair.input, pair.output


def get_first_attempt(found: Voting) -> str:
    """Return the first attempt as text; "" if no prediction is a grid."""
    return numpy_text(found.attempts[0]) if found.attempts else ""
