"""Check adapters before they are used: whole, of the rank they say, made for a model's layers and weights.

Only settings and safetensors headers are read, no weights.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stages.errors import BadInput, MissingInput
from stages.models.checkpoints import BASE_KEY, QUANTIZE_KEY, fingerprint
from stages.models.directories import (
    TensorInfo,
    quote_name,
    read_header,
    read_metadata,
    read_model_tensors,
    read_object,
)
from stages.models.tuned_models import MAKE_AGAIN, is_tuned_model, read_tuned_model
from stages.sources.datasets.folders import find_placeholder

UNKNOWN_WEIGHTS = "unknown"  # the fingerprint of a model that was in memory already
LORA_WEIGHT = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(embedding_)?([AB])(?:\.weight)?")
PLAIN_WEIGHT = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")  # as `get_peft_name` writes it
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # PiSSA, OLoRA, CorDA and LoftQ change base weights
_PLAIN_SETTINGS = {  # with which an adapter is two matrices a layer
    *("peft_type", "task_type", "peft_version", "base_model_name_or_path", "revision", "auto_mapping"),
    *("inference_mode", "r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules", "bias", "layers_pattern"),
    *("init_lora_weights", "loftq_config", "eva_config", "lora_ga_config", "megatron_core", "qalora_group_size"),
}
_PROMPT_METHODS = (
    "PROMPT_TUNING",
    "MULTITASK_PROMPT_TUNING",
    "P_TUNING",
    "PREFIX_TUNING",
    "CPT",
    "ADAPTION_PROMPT",
    "CARTRIDGE",
)


@dataclass(frozen=True)
class LoraTarget:
    """A layer with a LoRA, and the shapes of its two parts: down (rank, in), up (out, rank)."""

    layer: str
    down: tuple[int, ...]
    up: tuple[int, ...]
    embedding: bool = False


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter's settings, its number of tensors, and its targets if it is a LoRA."""

    config: Mapping[str, Any]
    tensors: int
    targets: tuple[LoraTarget, ...]

    @property
    def base(self) -> str | None:
        name = self.config.get("base_model_name_or_path")
        return name if isinstance(name, str) and name else None


def get_peft_name(layer: str, side: str) -> str:
    """Return peft's name of a layer's part A (rank, in) or B (out, rank) in a file of weights."""
    return f"base_model.model.{layer}.lora_{side}.weight"


def read_adapter_config(path: Path) -> dict[str, Any]:
    """Read the PEFT settings of an adapter's folder. Raise MissingInput or BadInput if the adapter cannot be used."""
    weights = path / "adapter_model.safetensors"
    if not path.is_dir():
        raise MissingInput(f"adapter {path}: no such directory (run `seal adapt` again, or copy it there)")
    if pointer := find_placeholder(path):
        raise BadInput(f"adapter {path}: {pointer}")
    if is_tuned_model(path):
        raise BadInput(f"adapter {path}: a whole model (--method full), no adapter; --engine hf can use it")
    if not weights.is_file():
        kind = "only a .bin, which is not read" if weights.with_suffix(".bin").is_file() else "no weights"
        raise BadInput(f"adapter {path}: {kind}; it needs {weights.name}")
    found = read_object(path / "adapter_config.json")
    method, start = found.get("peft_type"), found.get("init_lora_weights", True)
    if not isinstance(method, str) or not method:
        fault = "its settings have no peft_type; take an adapter of layers, as LoRA is"
    elif method in _PROMPT_METHODS:
        fault = f"peft_type {method} puts tokens before the prompt; take an adapter of layers, as LoRA is"
    elif found.get("layer_replication"):
        way = "make that model, and train an adapter of it"
        fault = f"its layer_replication makes another model with more layers; {way}"
    elif start not in _PLAIN_STARTS:
        fault = f"begun with {start}, which changes the base model; convert it to plain LoRA first"
    else:
        return found
    raise BadInput(f"adapter {path}: {fault}")


def list_unusual_settings(config: Mapping[str, Any]) -> list[str]:
    """List the settings of an adapter, of whatever version of peft, by which it may be more than plain LoRA."""
    found = [key for key, value in config.items() if value and key not in _PLAIN_SETTINGS]
    return [*found, "bias"] if config.get("bias", "none") != "none" else found


