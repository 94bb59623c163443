"""The weights of a model, with an adapter added where there is one: read one at a time, so that no model is in memory.

A merge is computed in float32 (in float64 for weights of that) and rounded once.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import BadConfig, BadInput
from stages.exports.plain_lora import EMBEDDING, HEAD, LoraPart, PlainLora
from stages.models.config import read_config
from stages.models.directories import TensorInfo, quote_name, read_header, read_model_tensors, read_object
from stages.models.libraries import explain_library_errors, find_model_folder

FLOATS = ("F64", "F32", "BF16", "F16")  # safetensors' names
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"


def find_weights_folder(name: str) -> Path:
    """Return the folder of a model's files; those of a hub name are downloaded. Raise Unavailable where they cannot."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    from stages.fingerprints import MODEL_FILES

    with explain_library_errors(name):
        return find_model_folder(name) or Path(snapshot_download(name, allow_patterns=list(MODEL_FILES)))


@dataclass
class ModelWeights:
    """A model's weights by name, as its files have them; `lora` is added to those of its layers.

    `is_untied`: the adapter is on the head or the embedding of a model that has one weight for both, so that each
    has its own now. A context manager: its files are closed at the end.
    """

    folder: Path
    lora: PlainLora | None = None
    tensors: dict[str, TensorInfo] = field(init=False)
    files: dict[str, str] = field(init=False)  # by tensor
    is_untied: bool = field(default=False, init=False)
    _changes: dict[str, LoraPart] = field(default_factory=dict, init=False)  # by tensor
    _sources: dict[str, str] = field(default_factory=dict, init=False)  # of tensors that the files do not have
    _network: Any = field(default=None, init=False)  # without numbers
    _opened: dict[str, Any] = field(default_factory=dict, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __post_init__(self) -> None:
        self.tensors = read_model_tensors(self.folder)
        self.files = _find_files(self.folder)
        unusual = next((name for name, info in self.tensors.items() if info.dtype not in FLOATS), None)
        if unusual is not None:
            told = f"{quote_name(unusual)} is {self.tensors[unusual].dtype}: its weights are quantized"
            raise BadConfig(f"--model {self.folder}: {told}; take the model that it was made from")
        if self.lora is not None:
            self._plan(self.lora)

    def __enter__(self) -> "ModelWeights":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._opened.clear()

    def _plan(self, lora: PlainLora) -> None:
        """Find the weight of each layer of the adapter; untie head and embedding where one of them changes."""
        ends = {layer.rpartition(".")[2] for layer in lora.parts}
        tied = ends & {HEAD, EMBEDDING} and read_config(str(self.folder)).get_text_config().tie_word_embeddings
        if tied and not self.has_own_head():
            self._untie(lora)
        for layer, part in lora.parts.items():
            name = self._find(layer)
            if name is None:
                told = f"{quote_name(layer)} has no weight of its own in {self.folder}"
                raise BadConfig(f"adapter {lora.path}: {told}; merge it with peft's merge_and_unload")
            shape, wanted = self.tensors[name].shape, (part.up.shape[0], part.down.shape[1])
            turned = part.embedding or (self._is_turned(layer, part) if wanted[0] == wanted[1] else shape != wanted)
            if shape != (wanted[::-1] if turned else wanted):
                raise BadInput(f"adapter {lora.path}: {quote_name(layer)} does not fit {self.folder}")
            self._changes[name] = replace(part, transposed=turned and not part.embedding)

    def _is_turned(self, layer: str, part: LoraPart) -> bool:
        """True if a square layer is (in, out), as GPT-2's: an adapter's one setting is that of its last layer."""
        from transformers import AutoModelForCausalLM

        try:
            if self._network is None:
                with torch.device("meta"):
                    self._network = AutoModelForCausalLM.from_config(read_config(str(self.folder)))
            return type(self._network.get_submodule(layer)).__name__ == "Conv1D"
        except (AttributeError, ValueError):  # no such layer, or no language model alone
            return part.transposed

    def _find(self, layer: str) -> str | None:
        names = (f"{layer}.weight", f"{layer.partition('.')[2]}.weight")  # the latter of the bare model
        return next((name for name in names if name in self.tensors), None)

    def check_copies(self, lora: PlainLora) -> None:
        """Raise BadConfig where the adapter brings another head or embedding than the model has."""
        for layer, copied in lora.copies.items():
            name = self._find(layer) or self._find(layer.replace(HEAD, f"model.{EMBEDDING}"))
            own = self._load(name) if name is not None else None
            if own is None or own.shape != copied.shape or not torch.equal(own.to(copied.dtype), copied):
                told = f"brings a {quote_name(layer)} that is not the model's"
                raise BadConfig(f"adapter {lora.path}: {told}; merge it with peft's merge_and_unload")

    def has_own_head(self) -> bool:
        """True if the files have a head that is not the embedding: transformers takes it, whatever the settings say."""
        names = {
            end: next((name for name in self.tensors if name.endswith(f"{end}.weight")), "")
            for end in (HEAD, EMBEDDING)
        }
        if not all(names.values()) or names[HEAD] in self._sources:
            return False
        head, embedding = (self._load(name) for name in names.values())
        return not torch.equal(head, embedding)

    def _untie(self, lora: PlainLora) -> None:
        embedding = next((name for name in self.tensors if name.endswith(f"{EMBEDDING}.weight")), None)
        head = next((layer for layer in lora.parts if layer.rpartition(".")[2] == HEAD), HEAD)
        if embedding is None:
            raise BadConfig(f"adapter {lora.path}: {self.folder} has no {EMBEDDING}; merge it with merge_and_unload")
        name = f"{head}.weight"
        self.is_untied, self._sources[name] = True, embedding
        self.tensors[name], self.files[name] = self.tensors[embedding], self.files[embedding]

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """Return a weight with what the adapter adds, in this precision; None: its own."""
        weight, change = self._load(self._sources.get(name, name)), self._changes.get(name)
        own = weight.dtype
        if change is not None:
            wide = torch.promote_types(own, torch.float32)
            changed = weight.to(wide) + change.compute_change(wide)  # not in place: a file's numbers are shared
            if not changed.to(dtype or own).isfinite().all() and weight.isfinite().all():
                kind, adapter = str(dtype or own).removeprefix("torch."), self.lora.path if self.lora else self.folder
                told = f"with it {quote_name(name)} has numbers that {kind} cannot hold"
                raise BadConfig(f"adapter {adapter}: {told}; its training may have diverged")
            weight = changed
        return weight.to(dtype or own)

    def _load(self, name: str) -> Tensor:
        from safetensors import safe_open

        file = self.files[name]
        if file not in self._opened:
            self._opened[file] = self._stack.enter_context(safe_open(self.folder / file, "pt"))
        loaded: Tensor = self._opened[file].get_tensor(name)
        return loaded


def _find_files(folder: Path) -> dict[str, str]:
    """Return the name of the file of each tensor of a whole model."""
    if (folder / WHOLE).exists():
        return dict.fromkeys(read_header(folder / WHOLE), WHOLE)
    places: Mapping[str, str] = read_object(folder / INDEX)["weight_map"]
    return dict(places)


def list_weight_files(weights: ModelWeights) -> Iterator[tuple[str, list[str]]]:
    """Yield each file of a model with the names of its tensors, in the order of their places there."""
    for file in sorted(set(weights.files.values())):
        order = list(read_header(weights.folder / file))
        own = [name for name, where in weights.files.items() if where == file]
        yield file, sorted(own, key=lambda name: order.index(name) if name in order else len(order))
