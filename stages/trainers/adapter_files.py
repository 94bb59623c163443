"""Write adapters as PEFT directories: complete or absent, byte-equal if equal, none that a check would refuse."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.errors import BadConfig, BadInput, MissingInput
from stages.files import atomic_directory, write_file
from stages.models.adapter_checks import UNKNOWN_WEIGHTS, make_adapter_check
from stages.models.checkpoints import BASE_KEY, QUANTIZE_KEY, fingerprint, resolve_model_name
from stages.models.lora_targets import ALL_LINEAR
from stages.settings import FitConfig
from stages.trainers.checkpoints import encode_header

_WEIGHTS = "adapter_model.safetensors"
SETTINGS_BYTES = 16_384  # of an adapter directory beside its weights, at most


@dataclass(frozen=True)
class AdapterBase:
    """The model that adapters are trained on: its name, its weights' fingerprint, and the adapters it accepts.

    `quantize`: how its weights were quantized meanwhile.
    """

    name: str
    weights: str = UNKNOWN_WEIGHTS  # of a model that was in memory already
    check: Callable[[Path, str], None] = lambda path, model: None
    quantize: str = "none"

    @classmethod
    def of(cls, model: str, quantize: str = "none") -> "AdapterBase":
        """Describe the model in this directory. Raises as `adapter_check` does."""
        return cls(model, fingerprint(model), make_adapter_check(model), quantize)

    @property
    def metadata(self) -> dict[str, str]:
        """What is written beside an adapter's weights."""
        more = {QUANTIZE_KEY: self.quantize} if self.quantize != "none" else {}
        return {"format": "pt", BASE_KEY: self.weights, **more}

    def accept(self, adapter: Path) -> None:
        """Raise BadConfig for an adapter that `seal eval`, or this training repeated, would refuse."""
        try:
            self.check(adapter, self.name)
        except (BadInput, MissingInput) as error:
            raise BadConfig(
                f"the adapter cannot be used as it was trained: {error}; take other layers with --target"
            ) from None


def save_adapter(student: Any, out: Path, base: AdapterBase) -> Path:
    """Write a trained peft model's LoRA as a PEFT directory: complete or absent."""
    from peft import get_peft_model_state_dict

    settings = student.peft_config["default"]
    settings.inference_mode = True
    return write_peft_directory(out, settings, get_peft_model_state_dict(student, save_embedding_layers=False), base)


def write_adapter(
    out: Path, state: Mapping[str, torch.Tensor], config: FitConfig, targets: Sequence[str], base: AdapterBase
) -> Path:
    """Write weights under peft's names as a PEFT directory: complete or absent."""
    from peft import LoraConfig

    given = () if list(config.targets) == [ALL_LINEAR] else config.targets
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=sorted(given or {name.rpartition(".")[2] for name in targets}),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.name,
        inference_mode=True,
    )
    return write_peft_directory(out, settings, state, base)


def write_peft_directory(out: Path, settings: Any, state: Mapping[str, torch.Tensor], base: AdapterBase) -> Path:
    """peft's two files, the weights as safetensors. Their metadata names the base model's weights.

    Nothing is published that the base does not accept.
    """
    from safetensors.torch import save

    settings.base_model_name_or_path = resolve_model_name(settings.base_model_name_or_path)
    data = save({name: weight.contiguous() for name, weight in state.items()}, base.metadata)
    with atomic_directory(out) as partial:
        settings.save_pretrained(str(partial))
        _sort_sets(partial / "adapter_config.json")
        write_file(partial / _WEIGHTS, _sort_metadata(data))
        base.accept(partial)
    return out


def _sort_sets(path: Path) -> None:
    """Put peft's settings that are sets in order: equal adapters are equal bytes."""
    settings = json.loads(path.read_bytes())
    for key in ("target_modules", "exclude_modules"):
        if isinstance(settings.get(key), list):
            settings[key].sort()
    write_file(path, json.dumps(settings, indent=2, sort_keys=True).encode())


def _sort_metadata(data: bytes) -> bytes:
    """The safetensors file with its metadata in order: its writer has them in any, and equal adapters unlike bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    return encode_header(header) + data[end:]
