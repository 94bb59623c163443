"""The task files of the example, in ARC's own layout: `python -m examples.tiny.arc.tasks --out examples/tiny/arc`.

Tasks to improve on and tasks to be measured on. A task moves the cells and changes colours; no pair of a move and a
kind of change is in both files, and pretraining sees no change of colours at all.
"""

import argparse
import json
import random
from collections.abc import Mapping
from pathlib import Path

from examples.tiny.arc.world import CHANGES, MOVES, Task, make_palette, make_rule, make_task
from stages.domains.arc.training_set import Pair

PAIRS = [(move, change) for move in MOVES for change in CHANGES]
HELD_OUT = list(zip(MOVES, [*CHANGES] * 2, strict=True))
PER_PAIR = {"train": 4, "heldout": 8}  # tasks of each pair of a move and a change
SIZES = [(3, 3)] * 5  # four demonstrations and a test
PALETTES = (4, 5)  # colours
SEED = 70_000


def pairs_of(name: str) -> list[tuple[str, str]]:
    """The (move, change) pairs of a file: every move and every change is in both files."""
    return HELD_OUT if name == "heldout" else [pair for pair in PAIRS if pair not in HELD_OUT]


def make_tasks(name: str, seed: int = SEED) -> dict[str, Task]:
    """The tasks of a file by their ids."""
    tasks = {}
    for move, change in pairs_of(name):
        for number in range(PER_PAIR[name]):
            rng = random.Random(f"{seed} {name} {move} {change} {number}")
            palette = make_palette(rng, PALETTES)
            rule = make_rule(move, change, palette, rng)
            tasks[f"{move}-{change}-{number:02}"] = make_task(rule, palette, SIZES, rng)
    return tasks


def challenges(tasks: Mapping[str, Task]) -> str:
    """What may be seen: demonstrations, and the inputs of the tests."""
    shown = {
        name: {
            "train": [_pair(pair) for pair in task.demonstrations],
            "test": [{"input": pair.input} for pair in task.tests],
        }
        for name, task in tasks.items()
    }
    return json.dumps(shown) + "\n"


def solutions(tasks: Mapping[str, Task]) -> str:
    """The outputs of the tests."""
    return json.dumps({name: [pair.output for pair in task.tests] for name, task in tasks.items()}) + "\n"


def _pair(pair: Pair) -> dict[str, object]:
    return {"input": pair.input, "output": pair.output}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the task files of the tiny ARC example.")
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    for name in PER_PAIR:
        tasks = make_tasks(name)
        (out / f"{name}_challenges.json").write_text(challenges(tasks), encoding="utf-8")
        (out / f"{name}_solutions.json").write_text(solutions(tasks), encoding="utf-8")


if __name__ == "__main__":
    main()
