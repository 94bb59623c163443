"""Entities, passages, questions and self-edit lines of the invented world, all drawn from a `random.Random`.

A person, ship or inn has a three-syllable name and a few attributes; a hash of the name decides whether pretraining
may ever see it. Self-edit lines come in six types of very different worth (`LINE_TYPES`), and each self-edit mixes
them in a style of its own, which is what the outer loop selects on.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from examples.tiny import inns, people, ships
from examples.tiny.attributes import Attribute
from examples.tiny.lexicon import FIRST_SYLLABLES, LAST_SYLLABLES, MIDDLE_SYLLABLES
from examples.tiny.templates import VAGUE_LINES

KINDS = {"person": people.KIND, "ship": ships.KIND, "inn": inns.KIND}
LINE_TYPES = "DIRVWQ"  # direct, inferred, reversed, vague, wrong, question with answer
VALUE_FIRST_SHARE = 0.6  # of the sentences of a passage


@dataclass(frozen=True)
class Fact:
    """An attribute and the value one entity has for it."""

    attribute: Attribute
    value: str

    def derived_value(self) -> str:
        """The class of the value; KeyError-free only where `attribute.derived` is set."""
        assert self.attribute.derived is not None, f"{self.attribute.key} has no derived fact"
        return self.attribute.derived.class_of[self.value]


@dataclass(frozen=True)
class Entity:
    """A named person, ship or inn with its facts."""

    name: str
    kind: str
    facts: tuple[Fact, ...]

    def with_facts(self, facts: Sequence[Fact]) -> "Entity":
        return replace(self, facts=tuple(facts))


@dataclass(frozen=True)
class Question:
    """A closed-book question; `derived` when the answer is a class and not a value of the passage."""

    text: str
    answer: str
    derived: bool


@dataclass(frozen=True)
class Style:
    """How self-edits are drawn in pretraining: expected share of each line type, and how pure one edit is.

    `concentration` is the Dirichlet's total mass: the smaller, the more one edit keeps to one or two types.
    """

    shares: dict[str, float] = field(
        default_factory=lambda: {"D": 0.18, "I": 0.10, "R": 0.20, "V": 0.30, "W": 0.14, "Q": 0.08}
    )
    concentration: float = 0.5
    fewest_lines: int = 2
    most_lines: int = 10

    def draw(self, rng: random.Random) -> list[float]:
        """One document's mixture over LINE_TYPES: unnormalised Dirichlet weights."""
        return [rng.gammavariate(self.concentration * self.shares[kind], 1.0) + 1e-9 for kind in LINE_TYPES]


def make_name(rng: random.Random) -> str:
    """One of 32,000 three-syllable names."""
    return rng.choice(FIRST_SYLLABLES) + rng.choice(MIDDLE_SYLLABLES) + rng.choice(LAST_SYLLABLES)


def is_heldout(name: str) -> bool:
    """True for the fifth of all names that pretraining never sees (decided by a hash of the name)."""
    return hashlib.sha256(name.encode()).digest()[0] % 5 == 0


def make_entity(rng: random.Random, *, heldout: bool = False, attributes: int = 5, open_share: float = 0.0) -> Entity:
    """Draw an entity; with probability `open_share` one attribute is open-valued (its value any made-up name)."""
    name = _name(rng, heldout)
    kind = rng.choice(tuple(KINDS))
    chosen = rng.sample(KINDS[kind].attributes, attributes)
    if open_share and rng.random() < open_share:
        chosen[rng.randrange(attributes)] = KINDS[kind].open_attribute
    return Entity(name, kind, tuple(Fact(attribute, _value(attribute, rng)) for attribute in chosen))


def _name(rng: random.Random, heldout: bool) -> str:
    while True:
        name = make_name(rng)
        if is_heldout(name) == heldout:
            return name


def _value(attribute: Attribute, rng: random.Random) -> str:
    return rng.choice(attribute.values) if attribute.values else _name(rng, heldout=False)


