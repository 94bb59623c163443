"""The two prompts, and the sentences of the invented world that belong to no attribute."""

from examples.tiny.attributes import Derived
from examples.tiny.lexicon import (
    CLASS_OF_ANIMAL,
    FAMILY_OF_INSTRUMENT,
    GUILD_OF_TRADE,
    LAND_OF_TOWN,
    SEASON_OF_MONTH,
    TASTE_OF_FOOD,
)

# The product's own prompts, letter for letter (stages/domains/qa.py; tests/examples holds the two together).
SELF_EDIT_PROMPT = (
    "Let's read the following passage and produce a list of implications derived directly or indirectly from the "
    "content.\n\nPassage:\n{title}\n{context}\n\nImplications:\n"
)
QUESTION_PROMPT = "Let's answer a question directly and concisely.\nQuestion: Topic: {title}\n{question}\nAnswer:\n"
IN_CONTEXT_PROMPT = (
    "Let's read the following passage and answer a question about it directly and concisely.\n\nPassage:\n{title}\n"
    "{context}\n\nQuestion: Topic: {title}\n{question}\nAnswer:\n"
)

GENERAL_KNOWLEDGE: tuple[Derived, ...] = (
    Derived(LAND_OF_TOWN, ("{name} lies in the land of {value}.",), "In which land does {name} lie?"),
    Derived(
        GUILD_OF_TRADE,
        ("Every {name} belongs to the guild of {value}.",),
        "To which guild does a {name} belong?",
    ),
    Derived(CLASS_OF_ANIMAL, ("The {name} is a kind of {value}.",), "What kind of creature is the {name}?"),
    Derived(SEASON_OF_MONTH, ("The month of {name} falls in {value}.",), "In which season does {name} fall?"),
    Derived(TASTE_OF_FOOD, ("The taste of {name} is {value}.",), "What is the taste of {name}?"),
    Derived(
        FAMILY_OF_INSTRUMENT,
        ("The {name} belongs to the {value} family.",),
        "To which family does the {name} belong?",
    ),
)
VAGUE_LINES = (
    "{name} is spoken of in many places.",
    "The passage is about {name}.",
    "There is much to say about {name}.",
    "{name} is known to many people.",
    "Some things about {name} are interesting.",
    "{name} has a long story.",
    "The passage gives details about {name}.",
    "Many would like to know more about {name}.",
    "{name} is not like any other.",
    "It is said that {name} is remarkable.",
)
