"""EntiGraph: let a model name what a passage is about, then tell how two and three of these relate, a text each.

The prompts are those of Synthetic Continued Pretraining (arXiv 2409.07431, appendix), which SEAL compares itself with;
their number is that of SEAL's official script (make_squad_data_entigraph): 5 pairs and 5 triples of the first ten
entities. Ours: the draw depends on the sample's seed alone, and a reply without a list names nothing (the official
script then takes its capitalised words).
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from stages.errors import BadConfig
from stages.interfaces import Prompt
from stages.records.frozen import content_id, derive_seed
from stages.records.task import QaTask

ENTIGRAPH = "entigraph"
SEPARATOR = "\n\n---\n\n"  # between the texts of a self-edit: where training splits it (SEAL App. B)
_MOST_ENTITIES = 10  # official script
_NAME_ENTITIES = (
    "As a knowledge analyzer, your task is to dissect and understand an article provided by the user. You are required "
    "to perform the following steps:\n1. Summarize the Article: Provide a concise summary of the entire article, "
    'capturing the main points and themes.\n2. Extract Entities: Identify and list all significant "nouns" or entities '
    "mentioned within the article. These entities should include but not limited to:\n    * People: Any individuals "
    "mentioned in the article, using the names or references provided.\n    * Places: Both specific locations and "
    "abstract spaces relevant to the content.\n    * Object: Any concrete object that is referenced by the provided "
    "content.\n    * Concepts: Any significant abstract ideas or themes that are central to the article's discussion.\n"
    "\nTry to exhaust as many entities as possible. Your response should be structured in a JSON format to organize "
    "the information effectively. Ensure that the summary is brief yet comprehensive, and the list of entities is "
    "detailed and accurate.\n\nHere is the format you should use for your response:\n\n{\n"
    '  "summary":  "<A concise summary of the article>",\n  "entities": ["entity1", "entity2", ...]\n}'
)
_RELATE = (
    "You will act as a knowledge analyzer tasked with dissecting an article provided by the user. Your role involves "
    "{aims} main objectives:\n1. Rephrasing Content: The user will identify {count} specific entities mentioned in the "
    "article. You are required to rephrase the content of the article {times}:\n{turns}\n2. Analyzing Interactions: "
    "Discuss how {these} specified entities interact within the context of the article.\n\nYour responses should "
    "provide clear segregation between the rephrased content and the interaction analysis. Ensure each section of the "
    "output include sufficient context, ideally referencing the article's title to maintain clarity about the "
    "discussion's focus.\nHere is the format you should follow for your response:\n\n{sections}"
    "### Discussion of Interaction between {names} in context of <title>\n"
    "<Discussion on how the {count} entities interact within the article>"
)
_ORDINALS = ("first", "second", "third")
_TURNS = ("Once", "Again", "Lastly")
_WORDS = {
    2: {"aims": "two", "count": "two", "times": "twice", "these": "the two", "names": "<entity1> and <entity2>"},
    3: {
        **{"aims": "three", "count": "three", "times": "three times", "these": "these three"},
        "names": "<entity1>, <entity2> and <entity3>",
    },
}
_LIST = re.compile(r"""["']?entities["']?\s*:\s*\[([^\]]*)""", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class EntityGraph:
    """How many relations a self-edit tells: of pairs and of triples of entities."""

    pairs: int = 5  # official script
    triples: int = 5  # official script

    def check(self) -> None:
        """Raise BadConfig where nothing would be asked about the entities."""
        if not self.pairs and not self.triples:
            raise BadConfig("--pairs 0 --triples 0: no relation would be asked for; take at least one")

    @property
    def calls(self) -> int:
        """How many texts a self-edit joins at most."""
        return self.pairs + self.triples

    def draw(self, entities: Sequence[str], seed: int) -> list[tuple[str, ...]]:
        """Draw pairs, then triples: all of them where there are fewer."""
        return [
            group
            for size, count in ((2, self.pairs), (3, self.triples))
            for group in sorted(combinations(entities, size), key=lambda group: derive_seed(seed, content_id(group)))[
                :count
            ]
        ]

    def ask_entities(self, task: QaTask, *, chat: bool) -> Prompt:
        """Ask what the passage is about."""
        return _make_prompt(_NAME_ENTITIES, _quote(task), chat=chat)

    def ask_relation(self, task: QaTask, group: Sequence[str], *, chat: bool) -> Prompt:
        """Ask how two or three entities relate in the passage."""
        listed = "\n".join(f"- {name}" for name in group)
        return _make_prompt(_describe_relation(len(group)), f"{_quote(task)}\n### Entities:\n{listed}", chat=chat)

    @property
    def texts(self) -> list[str]:
        """The instructions, for a run's settings."""
        return [_NAME_ENTITIES, _describe_relation(2), _describe_relation(3)]


def _quote(task: QaTask) -> str:
    document = f"{task.title}\n{task.context}".strip()
    return f"### Document Content:\n{document}"


def _make_prompt(instruction: str, text: str, *, chat: bool) -> Prompt:
    """A system message and the user's; without a chat one text, as the official script sends it to a base model."""
    if chat:
        return [{"role": "system", "content": instruction}, {"role": "user", "content": text}]
    return f"{instruction}\n\n{text}\n"


def _describe_relation(size: int) -> str:
    places = list(zip(_ORDINALS, _TURNS, range(1, size + 1), strict=False))
    return _RELATE.format(
        turns="\n".join(f"    * {turn}, emphasizing the {place} entity." for place, turn, _ in places),
        sections="".join(
            f"### Discussion of <title> in relation to <entity{number}>\n"
            f"<Rephrased content focusing on the {place} entity>\n\n"
            for place, _, number in places
        ),
        **_WORDS[size],
    )


def read_entities(reply: str) -> tuple[str, ...]:
    """Read the first ten entities of a reply, each once: of its JSON, or of a list that is broken or cut off."""
    named = next(_find_lists(reply), None)
    if named is None:
        cut = _LIST.search(reply)
        inside = cut[1] if cut else ""
        named = _QUOTED.findall(inside) or inside.split(",")
    found: dict[str, str] = {}
    for name in named:
        plain = " ".join(str(name).split()).strip("\"' ") if isinstance(name, str | int) else ""
        if plain and plain != "...":
            found.setdefault(plain.casefold(), plain)
    return tuple(found.values())[:_MOST_ENTITIES]


def _find_lists(reply: str) -> Iterator[list[Any]]:
    """Yield the lists called entities of the objects in a reply, whatever stands around them."""
    place = reply.find("{")
    for _ in range(100):  # of text that only looks like JSON
        if place < 0:
            return
        with suppress(ValueError, RecursionError):
            found, _ = json.JSONDecoder().raw_decode(reply, place)
            if isinstance(found, dict) and isinstance(found.get("entities"), list):
                yield found["entities"]
        place = reply.find("{", place + 1)
