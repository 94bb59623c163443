"""What the tiny ARC model reads in pretraining: puzzles in which cells are moved, and self-edits with random choices.

No puzzle changes a colour by a rule. In stained ones some cells of the outputs that are shown are other colours, at
random, and the loss is on the clean answer alone: a move has to be recognised from the cells that agree.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from examples.tiny.arc.edits import make_edit
from examples.tiny.arc.tokenizer import ASSISTANT, END, SYSTEM, USER
from examples.tiny.arc.world import KEEP, MOVES, STAY, Task, make_palette, make_rule, make_task
from stages.domains.arc.grid_text import numpy_text
from stages.domains.arc.prompts import ARROW, TASK_SYSTEM, answer_text, make_edit_prompt
from stages.domains.arc.training_set import Pair
from stages.records.arc import COLOUR_COUNT, Grid


class Part(NamedTuple):
    """A piece of a document, and whether the loss falls on it."""

    text: str
    counted: bool


Document = Sequence[Part]

USUAL = (3, 3)
OTHER_SIZES = ((2, 2), (2, 3), (3, 2), (3, 4), (4, 3), (4, 4), (6, 3), (3, 6), (6, 6))
FEWEST_COLOURS = 3  # so many are in every grid of 2 x 2 that shows them
STAINS = (0.2, 0.4, 0.6)  # shares of the cells


@dataclass(frozen=True)
class Mix:
    """Shares of the documents."""

    edits: float = 0.0
    copies: float = 0.2  # of the puzzles: nothing moves
    stained: float = 0.0  # of the puzzles
    whole: float = 0.0  # of the other puzzles: the loss is on all tokens
    other_sizes: float = 0.0  # of the puzzles: not 3 x 3
    demonstrations: tuple[int, ...] = (2, 3)


COPIES = Mix(copies=1.0, demonstrations=(1, 2))
MOVED = Mix()
EVERYTHING = Mix(edits=0.15, copies=0.15, stained=0.4, whole=0.15, other_sizes=0.12, demonstrations=(2, 3, 3))


@dataclass(frozen=True)
class Library:
    """Draws pretraining documents, all from one random stream."""

    rng: random.Random
    mix: Mix

    def draw(self) -> Document:
        return self.edit() if self.rng.random() < self.mix.edits else self.puzzle()

    def task(self) -> Task:
        """A move alone."""
        rng, palette, size = self.rng, make_palette(self.rng), USUAL
        move = STAY if rng.random() < self.mix.copies else rng.choice(tuple(MOVES))
        if rng.random() < self.mix.other_sizes:
            palette, size = palette[:FEWEST_COLOURS], rng.choice(OTHER_SIZES)
        sizes = [size] * (rng.choice(self.mix.demonstrations) + 1)
        return make_task(make_rule(move, KEEP, palette, rng), palette, sizes, rng)

    def puzzle(self) -> Document:
        task = self.task()
        if self.rng.random() >= self.mix.stained:
            return task_document(task, whole=self.rng.random() < self.mix.whole)
        document = task_document(stained(task, self.rng.choice(STAINS), self.rng), whole=False)
        return [*(Part(part.text, False) for part in document[:-1]), document[-1]]

    def edit(self) -> Document:
        system, user = make_edit_prompt(self.task().demonstrations)
        prompt = f"{SYSTEM}{system['content']}{END}{USER}{user['content']}{END}{ASSISTANT}"
        return [Part(prompt, False), Part(make_edit(self.rng) + END, True)]


def stained(task: Task, share: float, rng: random.Random) -> Task:
    """This share of the cells of every demonstration's output is of a random colour."""

    def stain(grid: Grid) -> Grid:
        return tuple(tuple(rng.randrange(COLOUR_COUNT) if rng.random() < share else one for one in row) for row in grid)

    shown = tuple(Pair(pair.input, stain(pair.output)) for pair in task.demonstrations)
    return replace(task, demonstrations=shown)


def task_document(task: Task, *, whole: bool) -> Document:
    """The first test; the loss on all outputs, or on everything."""
    parts = [Part(SYSTEM + TASK_SYSTEM, whole)]
    for pair in task.demonstrations:
        parts += [Part(numpy_text(pair.input) + ARROW, whole), Part(answer_text(pair.output), True), Part("\n", whole)]
    asked = task.tests[0]
    parts.append(Part(END + USER + numpy_text(asked.input) + ARROW + END + ASSISTANT, whole))
    return [*parts, Part(answer_text(asked.output) + END, True)]
