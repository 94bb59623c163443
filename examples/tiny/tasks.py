"""The task files of the example: `python -m examples.tiny.tasks --out examples/tiny`.

400 passages to improve on and 48 to be measured on, five facts each. No name occurs in both, and none of them in
pretraining.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from examples.tiny.world import Entity, make_entity, make_passage, make_questions
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.records.task import make_task

SIZES = {"train": 400, "heldout": 48}
SEED = 50_000


def make_entities(seed: int = SEED) -> dict[str, list[Entity]]:
    """The entities of each file: names that pretraining never sees, every name once."""
    rng = random.Random(seed)
    drawn = _distinct(rng)
    return {name: [next(drawn) for _ in range(size)] for name, size in SIZES.items()}


def _distinct(rng: random.Random) -> Iterator[Entity]:
    taken: set[str] = set()
    while True:
        entity = make_entity(rng, heldout=True)
        if entity.name not in taken:
            taken.add(entity.name)
            yield entity


def make_record(entity: Entity) -> Record:
    """The entity's passage and questions as a task; the passage's wording follows from the name alone."""
    passage = make_passage(entity, random.Random(entity.name))
    pairs = [(question.text, question.answer) for question in make_questions(entity)]
    return Record(task=make_task(entity.name, passage, pairs))


def task_lines(entities: list[Entity]) -> str:
    """One JSON object a line."""
    return "".join(f"{to_json(make_record(entity))}\n" for entity in entities)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write train.jsonl and heldout.jsonl of the tiny example.")
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    for name, entities in make_entities().items():
        (out / f"{name}.jsonl").write_text(task_lines(entities), encoding="utf-8")


if __name__ == "__main__":
    main()
