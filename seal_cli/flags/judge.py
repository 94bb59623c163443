"""From --judge and its flags to a judge, and what a run says of it."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from seal_cli.flags.service import ServiceFlags, connect, key_from
from stages.errors import refuse_given
from stages.files import PART
from stages.interfaces import Doc
from stages.judges.base import EXAMPLES, JUDGES, RULES_VERSION, Case, Judge
from stages.judges.cache import check_cache
from stages.judges.factory import JUDGE_KEYS, make_judge, parse_server, validate_judge
from stages.judges.openai import advise_judge_flags
from stages.services.base import Call, Transport
from stages.services.batch_files import BatchAnswers
from stages.services.vllm_server import probe_server
from stages.work import JudgeSource

_TIMEOUT_S = 60.0  # for a verdict of one word


@dataclass(frozen=True)
class JudgeFlags:
    """Who grades answers."""

    panel: ClassVar[str] = "Judge"
    text: Annotated[
        str,
        Doc(
            "exact, lexical, openai:MODEL[@URL], command:PROGRAM, or package.module:Class.",
            "NAME",
            "--judge -j",
            values=EXAMPLES,
        ),
    ] = "lexical"
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
        validate_judge(self.text, key_from(JUDGE_KEYS), asks=asks)
        if self.served and self.cache_file:
            given = [path for path in others if path and path.name]
            check_cache(self.cache_file, [*given, *(path.with_name(f"{path.name}{PART}") for path in given)])
        if not self.served:
            given_for_nothing = {"--cache": self.cache, "--judge-max-tokens": self.max_tokens}
            refuse_given(given_for_nothing, f"the judge {self.text} needs none")

    @property
    def served(self) -> bool:
        return parse_server(self.text) is not None

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

    def source(self, answers: Callable[[], Transport | None] = lambda: None) -> JudgeSource:
        """Return the judge, not loaded yet. `answers`: of a server's, where they come from instead."""
        return _FlaggedJudge(self, answers)

    def settings(self) -> str:
        """Return what a run's settings say of the judge: its rules, or its server, too."""
        if self.text in JUDGES:
            return f"{self.text}, rules {RULES_VERSION}"
        found = parse_server(self.text)
        return f"openai:{found.model}@{found.url}" if found else self.text


@dataclass(frozen=True)
class _FlaggedJudge:
    flags: JudgeFlags
    answers: Callable[[], Transport | None]

    @property
    def text(self) -> str:
        return self.flags.text

    @property
    def offline(self) -> bool:
        return self.text in JUDGES

    def settings(self) -> str:
        return self.flags.settings()

    def limits(self) -> Mapping[str, Any]:
        return asdict(self.flags.service)

    def probe(self) -> None:
        """Raise where its server does not answer or refuses the key: later it would cost a model's work."""
        found = parse_server(self.text)
        if found:
            with advise_judge_flags():
                probe_server(found.url, key_from(JUDGE_KEYS))

    def load(self) -> Judge:
        flags = self.flags

        def reach(url: str) -> Transport:
            return self.answers() or connect(url, JUDGE_KEYS, flags.service, timeout_s=_TIMEOUT_S)

        limits: dict[str, Any] = {"timeout_s": flags.service.timeout_s, "max_tokens": flags.max_tokens}
        return make_judge(self.text, reach, flags.cache_file, **limits)

    def calls(self, cases: Iterable[Case]) -> Iterator[Call]:
        """Yield what it would be asked: the cases whose verdicts are not in the cache."""
        judge: Any = replace(self, answers=lambda: BatchAnswers(())).load()
        found: Iterator[Call] = judge.calls(cases)
        return found
