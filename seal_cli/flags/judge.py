"""The flags of --judge."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge

from seal_cli.flags.service import ServiceFlags, key_from
from stages.errors import refuse_given
from stages.judges.base import EXAMPLES
from stages.settings import Doc

_PANEL = "Judge"


def describe_judge(words: str, default: str = "") -> Doc:
    """Describe --judge, as every command calls it; `{}` in the words is what it takes."""
    kinds = "exact, lexical, openai:MODEL[@URL], command:PROGRAM, or package.module:Class"
    return Doc(words.format(kinds), "NAME", "--judge -j", default=default, values=EXAMPLES, panel=_PANEL)


@dataclass(frozen=True)
class JudgeFlags:
    """The judge that grades answers."""

    panel: ClassVar[str] = _PANEL
    text: Annotated[str, describe_judge("{}.")] = "lexical"
    max_tokens: Annotated[
        int | None,
        Ge(1),
        Doc(
            "Most tokens of an answer of openai:…; a judge that thinks needs some thousand.",
            "N",
            "--judge-max-tokens",
            default="16",
        ),
    ] = None
    cache: Annotated[
        str | None,
        Doc("Where verdicts of openai:… are kept.", "FILE|none", default="seal/verdicts.sqlite in the user's cache"),
    ] = None
    service: ServiceFlags = ServiceFlags()

    def check(self, *, asks: bool = True, others: Iterable[Path | None] = ()) -> None:
        """Raise for a judge that cannot be had, or if it is asked without a key, before any model is loaded.

        `others`: the run's own files, none of which may be the cache.
        """
        from stages.files import PART
        from stages.judges.cache import check_cache
        from stages.judges.factory import JUDGE_KEYS, validate_judge

        validate_judge(self.text, key_from(JUDGE_KEYS), asks=asks)
        if self.served and self.cache_file:
            given = [path for path in others if path and path.name]
            check_cache(self.cache_file, [*given, *(path.with_name(f"{path.name}{PART}") for path in given)])
        if not self.served:
            given_for_nothing = {"--cache": self.cache, "--judge-max-tokens": self.max_tokens}
            refuse_given(given_for_nothing, f"the judge {self.text} needs none")

    @property
    def served(self) -> bool:
        """True for openai:…, a model behind a server."""
        return self.text.partition(":")[0] == "openai"

    @property
    def cache_file(self) -> Path | None:
        """--cache, or a file in the user's cache; None for no cache."""
        if self.cache is not None:
            return None if self.cache == "none" else Path(self.cache)
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(root) / "seal" / "verdicts.sqlite"

    def get_unused_flags(self) -> Mapping[str, object]:
        """Return the flags of servers that were given and that this judge has no use for."""
        given = dict(self.service.given())
        if self.text.startswith("command:"):
            del given["--timeout"]
        return {} if self.served else given
