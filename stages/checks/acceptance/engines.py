"""The engine under test: a model loaded here, or a server, with and without the adapter."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.checks.acceptance.exams import AdaptedEngine
from stages.checks.acceptance.subjects import is_merged_model
from stages.engines.local import LocalEngine
from stages.engines.openai import OpenAIEngine
from stages.errors import BadConfig, BadInput, SealError
from stages.interfaces import Engine, Probe, Request
from stages.services.base import Transport, get_limit_name
from stages.services.measuring.token_scores import (
    Scores,
    Untold,
    apply_llama_adapter,
    ask_all,
    get_server_root,
    list_llama_adapters,
    score_allowed,
    score_echoed,
    score_forced,
    tokenize,
)
from stages.services.vllm_server import LoraRegistry, ServerInfo
from stages.settings import ANSWERING


class TestedEngine(Protocol):
    """An engine under test, open for one adapter. `no_plain`: why it cannot be asked without; "" where it can."""

    no_plain: str

    def score(self, probes: Sequence[Probe], *, adapted: bool) -> Scores:
        """Return the log-probabilities of the probes' tokens. Raises Untold where they cannot be had."""

    def tokenize(self, texts: Sequence[str]) -> Sequence[Sequence[object]] | None:
        """Return its tokens of texts; None where it is sent tokens, or has the reference's tokenizer."""

    @property
    def answering(self) -> Engine:
        """An Engine that answers with the adapter."""


# ---- loaded here


class LocalHost:
    """One model of this process at a time, for all adapters that are tested: loading may take longer than the rest."""

    def __init__(self, source: LocalEngine, adapters: Sequence[Path]) -> None:
        self.source, self.adapters = source, [path for path in adapters if not is_merged_model(path)]
        self.engine: Any = None
        self.model = ""

    def load(self, model: str) -> Any:
        """Return the engine with this model; another one leaves the memory before."""
        if self.engine is None or self.model != model:
            self.close()
            self.engine, self.model = self.source.load(model, self.adapters), model
        return self.engine

    def close(self) -> None:
        """Let the model go, and end vLLM's process."""
        if self.engine is not None and self.source.name == "vllm":
            with suppress(Exception):
                self.engine.close()
        self.engine = None
        gc.collect()


class LocalTest:
    """hf or vllm in this process. `served`: an adapter's directory, or a merged model's, which is then the engine's."""

    def __init__(self, host: LocalHost, model: str, served: Path) -> None:
        self.merged = is_merged_model(served)
        if self.merged and host.source.name != "hf":
            raise BadConfig(f"--served {served}: a whole model; --engine hf takes it, or serve it: --engine openai")
        self.host, self.model, self.served, self.no_plain = host, model, served, ""

    def _load(self, adapted: bool) -> tuple[Any, Path | None]:
        whole = adapted and self.merged
        return self.host.load(str(self.served) if whole else self.model), self.served if adapted and not whole else None

    def score(self, probes: Sequence[Probe], *, adapted: bool) -> Scores:
        """Return the log-probabilities of the probes' tokens. Raises BadInput for an adapter that it cannot use."""
        name = self.host.source.name
        engine, adapter = self._load(adapted)
        if name == "vllm":
            rows: Scores = engine.measure(probes, adapter)
            return rows
        if name != "hf":
            raise Untold(f"--engine {name} tells no log-probabilities")
        requests = [
            Request(str(number), probe.prompt, ANSWERING, adapter, continuation=probe.text)
            for number, probe in enumerate(probes)
        ]
        found = {each.id: each for each in engine.sample(requests)}
        if error := next((each.error for each in found.values() if each.error), None):
            raise BadInput(error)
        return [found[request.id].token_log_probabilities for request in requests]

    def tokenize(self, texts: Sequence[str]) -> None:
        """Return None: an hf model's tokens are counted, vLLM is sent tokens."""

    @property
    def answering(self) -> Engine:
        return AdaptedEngine(*self._load(True))


# ---- servers


@dataclass(frozen=True)
class ServerAccess:
    """How a server is reached. `plain_url`: where the base model is, beside a server that has a merged one alone."""

    url: str
    plain_url: str | None
    probe: Callable[[str], ServerInfo]
    connect: Callable[[str], Transport]


