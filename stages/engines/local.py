"""Engines that load a model in this process: transformers, vLLM, or a user's class."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.engines.guarded import GuardedEngine
from stages.errors import BadConfig, BadInput, MissingInput
from stages.interfaces import Engine, Request
from stages.models.adapter_checks import find_foreign_models, find_moved_model, make_adapter_check
from stages.models.choice import choose_model, quiet_libraries, weights_of
from stages.models.device import Device
from stages.plugins import load_class
from stages.records.adapter_paths import make_missing_adapter_error
from stages.services.base import Call

ENGINES = {
    "hf": "stages.engines.hf:HFEngine",
    "vllm": "stages.engines.vllm:VLLMEngine",
    "openai": "stages.engines.openai:OpenAIEngine",
}
BATCHES = {"vllm": 256}  # most completions at once; else 64
MAX_LORAS = 8


@dataclass(frozen=True)
class LocalEngine:
    """A model to load here, and how it is sampled. Users' classes get (model, device=, batch_size=)."""

    model: str | None = None  # None: the one that all lines name
    name: str = "hf"
    device: Device = Device()
    batch: int | None = None
    max_loras: int | None = None
    memory_fraction: float | None = None
    structured: bool = False
    served: bool = False
    chats: bool = False

    def choose(self, named: Collection[str], moved: str | None = None) -> str:
        return choose_model(self.model or moved, named)

    def settings(self, model: str) -> Mapping[str, Any]:
        return {"engine": self.name, **weights_of(model, self.device)}

    def load(self, model: str, adapters: Sequence[Path] = ()) -> Engine:
        kind = load_class("--engine", self.name, ENGINES)
        batch = self.batch or BATCHES.get(self.name, 64)
        if self.name not in ENGINES:
            return GuardedEngine(self.name, kind, model, device=self.device, batch_size=batch)
        quiet_libraries()
        more = self._size_vllm(adapters) if self.name == "vllm" else {}
        engine: Engine = kind(model, device=self.device, batch_size=batch, **more)
        return engine

    def calls(self, model: str, requests: Iterable[Request]) -> Iterator[Call]:
        raise BadConfig(f"--engine {self.name} asks no server")

    def find_unusable(self, adapters: Mapping[Path, str], model: str, folders: Sequence[Path]) -> dict[Path, Exception]:
        return find_unusable(adapters, self._make_check(model) if adapters else None, folders)

    def _make_check(self, model: str) -> Callable[[Path, str], object] | None:
        if self.name not in ("hf", "vllm"):  # engines of others may read their adapters elsewhere
            return None
        fits = make_adapter_check(model)
        return fits if self.name == "hf" else lambda path, base: (fits(path, base), self._size_vllm([path]))

    def find_moved(self, adapters: Mapping[Path, str], folders: Sequence[Path]) -> str | None:
        return None if self.model else find_moved_model(adapters, folders)

    def find_foreign(self, adapters: Mapping[Path, str], model: str) -> set[str]:
        return find_foreign_models(adapters.items(), model)

    def _size_vllm(self, adapters: Sequence[Path]) -> dict[str, Any]:
        """Settings of vLLM that hold these adapters. Raises for one that it cannot use."""
        from stages.engines.vllm_adapters import read_lora_needs

        rank, count = read_lora_needs(adapters)
        slots = min(count, self.max_loras or MAX_LORAS) or None
        more = {"memory_fraction": self.memory_fraction, "structured": self.structured}
        return {"max_rank": rank, "slots": slots, **more}


def find_unusable(
    adapters: Mapping[Path, str], check: Callable[[Path, str], object] | None, folders: Sequence[Path]
) -> dict[Path, Exception]:
    """Return the adapters that do not pass the check, and why. `folders`: where their paths lead from, for messages."""
    found = dict[Path, Exception]()
    for path, trained_on in adapters.items():
        try:
            if check:
                check(path, trained_on)
        except (BadInput, MissingInput, OSError) as error:
            found[path] = make_missing_adapter_error(path, folders) if folders and not path.is_dir() else error
    return found
