"""A mix of templates: the samples of a task take one after the other, in shares (SPA, arXiv 2603.22213)."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stages.domains.base import Domain
from stages.domains.templates.entigraph import ENTIGRAPH
from stages.errors import BadConfig, BadInput, MissingInput
from stages.records.frozen import derive_seed
from stages.sources.texts import read_flag_file

MIX = "mix:"
_MOST = 1000  # the sum of all weights
_WEIGHTED = re.compile(r"([-+]?\d{1,9}(?:\.\d*)?)\s+(.*)", re.ASCII)


@dataclass(frozen=True)
class MixedTemplate:
    """One template of a mix: as its file calls it, as the domain takes it, and its text."""

    name: str
    template: str
    text: str


@dataclass(frozen=True)
class TemplateMix:
    """The templates of a mix, each as often as its weight says."""

    parts: tuple[MixedTemplate, ...]

    def pick(self, seed: int, task_id: str, sample: int) -> MixedTemplate:
        """Return the template of a sample: as many samples as there are parts take each part once, in a drawn order."""
        turn, place = divmod(sample, len(self.parts))
        return self.parts[_draw_order(tuple(part.name for part in self.parts), seed, f"{task_id}/{turn}")[place]]

    @property
    def texts(self) -> list[tuple[str, str]]:
        """The names and texts, for a run's settings."""
        return [(part.name, part.text) for part in self.parts]


@lru_cache(maxsize=64)  # the samples of a turn are asked for together
def _draw_order(names: tuple[str, ...], seed: int, turn: str) -> tuple[int, ...]:
    """Draw the order in which the parts of these names are taken."""
    return tuple(sorted(range(len(names)), key=lambda part: derive_seed(seed, f"{turn}/{names[part]}", part)))


def read_mix(template: str, domain: Domain) -> TemplateMix:
    """Read the file of `mix:FILE`: `[WEIGHT] TEMPLATE` a line, `#` for a comment; its files are told from its folder.

    Raises BadConfig with the line's place for what cannot be mixed.
    """
    path = Path(template.removeprefix(MIX))
    text = read_flag_file(path, f"--template {template}", "; a line of it names a template: 2 rewrite")
    parts: list[MixedTemplate] = []
    for number, line in enumerate(text.split("\n"), 1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        weighted = _WEIGHTED.fullmatch(said)
        weight, name = (weighted[1], weighted[2]) if weighted else ("1", said)
        where = f"--template {template}:{number}"
        if not weight.isdecimal() or not 1 <= int(weight) <= _MOST - len(parts):
            raise BadConfig(f"{where}: the weight {weight}; they are whole, from 1, and {_MOST} in all at most")
        parts += [_read_part(name, path.parent, domain, where)] * int(weight)
    if not parts:
        raise BadConfig(f"--template {template}: no template in it; a line of it names one: 2 rewrite")
    return TemplateMix(tuple(parts))


def _read_part(name: str, folder: Path, domain: Domain, where: str) -> MixedTemplate:
    if name.startswith(MIX) or name == ENTIGRAPH or name.partition(":")[0] == "oracle":
        raise BadConfig(f"{where}: {name} is not a single prompt; a mix has named templates and files")
    if domain.get_fixed_edit(name) is not None:
        raise BadConfig(f"{where}: {name} asks no model; a mix has templates that do")
    beside = folder / name
    template = str(beside) if name not in domain.templates and beside.is_file() else name
    try:
        return MixedTemplate(name, template, domain.template_text(template))
    except (BadConfig, BadInput, MissingInput) as error:
        raise type(error)(f"{where}: {error}") from None
