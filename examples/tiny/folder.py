"""A folder of documents of the tiny world, for examples/documents: `python -m examples.tiny.folder --out DIR`.

`documents/`: twelve Markdown files, two entities each under headings of their own; names that stand nowhere else.
`anchors.jsonl`: passages about entities that the model knows by heart. `probes.jsonl`: questions that the documents do
not answer: about other entities that it knows, and what the documents leave out of their own (the answer is that it is
unanswerable). `exam.jsonl`: what a person would ask, a question for each fact of the documents and one for its class,
under the titles of their chunks. `known.jsonl`: passages about the other entities that it knows, to be replayed. With
another --seed the documents are others, with other probes: for trying settings out, which these files are to measure.
"""

import argparse
import random
from pathlib import Path

from examples.tiny.documents import make_pool
from examples.tiny.tasks import make_entities, make_record, task_lines
from examples.tiny.world import KINDS, Entity, Fact, make_entity, make_passage, make_questions
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.records.task import UNANSWERABLE, make_task

NAMES = ("coast", "road", "harbour", "market", "crew", "forest", "house", "tales", "feast", "door", "waves", "craft")
ENTITIES = 2  # of a document
POOL, ANCHORS, PROBES = (
    60,
    12,
    12,
)  # entities that pretraining repeats until they are known; of these anchors and probes
SEED = 90_000


def make_documents(seed: int = SEED) -> dict[str, list[Entity]]:
    """The entities of each document: names that pretraining and the other task files never have, every name once."""
    rng = random.Random(seed)
    taken = {entity.name for entities in make_entities().values() for entity in entities}
    found = dict[str, list[Entity]]()
    for name in NAMES:
        found[name] = []
        while len(found[name]) < ENTITIES:
            entity = make_entity(rng, heldout=True)
            if entity.name not in taken:
                taken.add(entity.name)
                found[name].append(entity)
    return found


def write_document(entities: list[Entity]) -> str:
    """A Markdown text with a section for each entity; its wording follows from the names alone."""
    passages = ((entity.name, make_passage(entity, random.Random(entity.name))) for entity in entities)
    return "\n".join(f"## {name}\n\n{passage}\n" for name, passage in passages)


def make_unanswerable(document: str, entity: Entity) -> Record:
    """Questions about the attributes of an entity that its passage leaves out, titled as the document's chunk."""
    told = {fact.attribute.key for fact in entity.facts}
    left_out = [attribute for attribute in KINDS[entity.kind].attributes if attribute.key not in told]
    asked = make_questions(entity.with_facts([Fact(attribute, attribute.values[0]) for attribute in left_out]))
    passage = make_passage(entity, random.Random(entity.name))
    return Record(task=make_task(f"{document} › {entity.name}", passage, [(each.text, UNANSWERABLE) for each in asked]))


def make_exam(document: str, entity: Entity) -> Record:
    """All questions about an entity of a document, titled as the document's chunk."""
    pairs = [(each.text, each.answer) for each in make_questions(entity)]
    return Record(
        task=make_task(f"{document} › {entity.name}", make_passage(entity, random.Random(entity.name)), pairs)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write documents/, anchors.jsonl, probes.jsonl and known.jsonl.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    documents, pool = make_documents(given.seed), make_pool(POOL)
    (given.out / "documents").mkdir(parents=True, exist_ok=True)
    for name, entities in documents.items():
        (given.out / "documents" / f"{name}.md").write_text(write_document(entities), encoding="utf-8")
    probed, known = pool[ANCHORS : ANCHORS + PROBES], pool[ANCHORS + PROBES :]
    records = [make_record(entity) for entity in probed]
    records += [make_unanswerable(name, entities[0]) for name, entities in documents.items()]
    lines = {
        "anchors": task_lines(pool[:ANCHORS]),
        "probes": "".join(f"{to_json(record)}\n" for record in records),
        "exam": "".join(f"{to_json(make_exam(name, each))}\n" for name in documents for each in documents[name]),
        "known": task_lines(known),
    }
    for name, text in lines.items():
        (given.out / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
