"""The engine and the judge of a run, from their flags: loaded here, or behind a server."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.judge import JudgeFlags
from seal_cli.flags.service import ENGINE_KEYS, ServiceFlags, key_from
from seal_cli.terminal.console import note
from stages.engines.local import MAX_LORAS, LocalEngine, find_unusable
from stages.engines.openai import OpenAIEngine, make_call
from stages.errors import BadConfig
from stages.interfaces import Engine, NullProgress, Request
from stages.judges.base import JUDGES, RULES_VERSION, Case, Judge
from stages.judges.factory import JUDGE_KEYS, make_judge, parse_server
from stages.judges.openai import advise_judge_flags
from stages.models.checkpoints import plain
from stages.services.base import HOSTED, Call, Transport, get_limit_name
from stages.services.batch_files import BatchAnswers
from stages.services.client import Server
from stages.services.vllm_server import ServerInfo, probe_server
from stages.work import EngineSource

_ENGINE_TIMEOUT_S = 600.0  # for a completion; a self-edit may have 8192 tokens
_JUDGE_TIMEOUT_S = 60.0  # for a verdict of one word


def select_engine(
    flags: EngineFlags,
    model: str | None,
    *,
    structured: bool = False,
    answers: Callable[[], Transport | None] = lambda: None,
) -> EngineSource:
    """Return the engine with its model, not loaded yet. `answers`: of a server's, where they come from instead."""
    if flags.served:
        return ServedEngine(model, flags.url, flags.service, flags.max_loras or MAX_LORAS, answers)
    limits = flags.batch, flags.max_loras, flags.memory_fraction
    return LocalEngine(model, flags.name, flags.device, *limits, structured)


@dataclass(frozen=True)
class ServedEngine:
    """A model behind a server, which goes by its name alone. `answers`: where they come from, if it is not asked."""

    model: str | None
    url: str
    service: ServiceFlags
    max_loras: int
    answers: Callable[[], Transport | None]
    name: str = "openai"
    served: bool = True

    @property
    def chats(self) -> bool:
        """True if prompts are chats unless a flag says otherwise: OpenAI's own models take nothing else."""
        return self.url == HOSTED

    def choose(self, named: Collection[str], moved: str | None = None) -> str:
        """Return the model: --model, or the one that all lines name."""
        names = sorted({plain(name) for name in named if name not in ("none", "unknown")})
        if self.model is None and len(names) != 1:
            found = f"the lines name {', '.join(names)}" if names else "the lines name none"
            raise BadConfig(f"which model? {found}: give --model NAME, as the server calls it")
        return self.model or names[0]

    def settings(self, model: str) -> Mapping[str, Any]:
        """Return what a run's settings say of it. A server may move; what its model holds it does not say."""
        return {"engine": self.name, "model": model}

    def load(self, model: str, adapters: Sequence[Path] = ()) -> Engine:
        elsewhere = self.answers()
        server = ServerInfo() if elsewhere else probe_server(self.url, key_from(ENGINE_KEYS))
        reached = elsewhere or connect(self.url, ENGINE_KEYS, self.service, timeout_s=_ENGINE_TIMEOUT_S)
        limit_name = get_limit_name(self.url)
        return OpenAIEngine(model, reached, server=server, max_loras=self.max_loras, limit_name=limit_name)

    def calls(self, model: str, requests: Iterable[Request]) -> Iterator[Call]:
        return (make_call(request, model, get_limit_name(self.url)) for request in requests)

    def find_unusable(self, adapters: Mapping[Path, str], model: str, folders: Sequence[Path]) -> dict[Path, Exception]:
        """A server may see files that we do not. Of those that we see it is vLLM's that takes adapters."""
        from stages.engines.vllm_start import read_servable_adapter

        return find_unusable(adapters, lambda path, _: path.exists() and read_servable_adapter(path), folders)

    def find_moved(self, adapters: Mapping[Path, str], folders: Sequence[Path]) -> str | None:
        return None

    def find_foreign(self, adapters: Mapping[Path, str], model: str) -> set[str]:
        return set(adapters.values()) - {model}


@dataclass(frozen=True)
class FlaggedJudge:
    """The judge of --judge, not loaded yet. `answers`: of a server's, where they come from instead."""

    flags: JudgeFlags
    answers: Callable[[], Transport | None] = lambda: None

    @property
    def text(self) -> str:
        return self.flags.text

    @property
    def offline(self) -> bool:
        return self.text in JUDGES

    def settings(self) -> str:
        """Return what a run's settings say of the judge: its rules, or its server, too."""
        if self.offline:
            return f"{self.text}, rules {RULES_VERSION}"
        found = parse_server(self.text)
        return f"openai:{found.model}@{found.url}" if found else self.text

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
            return self.answers() or connect(url, JUDGE_KEYS, flags.service, timeout_s=_JUDGE_TIMEOUT_S)

        limits: dict[str, Any] = {"timeout_s": flags.service.timeout_s, "max_tokens": flags.max_tokens}
        return make_judge(self.text, reach, flags.cache_file, **limits)

    def calls(self, cases: Iterable[Case]) -> Iterator[Call]:
        """Yield what it would be asked: the cases whose verdicts are not in the cache."""
        judge: Any = replace(self, answers=lambda: BatchAnswers(())).load()
        found: Iterator[Call] = judge.calls(cases)
        return found


class _NoteProgress(NullProgress):
    """A Progress that passes on notes alone."""

    def note(self, text: str) -> None:
        note(f"seal: {text}")


def connect(url: str, keys: Sequence[str], flags: ServiceFlags, *, timeout_s: float) -> Transport:
    """Return a transport to a server, with the key that the environment holds for it."""
    return Server(
        url,
        key=key_from(keys),
        key_name=next((name for name in keys if os.environ.get(name)), keys[-1]),
        concurrency=flags.concurrency or 16,
        timeout_s=flags.timeout_s or timeout_s,
        retry_for_s=300.0 if flags.retry_for_s is None else flags.retry_for_s,
        progress=_NoteProgress(),
    )
