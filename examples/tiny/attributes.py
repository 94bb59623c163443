"""What a kind of entity, an attribute and a derived fact are; people.py, ships.py and inns.py hold them.

Every direct template names its attribute before the value: an ambiguous prefix ("X has a …") would make the model
invent facts. `{name}` is the entity, `{value}` the value or, in a `Derived`, the value's class.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Derived:
    """A fact that follows from a value: its class, how a line states it, how a question asks for it."""

    class_of: dict[str, str]
    lines: tuple[str, ...]
    question: str


@dataclass(frozen=True)
class Attribute:
    """One property of a kind of entity and every way to speak of it."""

    key: str
    values: tuple[str, ...]  # empty: open-valued, any made-up name
    cue_first: tuple[str, ...]  # passage sentences, the attribute before the value
    value_first: tuple[str, ...]  # passage sentences, the value before the attribute
    direct: tuple[str, ...]  # self-edit lines, cue first
    reversed: tuple[str, ...]  # self-edit lines, value first
    questions: tuple[str, ...]
    derived: Derived | None = None


@dataclass(frozen=True)
class Kind:
    """Entities of one sort: passages open with an introduction and state some of the attributes."""

    introductions: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    open_attribute: Attribute  # pretraining only: its many possible values are what makes copying pay
