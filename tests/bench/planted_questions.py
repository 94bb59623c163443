"""How many bad questions `seal quiz --given` finds among good ones, by kind, on passages of the tiny world.

    TASKS=48 python -m tests.bench.planted_questions

Four kinds are planted into each passage's own questions: a wrong answer (another value of the same attribute), what the
passage does not say (an attribute that it lacks), what the model knows without it (general knowledge), and what another
question's text gives away. One JSON line a kind: planted, removed, share; then the good ones, of which one that the
model guesses right measures nothing.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from examples.tiny.documents import GENERAL_KNOWLEDGE
from examples.tiny.tasks import make_entities, make_record
from examples.tiny.world import KINDS, Entity
from stages.engines.local import LocalEngine
from stages.judges.factory import LocalJudge
from stages.quiz import MakeQuiz, QuizRules
from stages.records.record import Record
from stages.records.task import QaTask, make_task
from stages.work import Work

MODEL = "examples/tiny/model"


class Planted(NamedTuple):
    kind: str
    question: str
    answer: str


def plant(entity: Entity, rng: random.Random, wording: int = -1) -> Iterator[Planted]:
    """One bad question of each kind about the entity; `wording`: of the one with a wrong answer."""
    fact = rng.choice([fact for fact in entity.facts if len(fact.attribute.values) > 1])
    wrong = rng.choice([value for value in fact.attribute.values if value != fact.value])
    yield Planted("wrong answer", fact.attribute.questions[wording].format(name=entity.name), wrong)
    stated = {fact.attribute.key for fact in entity.facts}
    lacking = [each for each in KINDS[entity.kind].attributes if each.key not in stated and each.values]
    if lacking:
        attribute = rng.choice(lacking)
        text = attribute.questions[0].format(name=entity.name)
        yield Planted("not in the passage", text, rng.choice(attribute.values))
    knowledge = rng.choice(GENERAL_KNOWLEDGE)
    value = rng.choice(tuple(knowledge.class_of))
    yield Planted("known without", knowledge.question.format(name=value), knowledge.class_of[value])
    town = rng.choice([fact for fact in entity.facts if fact.attribute.values])
    leak = f"Does {town.value} belong to {entity.name}?"
    yield Planted("", leak, "yes")  # the giver: the question about the value is the bad one then
    yield Planted("given away", f"What belongs to {entity.name}?", town.value)


def examine(tasks: int, seed: int = 0) -> Iterator[tuple[str, bool]]:
    """Yield (kind or "good", whether it was removed) of every question."""
    rng = random.Random(seed)
    lines, kinds = [], dict[tuple[str, str, str], str]()
    for entity in make_entities()["heldout"][:tasks]:
        record = make_record(entity)
        assert isinstance(record.task, QaTask)
        planted = list(plant(entity, rng))
        own = [(question.question, question.answer) for question in record.task.questions]
        pairs = [*own, *((each.question, each.answer) for each in planted)]
        rng.shuffle(pairs)
        task = make_task(entity.name, record.task.context, pairs)
        lines.append(Record(task=task))
        kinds |= {(task.id, each.question, each.answer): each.kind for each in planted}
    for line in quiz(lines):
        assert line.quiz is not None
        task = line.task
        assert isinstance(task, QaTask)
        for question in (*task.questions, *line.quiz.exam):
            yield kinds.get((task.id, question.question, question.answer), "good"), False
        for dropped in line.quiz.dropped:
            yield kinds.get((task.id, dropped.question, dropped.answer), "good"), True


def quiz(lines: Sequence[Record]) -> list[Record]:
    work = MakeQuiz(LocalEngine(MODEL), LocalJudge("exact"), QuizRules(given=True)).prepare(lines)
    assert isinstance(work, Work)
    return list(work.open([]).make(list(work.plan.wanted)))


def main() -> None:
    counts = Counter(examine(int(os.environ.get("TASKS", "48"))))
    for kind in ("wrong answer", "not in the passage", "known without", "given away", "good"):
        removed, kept = counts[kind, True], counts[kind, False]
        print(
            json.dumps(
                {"kind": kind, "planted": removed + kept, "removed": removed, "share": removed / (removed + kept)}
            )
        )


if __name__ == "__main__":
    main()
