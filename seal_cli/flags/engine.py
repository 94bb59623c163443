"""From --engine and its flags to an engine: hf and vllm load a model here, openai asks a server."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from seal_cli.flags.model import choose_model, plain, quiet_libraries, weights_of
from seal_cli.flags.options import offer
from seal_cli.flags.service import ENGINE_KEYS, ServiceFlags, connect, format_usage, key_from, refuse_given
from seal_cli.terminal.console import note
from stages.engines.guarded import GuardedEngine
from stages.errors import BadConfig, BadInput, Denied, MissingInput
from stages.interfaces import Request
from stages.models.adapter_checks import adapter_check, find_moved, foreign
from stages.models.inspection import read_adapter
from stages.models.loading import Device
from stages.plugins import check_name, load_class
from stages.records.adapter_paths import make_missing_adapter_error
from stages.services.base import HOSTED, Call, Transport, get_limit_name

_ENGINES = {
    "hf": "stages.engines.hf:HFEngine",
    "vllm": "stages.engines.vllm:VLLMEngine",
    "openai": "stages.engines.openai:OpenAIEngine",
}
_TIMEOUT_S = 600.0  # for a completion; a self-edit may have 8192 tokens
_BATCHES = {"vllm": 256}
_MAX_LORAS = 8


@dataclass(frozen=True)
class EngineFlags:
    """Who samples, on which device or server."""

    panel: ClassVar[str] = "Engine and device"
    name: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="Who samples: hf (transformers), vllm, openai (a server), or package.module:Class.",
            autocompletion=offer("hf", "vllm", "openai"),
        ),
    ] = "hf"
    device: Device = Device()
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most completions at once. [default: 64, vllm: 256]")
    ] = None
    max_loras: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Adapters at once on the device (vllm), on the server (openai). [default: 8]"
        ),
    ] = None
    memory_fraction: Annotated[
        float | None,
        typer.Option(metavar="F", min=0.01, max=1.0, help="Share of the GPU that vllm takes. [default: 0.9]"),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The server of --engine openai; key: OPENAI_API_KEY. [default: OpenAI's]",
            rich_help_panel=ServiceFlags.panel,
        ),
    ] = None
    service: ServiceFlags = ServiceFlags()
    structured: bool = False

    @property
    def served(self) -> bool:
        """Whether a server does the work."""
        return self.name == "openai"

    @property
    def url(self) -> str:
        return self.base_url or HOSTED

    @property
    def chats(self) -> bool:
        """Whether prompts are chats unless a flag says otherwise: OpenAI's own models take nothing else."""
        return self.served and self.url == HOSTED

    def check(self, *, unused: Mapping[str, object] | None = None, asks: bool = True) -> None:
        """Raises for flags that would do nothing, and where vLLM or, if it is asked, a server's key is missing.

        `unused`: those of a server that the judge beside it has no use for either; without a judge all of them.
        """
        check_name("--engine", self.name, _ENGINES)
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

    def choose(self, flag: str | None, named: Iterable[str]) -> str:
        """The model: --model, or the one that all lines name, or the only one of a server."""
        if not self.served:
            return choose_model(flag, named)
        names = sorted({plain(name) for name in named if name not in ("none", "unknown")})
        if flag is None and len(names) != 1:
            found = f"the lines name {', '.join(names)}" if names else "the lines name none"
            raise BadConfig(f"which model? {found}: give --model NAME, as the server calls it")
        return flag or names[0]

    def settings(self, model: str) -> Mapping[str, Any]:
        """What a run's settings say of engine and model. A server may move; what its model holds it does not say."""
        about = {"model": model} if self.served else weights_of(model, self.device)
        return {"engine": self.name, **about}

    def lost_adapters(
        self, adapters: Iterable[tuple[Path, str]], model: str, folders: Sequence[Path] = ()
    ) -> dict[Path, Exception]:
        """Which of them cannot be used, and why. A server may see files that we do not; so may engines of others.

        `folders`: from which their paths are told, which a message names.
        """
        found, lost = list(adapters), dict[Path, Exception]()
        check = self._adapter_check(model) if found else _no_check
        for path, trained_on in found:
            try:
                check(path, trained_on)
            except (BadInput, MissingInput, OSError) as error:
                lost[path] = make_missing_adapter_error(path, folders) if folders and not path.is_dir() else error
        return lost

    def _adapter_check(self, model: str) -> Callable[[Path, str], object]:
        if self.served:
            return lambda path, _: read_adapter(path) if path.exists() else None
        if self.name not in ("hf", "vllm"):
            return _no_check
        fits = adapter_check(model)
        if self.name == "hf":
            return fits
        return lambda path, trained_on: (fits(path, trained_on), self._vllm([path]))

    def find_moved(self, adapters: Mapping[Path, str], folders: Sequence[Path]) -> str | None:
        """The model that all these were trained on, where its name leads nowhere."""
        return None if self.served else find_moved(adapters, folders)

    def foreign(self, adapters: Mapping[Path, str], model: str) -> set[str]:
        """The models other than this one that the adapters were trained on. A server's goes by its name alone."""
        return set(adapters.values()) - {model} if self.served else foreign(adapters.items(), model)

    def load(self, model: str, adapters: Sequence[Path] = (), transport: Transport | None = None) -> Any:
        """The engine, loaded, for requests with these adapters; behind a server it may get another `transport`.

        Custom classes get (model, device=, batch_size=).
        """
        kind = load_class("--engine", self.name, _ENGINES)
        if self.served:
            return self._connected(model, transport)
        if self.name in _ENGINES:
            quiet_libraries()
        more: dict[str, Any] = {}
        if self.name == "vllm":
            more = self._vllm(adapters)
        batch = self.batch or _BATCHES.get(self.name, 64)
        if self.name not in _ENGINES:
            return GuardedEngine(self.name, kind, model, device=self.device, batch_size=batch)
        return kind(model, device=self.device, batch_size=batch, **more)

    def _connected(self, model: str, transport: Transport | None) -> Any:
        from stages.engines.openai import OpenAIEngine
        from stages.services.vllm_server import ServerInfo, probe_server

        server = ServerInfo() if transport else probe_server(self.url, key_from(ENGINE_KEYS))
        reached = transport or connect(self.url, ENGINE_KEYS, self.service, timeout_s=_TIMEOUT_S)
        limit_name = get_limit_name(self.url)
        return OpenAIEngine(
            model, reached, server=server, max_loras=self.max_loras or _MAX_LORAS, limit_name=limit_name
        )

    def calls(self, model: str, requests: Iterable[Request]) -> Iterator[Call]:
        """What a server would be sent."""
        from stages.engines.openai import make_call

        return (make_call(request, model, get_limit_name(self.url)) for request in requests)

    def _vllm(self, adapters: Sequence[Path]) -> dict[str, Any]:
        from stages.engines.vllm_adapters import read_lora_needs

        rank, count = read_lora_needs(adapters)
        slots = min(count, self.max_loras or _MAX_LORAS) or None
        return {
            "max_rank": rank,
            "slots": slots,
            "memory_fraction": self.memory_fraction,
            "structured": self.structured,
        }


def _no_check(path: Path, trained_on: str) -> None:
    """For engines that may read their adapters elsewhere."""


_SERVER_S = "a server does the work with --engine openai, on its own device"


def tell(stage: str, engine: Any) -> None:
    """Calls, tokens and cost of an engine behind a server; nothing of any other."""
    if hasattr(engine, "transport"):
        note(f"seal {stage}: {engine.model}: {format_usage(engine.transport.usage, [f'{engine.failed} failed'])}")
