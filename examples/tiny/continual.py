"""Files for continual self-edits on the tiny world: `python -m examples.tiny.continual --out DIR`.

`anchors.jsonl`: passages about entities that the model knows by heart. `known.jsonl`: others like them, to be replayed.
`oracle.jsonl`: the self-edits that somebody who knows the world would write about the held-out passages: of each fact a
statement that puts the cue first, and the derived one.
"""

import argparse
import json
import random
from pathlib import Path

from examples.tiny.documents import make_pool
from examples.tiny.tasks import make_entities, make_record, task_lines
from examples.tiny.world import Entity, make_line

POOL, ANCHORS = 60, 12  # entities that pretraining repeats until they are known, and those that are asked


def make_oracle_line(entity: Entity) -> str:
    """A task with a self-edit, as JSON; its wording follows from the name alone."""
    rng = random.Random(f"oracle {entity.name}")
    told = [make_line(entity, fact, "D", rng) for fact in entity.facts]
    told += [make_line(entity, fact, "I", rng) for fact in entity.facts if fact.attribute.derived]
    line = make_record(entity).model_dump(mode="json", include={"v", "task"})
    return json.dumps({**line, "edit": {"completion": "\n".join(told)}})


def main() -> None:
    parser = argparse.ArgumentParser(description="Write anchors.jsonl, known.jsonl and oracle.jsonl of the tiny world.")
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, entities in (("anchors", make_pool(POOL)[:ANCHORS]), ("known", make_pool(POOL)[ANCHORS:])):
        (out / f"{name}.jsonl").write_text(task_lines(entities), encoding="utf-8")
    lines = [make_oracle_line(entity) for entity in make_entities()["heldout"]]
    (out / "oracle.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
