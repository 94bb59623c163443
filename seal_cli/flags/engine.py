"""From --engine and its flags to an engine: hf and vllm load a model here, openai asks a server."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le

from seal_cli.flags.service import ENGINE_KEYS, ServiceFlags, connect, key_from
from stages.engines.local import ENGINES, MAX_LORAS, LocalEngine, find_unusable
from stages.errors import BadConfig, Denied, refuse_given
from stages.interfaces import Doc, Engine, Request
from stages.models.adapter_checks import read_adapter
from stages.models.checkpoints import plain
from stages.models.device import Device
from stages.plugins import check_name
from stages.services.base import HOSTED, Call, Transport, get_limit_name
from stages.work import EngineSource

_SERVER_S = "a server does the work with --engine openai, on its own device"
_TIMEOUT_S = 600.0  # for a completion; a self-edit may have 8192 tokens


@dataclass(frozen=True)
class EngineFlags:
    """Who samples, on which device or server."""

    panel: ClassVar[str] = "Engine and device"
    name: Annotated[
        str,
        Doc(
            "Who samples: hf (transformers), vllm, openai (a server), or package.module:Class.",
            "NAME",
            "--engine",
            values=("hf", "vllm", "openai"),
        ),
    ] = "hf"
    device: Device = Device()
    batch: Annotated[int | None, Ge(1), Doc("Most completions at once.", "N", default="64, vllm: 256")] = None
    max_loras: Annotated[
        int | None, Ge(1), Doc("Adapters at once on the device (vllm), on the server (openai).", "N", default="8")
    ] = None
    memory_fraction: Annotated[
        float | None, Ge(0.01), Le(1.0), Doc("Share of the GPU that vllm takes.", "F", default="0.9")
    ] = None
    base_url: Annotated[
        str | None,
        Doc("The server of --engine openai; key: OPENAI_API_KEY.", "URL", default="OpenAI's", panel=ServiceFlags.panel),
    ] = None
    service: ServiceFlags = ServiceFlags()
    structured: bool = False

    @property
    def served(self) -> bool:
        """True if a server does the work."""
        return self.name == "openai"

    @property
    def url(self) -> str:
        return self.base_url or HOSTED

    def check(self, *, unused: Mapping[str, object] | None = None, asks: bool = True) -> None:
        """Raise for flags that would do nothing, and where vLLM or, if it is asked, a server's key is missing.

        `unused`: those of a server that the judge beside it has no use for either; without a judge all of them.
        """
        check_name("--engine", self.name, ENGINES)
        if self.served:
            here = {"--device": self.device.name, "--dtype": self.device.dtype}
            refuse_given({flag: None if value == "auto" else value for flag, value in here.items()}, _SERVER_S)
            refuse_given({"--batch": self.batch}, "--engine openai has no batches; give --concurrency")
            if asks and self.url == HOSTED and key_from(ENGINE_KEYS) is None:
                raise Denied(f"{HOSTED}: needs a key; export OPENAI_API_KEY=…, or give another --base-url")
        else:
            refuse_given({"--base-url": self.base_url}, f"--engine {self.name} asks no server; give --engine openai")
            given = self.service.given() if unused is None else unused
            refuse_given(given, "no server is asked; give --engine openai, or an openai:… judge")
        if self.name not in ("vllm", "openai"):
            refuse_given({"--max-loras": self.max_loras}, f"--engine {self.name} stacks as many as --batch holds")
        if self.name != "vllm":
            refuse_given({"--memory-fraction": self.memory_fraction}, "only --engine vllm takes its memory beforehand")
        else:
            from stages.engines.vllm_start import check_vllm

            check_vllm()

    def source(self, model: str | None, answers: Callable[[], Transport | None] = lambda: None) -> EngineSource:
        """Return the engine with its model, not loaded yet. `answers`: of a server's, where they come from instead."""
        if self.served:
            return ServedEngine(model, self.url, self.service, self.max_loras or MAX_LORAS, answers)
        return LocalEngine(
            model, self.name, self.device, self.batch, self.max_loras, self.memory_fraction, self.structured
        )


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
        from stages.engines.openai import OpenAIEngine
        from stages.services.vllm_server import ServerInfo, probe_server

        elsewhere = self.answers()
        server = ServerInfo() if elsewhere else probe_server(self.url, key_from(ENGINE_KEYS))
        reached = elsewhere or connect(self.url, ENGINE_KEYS, self.service, timeout_s=_TIMEOUT_S)
        limit_name = get_limit_name(self.url)
        return OpenAIEngine(model, reached, server=server, max_loras=self.max_loras, limit_name=limit_name)

    def calls(self, model: str, requests: Iterable[Request]) -> Iterator[Call]:
        from stages.engines.openai import make_call

        return (make_call(request, model, get_limit_name(self.url)) for request in requests)

    def find_unusable(self, adapters: Mapping[Path, str], model: str, folders: Sequence[Path]) -> dict[Path, Exception]:
        """A server may see files that we do not."""
        return find_unusable(adapters, lambda path, _: read_adapter(path) if path.exists() else None, folders)

    def find_moved(self, adapters: Mapping[Path, str], folders: Sequence[Path]) -> str | None:
        return None

    def find_foreign(self, adapters: Mapping[Path, str], model: str) -> set[str]:
        return set(adapters.values()) - {model}
