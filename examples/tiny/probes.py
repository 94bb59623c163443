"""Five small exams on held-out entities that say whether pretraining is alive: copying opens the curriculum's gate."""

import random

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.tiny.batches import encode, exact_share, pad
from examples.tiny.documents import Document, answer_text, question_prompt, self_edit_prompt
from examples.tiny.world import Entity, Fact, make_entity, make_line, make_questions, sentence

PROBED_ENTITIES = 40
SHOWN_FACTS = 3


class Probes:
    """The exams, made once; `measure` sits them."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, pool: list[Entity]) -> None:
        rng = random.Random(5)
        entities = [make_entity(rng, heldout=True) for _ in range(PROBED_ENTITIES)]
        exams = {
            "copy": _copy(entities),
            "derive": _derive(entities),
            "pool": _pool_questions(pool),
            "open_book": _open_book(entities),
            "mini": _mini(entities),
        }
        self._batches = {name: pad(encode(tokenizer, documents)) for name, documents in exams.items()}

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Exact-match share of each exam, 0 to 1."""
        model.eval()
        scores = {name: exact_share(model, batch) for name, batch in self._batches.items()}
        model.train()
        return scores


def _before_value(template: str, name: str) -> str:
    return template.split("{value}")[0].format(name=name).rstrip(" ")


def _prompted_facts(entities: list[Entity]) -> list[tuple[str, Entity, Fact]]:
    rng = random.Random(9)
    return [(self_edit_prompt(entity, rng), entity, fact) for entity in entities for fact in entity.facts[:2]]


def _copy(entities: list[Entity]) -> list[Document]:
    """Self-edit prompt and a direct line up to the value → the value."""
    return [
        Document(prompt + _before_value(fact.attribute.direct[-1], entity.name), f" {fact.value}")
        for prompt, entity, fact in _prompted_facts(entities)
    ]


def _derive(entities: list[Entity]) -> list[Document]:
    """Self-edit prompt and a derived line up to the class → the class."""
    return [
        Document(prompt + _before_value(fact.attribute.derived.lines[-1], entity.name), f" {fact.derived_value()}")
        for prompt, entity, fact in _prompted_facts(entities)
        if fact.attribute.derived
    ]


def _pool_questions(pool: list[Entity]) -> list[Document]:
    """Closed-book questions about memorised entities."""
    rng = random.Random(3)
    asked = [(entity, rng.choice(make_questions(entity, rng))) for entity in pool]
    return [Document(question_prompt(entity.name, one.text), answer_text(one.answer)) for entity, one in asked]


def _open_book(entities: list[Entity]) -> list[Document]:
    """Three direct lines, then a question about one of them."""
    rng = random.Random(4)
    documents = []
    for entity in entities:
        shown = entity.facts[:SHOWN_FACTS]
        asked = rng.choice(shown)
        lines = [make_line(entity, fact, "D", rng) for fact in shown]
        question = question_prompt(entity.name, asked.attribute.questions[0].format(name=entity.name))
        documents.append(Document("\n".join([entity.name, *lines]) + "\n\n" + question, answer_text(asked.value)))
    return documents


def _mini(entities: list[Entity]) -> list[Document]:
    """One passage sentence, then a direct line up to the value → the value: the gate of the curriculum."""
    rng = random.Random(4)
    documents = []
    for entity in entities:
        fact = entity.facts[0]
        stated = f"{entity.name}\n{sentence(entity, fact, rng)}\n\n"
        documents.append(Document(stated + _before_value(fact.attribute.direct[0], entity.name), f" {fact.value}"))
    return documents