def read_adapter(path: Path) -> AdapterInfo:
    """Read an adapter whose weights are whole and of the rank that its settings say. Raise MissingInput or BadInput."""
    config = read_adapter_config(path)
    header = read_header(path / "adapter_model.safetensors")
    targets = tuple(_find_targets(path, header)) if config["peft_type"] == "LORA" else ()
    ranks = read_lora_ranks(path, config) if targets else set()
    stacked = bool(config.get("target_parameters"))  # of experts that are one tensor: their ranks are put together
    for target in targets:
        for side, rank in (("lora_A", target.down[0]), ("lora_B", target.up[1])):
            if rank not in ranks and not (stacked and any(rank % own == 0 for own in ranks)):
                layer, named = quote_name(target.layer), " or ".join(map(str, sorted(ranks)))
                raise BadInput(f"adapter {path}: {side} of {layer} has rank {rank}, not {named}; {MAKE_AGAIN}")
    return AdapterInfo(config, len(header), targets)


def read_lora_ranks(path: Path, config: Mapping[str, Any]) -> set[int]:
    """Return the ranks that the settings name, for all layers or for some."""
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    if not all(type(rank) is int and rank > 0 for rank in ranks):
        raise BadInput(f"adapter {path}: r and rank_pattern are not all whole numbers ≥ 1; {MAKE_AGAIN}")
    return set(ranks)


def _find_targets(path: Path, tensors: Mapping[str, TensorInfo]) -> Iterator[LoraTarget]:
    """Yield every layer with both parts. Raise BadInput if one is missing, or if there is none at all."""
    parts: dict[tuple[str, bool], dict[str, tuple[int, ...]]] = {}
    for name, info in tensors.items():
        if match := LORA_WEIGHT.fullmatch(name):
            parts.setdefault((match[1], bool(match[2])), {})[match[3]] = info.shape
    if not parts:
        raise BadInput(f"adapter {path}: a LoRA without lora_A and lora_B; {MAKE_AGAIN}")
    for (layer, embedding), sides in parts.items():
        if set(sides) != {"A", "B"} or min(map(len, sides.values())) < 2:
            told = f"{quote_name(layer)} has no lora_A and lora_B of two dimensions"
            raise BadInput(f"adapter {path}: {told}; {MAKE_AGAIN}")
        yield LoraTarget(layer, sides["A"], sides["B"], embedding)


def shape_mismatches(adapter: AdapterInfo, tensors: Mapping[str, TensorInfo]) -> tuple[list[str], list[str]]:
    """Return (what does not fit this model, the layers that headers cannot compare).

    Headers cannot tell where transformers renames a checkpoint's weights on loading, or where layers share one weight.
    """
    bad: list[str] = []
    unclear: list[str] = []
    parts = {part for name in tensors for part in name.split(".")}
    for target in adapter.targets:
        layer = target.layer.replace(".base_layer", "")  # peft's word for a layer with two adapters on it
        own, wanted = layer.split("."), (target.up[0], target.down[1])
        names = (f"{layer}.weight", ".".join((*own[1:], "weight")))  # the latter in a checkpoint of the bare model
        weight = next((tensors[name].shape for name in names if name in tensors), None)
        turned = target.embedding or bool(adapter.config.get("fan_in_fan_out"))  # (in, out), as GPT-2's Conv1D
        if weight is None:
            named = any(name == layer or name.startswith(f"{layer}.") for name in tensors)
            renamed = any(map(str.isdecimal, own)) and {own[-1], *filter(str.isdecimal, own)} <= parts
            known = named or own[-1] == "lm_head" or renamed
            (unclear if known else bad).append(f"no layer {quote_name(target.layer)}")
        elif len(target.down) > 2 or len(weight) != 2:
            unclear.append(f"{quote_name(target.layer)} is no matrix")
        elif wanted != (weight[::-1] if turned else weight):
            sizes = f"{weight[0]}×{weight[1]}, the adapter for {wanted[0]}×{wanted[1]}"
            bad.append(f"{quote_name(target.layer)} is {sizes}")
    return bad, unclear


# ---- before they are used


def is_whole_adapter(path: Path) -> bool:
    """True if the folder holds all that its files say. No weight is read."""
    return _passes(read_tuned_model if is_tuned_model(path) else read_adapter, path)


