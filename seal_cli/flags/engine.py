"""The flags of --engine: hf and vllm load a model here, openai asks a server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from seal_cli.flags.service import ENGINE_KEYS, ServiceFlags, key_from
from stages.errors import Denied, refuse_given
from stages.models.device import Device
from stages.plugins import check_name
from stages.services.base import HOSTED
from stages.settings import Doc

_SERVER_S = "a server does the work with --engine openai, on its own device"


@dataclass(frozen=True)
class EngineFlags:
    """The engine that samples, with its device or server."""

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
        from stages.engines.local import ENGINES

        check_name("--engine", self.name, ENGINES)
        mine = self.name == "hf"
        self.device.check_quantize("" if mine else f"--engine {self.name} quantizes no weights here; give --engine hf")
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
