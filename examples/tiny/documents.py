"""What the tiny model reads in pretraining: long, mini and short documents about throw-away entities and a fixed pool.

Long: the product's self-edit prompt and a self-edit. Mini: a sentence or three, then restated (where copying starts).
Short: general knowledge, open-book and closed-book questions, statements about the pool. The pool is memorised by the
end and ties "a statement in the weights" to "an answer".
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

from examples.tiny.templates import GENERAL_KNOWLEDGE, IN_CONTEXT_PROMPT, QUESTION_PROMPT, SELF_EDIT_PROMPT
from examples.tiny.tokenizer import END_OF_TEXT
from examples.tiny.world import (
    Entity,
    Style,
    make_entity,
    make_line,
    make_passage,
    make_questions,
    make_self_edit,
    sentence,
)

POOL_SEED = 1000
POOL_ATTRIBUTES = 6


class Document(NamedTuple):
    """The loss falls on the completion only; an empty prompt means on everything."""

    prompt: str
    completion: str


def make_pool(entities: int) -> list[Entity]:
    """The fixed entities that pretraining states and asks about over and over; the same for every seed."""
    rng = random.Random(POOL_SEED)
    return [make_entity(rng, attributes=POOL_ATTRIBUTES) for _ in range(entities)]


def question_prompt(title: str, question: str) -> str:
    return QUESTION_PROMPT.format(title=title, question=question)


def self_edit_prompt(entity: Entity, rng: random.Random) -> str:
    return SELF_EDIT_PROMPT.format(title=entity.name, context=make_passage(entity, rng))


def answer_text(answer: str) -> str:
    """The leading space keeps the value the same single token as inside a statement."""
    return f" {answer}{END_OF_TEXT}"


@dataclass(frozen=True)
class Library:
    """Draws pretraining documents, all from one random stream."""

    rng: random.Random
    pool: list[Entity]
    style: Style

    def long(self) -> Document:
        """Self-edit prompt with a passage of one to five facts → lines."""
        entity = make_entity(self.rng, attributes=self.rng.choice((1, 2, 3, 4, 5, 5)), open_share=0.3)
        lines = make_self_edit(entity, self.rng, self.style)
        return Document(self_edit_prompt(entity, self.rng), "\n".join(lines) + END_OF_TEXT)

    def first_mini(self) -> Document:
        """One fact only: the curriculum's first stage."""
        return self._mini(1)

    def mini(self) -> Document:
        """One to three facts, half of the time one."""
        return self._mini(1 if self.rng.random() < 0.5 else self.rng.choice((2, 3)))

    def _mini(self, facts: int) -> Document:
        entity = make_entity(self.rng, attributes=facts, open_share=0.35)
        sentences, lines = [], []
        for fact in entity.facts:
            sentences.append(sentence(entity, fact, self.rng))
            for line_type in self.rng.sample("DRQI" if fact.attribute.derived else "DRQ", 2):
                lines.append(make_line(entity, fact, line_type, self.rng))
        self.rng.shuffle(sentences)
        self.rng.shuffle(lines)
        body = " ".join(sentences) + "\n\n" + "\n".join(lines)
        return Document("", f"{entity.name}\n{body}{END_OF_TEXT}")

    def short(self) -> Document:
        """A question (16 % on lines, 8 % on a passage, 32 % closed-book), statement (33), passage (5), map (6 %)."""
        draw = self.rng.random()
        if draw < 0.06:
            return self._general_knowledge()
        if draw < 0.22:
            return self._open_book()
        if draw < 0.30:
            return self._in_context()
        entity = self.rng.choice(self.pool)
        if draw < 0.62:
            return self._asked(entity)
        return self._statement(entity) if draw < 0.95 else self._pool_passage(entity)

    def _general_knowledge(self) -> Document:
        knowledge = self.rng.choice(GENERAL_KNOWLEDGE)
        value = self.rng.choice(tuple(knowledge.class_of))
        class_name = knowledge.class_of[value]
        if self.rng.random() < 0.5:
            return Document("", knowledge.lines[0].format(name=value, value=class_name) + END_OF_TEXT)
        question = knowledge.question.format(name=value)
        return Document(question_prompt(value, question), answer_text(class_name))

    def _open_book(self) -> Document:
        entity = make_entity(self.rng, attributes=self.rng.choice((1, 2, 3)))
        facts = self.rng.sample(entity.facts, len(entity.facts))
        lines = [make_line(entity, fact, self.rng.choice("DDR"), self.rng) for fact in facts]
        asked = self._asked(entity)
        return Document("\n".join([entity.name, *lines]) + "\n\n" + asked.prompt, asked.completion)

    def _in_context(self) -> Document:
        entity = make_entity(self.rng, attributes=self.rng.choice((1, 2, 3, 4, 5)))
        question = self.rng.choice(make_questions(entity, self.rng))
        passage = make_passage(entity, self.rng)
        prompt = IN_CONTEXT_PROMPT.format(title=entity.name, context=passage, question=question.text)
        return Document(prompt, answer_text(question.answer))

    def _asked(self, entity: Entity) -> Document:
        question = self.rng.choice(make_questions(entity, self.rng))
        return Document(question_prompt(entity.name, question.text), answer_text(question.answer))

    def _statement(self, entity: Entity) -> Document:
        fact = self.rng.choice(entity.facts)
        line_type = self.rng.choice("DDDIIRQ")
        if line_type == "I" and not fact.attribute.derived:
            line_type = "D"
        return Document("", f"{entity.name}\n{make_line(entity, fact, line_type, self.rng)}{END_OF_TEXT}")

    def _pool_passage(self, entity: Entity) -> Document:
        part = entity.with_facts(self.rng.sample(entity.facts, 3))
        return Document("", f"{entity.name}\n{make_passage(part, self.rng)}{END_OF_TEXT}")