class NamedTest:
    """A server that calls the base model and the adapter by names, as vLLM does."""

    def __init__(self, access: ServerAccess, info: ServerInfo, plain_model: str | None, served: str) -> None:
        self.access, self.info, self.model, self.served = access, info, plain_model, served
        self.transport = access.connect(access.url)
        self.plain = access.connect(access.plain_url) if access.plain_url else self.transport
        self.no_plain = "" if plain_model else "the server has it alone; give --plain-url URL, or --model NAME"

    def score(self, probes: Sequence[Probe], *, adapted: bool) -> Scores:
        if adapted:
            return self._score(self.transport, probes, self.served)
        return self._score(self.plain, probes, self.model or "")

    def _score(self, transport: Transport, probes: Sequence[Probe], model: str) -> Scores:
        ask = score_allowed if self.info.vllm else score_echoed
        return ask(transport, probes, model)

    def tokenize(self, texts: Sequence[str]) -> None:
        """Return None: it is sent tokens."""

    @property
    def answering(self) -> Engine:
        limit = get_limit_name(self.access.url)
        return OpenAIEngine(self.served, self.transport, server=self.info, limit_name=limit)


class LlamaCppTest:
    """A llama.cpp server: its adapters are switched by each call, its model may be a merged one."""

    def __init__(self, access: ServerAccess, info: ServerInfo, served: str, names: Sequence[str]) -> None:
        self.info = info
        self.transport = access.connect(get_server_root(access.url))
        self.chat = access.connect(f"{get_server_root(access.url)}/v1")
        self.adapters = list_llama_adapters(self.transport)
        self.number = _find_llama_adapter(self.adapters, served, names) if self.adapters else None
        url = access.plain_url
        self.plain = access.connect(get_server_root(url)) if url else self.transport
        alone = not self.adapters and not url
        self.no_plain = (
            "the server has a merged model alone; give --plain-url URL of the model as it was" if alone else ""
        )
        self.plain_adapters = list_llama_adapters(self.plain) if url else self.adapters

    def score(self, probes: Sequence[Probe], *, adapted: bool) -> Scores:
        if adapted:
            return score_forced(self.transport, probes, apply_llama_adapter(self.adapters, self.number))
        return score_forced(self.plain, probes, apply_llama_adapter(self.plain_adapters, None))

    def tokenize(self, texts: Sequence[str]) -> Sequence[Sequence[object]]:
        return tokenize(self.transport, texts)

    @property
    def answering(self) -> Engine:
        more = apply_llama_adapter(self.adapters, self.number)
        return OpenAIEngine((self.info.models or ("",))[0], self.chat, more=more)


def _find_llama_adapter(there: dict[int, str], served: str, names: Sequence[str]) -> int:
    """Return the number of the server's adapter: the one that is named, that has one of these names, or the only one.

    `served`: a number, or the name of a file without its end. Raises BadConfig where none or several may be meant.
    """
    if served:
        found = [number for number, stem in there.items() if served in (str(number), stem, f"{stem}.gguf")]
    else:
        found = [number for number, stem in there.items() if any(name in stem for name in names)]
        found = found or (list(there) if len(there) == 1 else [])
    if len(found) != 1:
        known = ", ".join(f"{number} {stem}" for number, stem in there.items())
        told = f"--served {served}: " if served else "which adapter of the server? "
        raise BadConfig(f"{told}it has {known}; give --served NAME, or its number")
    return found[0]


@contextmanager
def open_served(
    access: ServerAccess, path: Path, *, model: str | None, served: str, names: Sequence[str]
) -> Iterator[TestedEngine]:
    """Open a server. Its adapter is the one that is named, one of these names, or at vLLM's loaded from the directory.

    `model`: what it calls the base model. Raises Unavailable or Denied for a server that does not answer, BadConfig for
    an adapter that it does not have.
    """
    info = access.probe(access.url)
    if info.llama_cpp:
        yield LlamaCppTest(access, info, served, names)
        return
    known = info.models or ()
    here = served or next((name for name in names if name in known), "")
    others = [name for name in known if name != here]
    plain = model or (others[0] if others and not access.plain_url else None)
    if access.plain_url:
        plain = model or next(iter(access.probe(access.plain_url).models or ()), None)
    tested = NamedTest(access, info, plain, here)
    if here:
        yield tested
        return
    if not info.vllm:
        told = f"it has {', '.join(known)}" if known else "it does not say what it has"
        raise BadConfig(f"{access.url}: what does it call the adapter? {told}; give --served NAME")
    registry = LoraRegistry(lambda call: ask_all(tested.transport, {0: call})[0], maximum=1)
    tested.served = registry.load(path)
    try:
        yield tested
    finally:
        with suppress(SealError):
            registry.unload(path)