def sentence(entity: Entity, fact: Fact, rng: random.Random) -> str:
    """One passage sentence that states the fact, value-first or cue-first."""
    attribute = fact.attribute
    value_first = rng.random() < VALUE_FIRST_SHARE
    template = rng.choice(attribute.value_first if value_first else attribute.cue_first)
    return template.format(name=entity.name, value=fact.value)


def make_passage(entity: Entity, rng: random.Random) -> str:
    """An introduction and one sentence a fact."""
    introduction = rng.choice(KINDS[entity.kind].introductions).format(name=entity.name)
    return " ".join([introduction, *(sentence(entity, fact, rng) for fact in entity.facts)])


def make_questions(entity: Entity, rng: random.Random | None = None) -> list[Question]:
    """A direct question a fact and, where the value has a class, a derived one; wordings drawn if `rng` is given."""
    questions = []
    for fact in entity.facts:
        wordings = fact.attribute.questions
        wording = wordings[0] if rng is None else rng.choice(wordings)
        questions.append(Question(wording.format(name=entity.name), fact.value, derived=False))
        if fact.attribute.derived:
            text = fact.attribute.derived.question.format(name=entity.name)
            questions.append(Question(text, fact.derived_value(), derived=True))
    return questions


def make_line(entity: Entity, fact: Fact, line_type: str, rng: random.Random) -> str:
    """One self-edit line of the given type about the fact ("V" ignores the fact, "W" misstates it)."""
    name, value, attribute = entity.name, fact.value, fact.attribute
    if line_type == "V":
        return rng.choice(VAGUE_LINES).format(name=name)
    if line_type == "Q":
        return f"{rng.choice(attribute.questions).format(name=name)} {value}"
    if line_type == "I":
        assert attribute.derived is not None, f"{attribute.key} has no derived fact"
        return rng.choice(attribute.derived.lines).format(name=name, value=fact.derived_value())
    if line_type == "R":
        return rng.choice(attribute.reversed).format(name=name, value=value)
    stated = _other_value(fact, rng) if line_type == "W" else value
    return rng.choice(attribute.direct).format(name=name, value=stated)


def _other_value(fact: Fact, rng: random.Random) -> str:
    while True:
        value = _value(fact.attribute, rng)
        if value != fact.value:
            return value


def make_self_edit(entity: Entity, rng: random.Random, style: Style) -> list[str]:
    """Lines in one drawn style; within a type no fact comes twice before all have come once."""
    weights = style.draw(rng)
    queues: dict[str, list[Fact]] = {}
    lines = []
    for _ in range(rng.randint(style.fewest_lines, style.most_lines)):
        line_type = rng.choices(LINE_TYPES, weights)[0]
        if line_type == "I" and not any(fact.attribute.derived for fact in entity.facts):
            line_type = "D"
        if not queues.get(line_type):
            queues[line_type] = _shuffled(_facts_for(entity, line_type), rng)
        lines.append(make_line(entity, queues[line_type].pop(), line_type, rng))
    return lines


def _facts_for(entity: Entity, line_type: str) -> list[Fact]:
    return [fact for fact in entity.facts if line_type != "I" or fact.attribute.derived]


def _shuffled(facts: list[Fact], rng: random.Random) -> list[Fact]:
    rng.shuffle(facts)
    return facts


def classify_line(entity: Entity, line: str) -> str:
    """Diagnostic: which of LINE_TYPES this line is; anything that is not a true line of the world is "W"."""
    for fact in entity.facts:
        for line_type, true_lines in _true_lines(entity, fact).items():
            if line in true_lines:
                return line_type
    return "V" if line in [vague.format(name=entity.name) for vague in VAGUE_LINES] else "W"


def _true_lines(entity: Entity, fact: Fact) -> dict[str, list[str]]:
    attribute, derived = fact.attribute, fact.attribute.derived
    words = {"name": entity.name, "value": fact.value}
    return {
        "D": [template.format(**words) for template in attribute.direct],
        "R": [template.format(**words) for template in attribute.reversed],
        "Q": [f"{template.format(**words)} {fact.value}" for template in attribute.questions],
        "I": [line.format(name=entity.name, value=fact.derived_value()) for line in derived.lines] if derived else [],
    }
