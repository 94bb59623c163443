"""Engines that load a model in this process: transformers, vLLM, or a user's class."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from stages.errors import BadConfig, BadInput, MissingInput
from stages.interfaces import Completion, Engine, Finish, NullProgress, Progress, Request
from stages.models.adapter_checks import find_foreign_models, find_moved_model, make_adapter_check
from stages.models.checkpoints import choose_model, weights_of
from stages.models.device import Device
from stages.models.libraries import quiet_libraries
from stages.plugins import Plugin, load_class
from stages.records.adapter_paths import make_missing_adapter_error
from stages.services.base import Call

ENGINES = {
    "hf": "stages.engines.hf:HFEngine",
    "vllm": "stages.engines.vllm:VLLMEngine",
    "openai": "stages.engines.openai:OpenAIEngine",
}
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
        batch = self.batch or (256 if self.name == "vllm" else 64)  # most completions at once
        if self.name not in ENGINES:
            return GuardedEngine(self.name, kind, model, device=self.device, batch_size=batch)
        quiet_libraries()
        more = self._size_vllm(adapters) if self.name == "vllm" else {}
        engine: Engine = kind(model, device=self.device, batch_size=batch, **more)
        self.device.check_foreseen()  # not before: vLLM sets an environment for torch
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
        return find_foreign_models(adapters.items(), model, self.device.quantize)

    def _size_vllm(self, adapters: Sequence[Path]) -> dict[str, Any]:
        """Settings of vLLM that hold these adapters. Raises for one that it cannot use."""
        from stages.engines.vllm_start import read_lora_needs

        rank, count = read_lora_needs(adapters)
        slots = max(1, min(count, self.max_loras or MAX_LORAS))
        more = {"memory_fraction": self.memory_fraction, "structured": self.structured}
        return {"max_rank": rank, "slots": slots, **more}


class GuardedEngine:
    """Samples with a user's class. Raises BadConfig, with its file and line, if it raises or returns anything else."""

    def __init__(self, name: str, kind: Any, model: str, **settings: Any) -> None:
        needs = "an engine has a model and sample(requests, progress), as in stages.interfaces"
        self.theirs = Plugin("--engine", name, kind, model, **settings)
        self.model = self.theirs.text("model", needs)
        self.method = self.theirs.method("sample", needs)

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        """Yield one completion per request."""
        words = "completion", "request"
        return self.theirs.each_once(self.method, list(requests), progress, words, _explain_no_completion)


def _explain_no_completion(found: object) -> str | None:
    """Say why this is no completion; None where it is one. A failed one without its error would be a wrong answer."""
    if not isinstance(found, Completion):
        return "is no Completion(id, text, finish, tokens, error)"
    if not isinstance(found.text, str) or not (found.error is None or isinstance(found.error, str)):
        return "has a text or an error that is none"
    if found.finish not in get_args(Finish):
        return f"ends with none of {', '.join(get_args(Finish))}"
    if found.tokens is not None and (type(found.tokens) is not int or found.tokens < 0):
        return "has tokens that are no number"
    return 'is "failed" without an error' if found.finish == "failed" and not found.error else None


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