def make_usability_check(model: str) -> Callable[[Path], bool]:
    """Return a function: True for an adapter trained on this model that `make_adapter_check` accepts.

    The model is looked at when the first adapter is asked about; one that is not whole raises, and condemns no adapter.
    """
    check = cache(lambda: make_adapter_check(model))
    return lambda path: _passes(check(), path, model)


def _passes(check: Callable[..., object], *of: object) -> bool:
    try:
        check(*of)
    except (BadInput, MissingInput):
        return False
    return True


def read_base_weights(path: Path) -> str | None:
    """Return the fingerprint of the model that the adapter was trained on; None if nothing says it."""
    try:
        return _read_base(path)
    except (BadInput, MissingInput, OSError):
        return None


def _read_base(path: Path) -> str | None:
    """The same, but raise for an adapter that cannot be read, or a model that is not as it was written."""
    if is_tuned_model(path):
        return str(read_tuned_model(path)[BASE_KEY])
    found = read_metadata(path / "adapter_model.safetensors").get(BASE_KEY)
    return None if found == UNKNOWN_WEIGHTS else found


def read_quantization(path: Path) -> str:
    """Return how the model was quantized that the adapter was trained on; "none" if nothing says it."""
    with suppress(BadInput, MissingInput, OSError):
        return read_metadata(path / "adapter_model.safetensors").get(QUANTIZE_KEY, "none")
    return "none"


def find_foreign_models(adapters: Iterable[tuple[Path, str]], model: str, quantize: str = "none") -> set[str]:
    """Return the models whose adapters were trained on other weights than this one has, wherever they lie.

    Or on weights that were quantized in another way than these are: then it is named.
    """
    every = list(adapters)
    weights = fingerprint(model) if any(trained_on != model for _, trained_on in every) else ""
    found = {on for path, on in every if on != model and read_base_weights(path) != weights}
    each = {(path, trained_on, read_quantization(path)) for path, trained_on in every}
    return found | {f"{on} with --quantize {kind}" for path, on, kind in each if kind != quantize}


def find_moved_model(adapters: Mapping[Path, str], folders: Iterable[Path]) -> str | None:
    """Find the model that all adapters were trained on, if it no longer lies under the one name that they give it.

    It is looked for under each of their names, and by the end of it in the folders and those above, and known by its
    weights. None if nothing has moved, or if it is not found.
    """
    names = sorted(set(adapters.values()))
    if not names or (len(names) == 1 and Path(names[0]).is_dir()):
        return None
    bases = {read_base_weights(path) for path in adapters}
    every = [above for folder in folders for above in (folder, *folder.parents)]
    ends = [Path(*Path(name).parts[start:]) for name in names for start in range(len(Path(name).parts))]
    places = [*map(Path, names), *(above / end for end in ends if not end.is_absolute() for above in every)]
    there = (str(place) for place in places if (place / "config.json").is_file())
    return next((place for place in there if bases == {fingerprint(place)}), None)


def _are_same(one: str, other: str) -> bool:
    """True if two names are one, or lead to one directory."""
    both = Path(one).is_dir() and Path(other).is_dir()
    return one == other or (both and Path(one).samefile(other))


def make_adapter_check(model: str) -> Callable[[Path, str], None]:
    """Return the one check of an adapter: before its line is written, when it is used, and when it is trained again.

    It takes an adapter and the model that it was trained on, and raises BadInput or MissingInput for one that cannot be
    used on `model`; another model of the same name is refused, too. Raise at once if the model itself is not whole.
    """
    weights = fingerprint(model)
    tensors = read_model_tensors(Path(model)) if Path(model).is_dir() else None

    def check(path: Path, trained_on: str) -> None:
        if not is_tuned_model(path):
            adapter = read_adapter(path)
            bad, _ = shape_mismatches(adapter, tensors) if tensors is not None else ([], [])
            if bad:
                raise BadInput(f"adapter {path}: does not fit {model}: {bad[0]}")
        base = _read_base(path)
        if _are_same(trained_on, model) and base not in (None, weights):
            raise BadInput(
                f"adapter {path}: was trained on other weights than {model} has now; run `seal adapt` again, or give "
                "the model that it was trained on with --model"
            )

    return check
