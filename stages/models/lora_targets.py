"""Choose the layers that a LoRA sits on: --target as peft takes it, or an error with the model's own names."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

from stages.errors import BadConfig

ALL_LINEAR = "all-linear"
_TRIAL = [[2, 3, 4], [4, 3, 2]]
NEVER_CALLED = "the model does not call it on a text, so a LoRA there would change nothing"
_Calls = Mapping[str, list[tuple[int, ...] | None]]  # of each layer called: the sizes of its inputs before the last
_calls: WeakKeyDictionary[Any, _Calls] = WeakKeyDictionary()
_resolved: WeakKeyDictionary[Any, dict[tuple[str, ...], list[str] | str | None]] = WeakKeyDictionary()


def find_linear_layers(network: Any) -> dict[str, Any]:
    """Find the layers that a LoRA can sit on, by name, in the model's order. GPT-2's are transformers' own Conv1D."""
    from transformers.pytorch_utils import Conv1D

    kinds = torch.nn.Linear, Conv1D
    return {name: part for name, part in network.named_modules() if isinstance(part, kinds)}


def _trace_calls(network: Any) -> _Calls:
    """Record how the model calls its linear layers on 2 texts of 3 tokens, once a model.

    None for a layer that is no plain function of its input: it puts out something else than a tensor.
    """
    if network not in _calls:
        found: dict[str, list[tuple[int, ...] | None]] = defaultdict(list)
        layers = find_linear_layers(network).items()
        hooks = [layer.register_forward_hook(partial(_record_call, found[name])) for name, layer in layers]
        try:
            with torch.no_grad():
                network(input_ids=torch.tensor(_TRIAL, device=network.device), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        _calls[network] = {name: sizes for name, sizes in found.items() if sizes}
    return _calls[network]


def _record_call(sizes: list[tuple[int, ...] | None], layer: Any, given: Any, out: Any) -> None:
    sizes.append(tuple(given[0].shape[:-1]) if given and isinstance(out, torch.Tensor) else None)


def is_row_wise(network: Any, name: str) -> bool:
    """True if the layer sees every token of every row, in order, so that many adapters can share a pass of it.

    Also true in a part that a text does not reach at all, such as a tower for pictures.
    """
    used, rows, length = _trace_calls(network), len(_TRIAL), len(_TRIAL[0])
    part = ".".join(name.split(".")[:2]) + "."
    if name not in used:
        return not any(each.startswith(part) for each in used)
    return all(sizes in ((rows, length), (rows * length,)) for sizes in used[name])


def _find_faults(network: Any) -> dict[str, str]:
    """Return the last names of the linear layers, each with the reason why no LoRA can sit there, or ""."""
    used, names = _trace_calls(network), dict[str, str]()
    for layer in find_linear_layers(network):
        name = layer.rpartition(".")[2]
        if None in used.get(layer, []):
            names[name] = "it puts out more than a linear layer does"
        elif layer in used and names.get(name) in (None, NEVER_CALLED):
            names[name] = ""
        else:
            names.setdefault(name, NEVER_CALLED)
    return names


def _list_target_names(network: Any) -> str:
    """List the names that --target takes here."""
    names = _find_faults(network).items()
    return ", ".join(sorted(name for name, reason in names if not (reason or _find_peft_refusal(network, [name]))))


def resolve_targets(network: Any, targets: Sequence[str]) -> list[str] | str | None:
    """Return targets as peft takes them: names, "all-linear" for every layer of the blocks, None for its own choice.

    Of all linear layers those that peft refuses are left out (Mamba's out_proj). Raise BadConfig, with the model's own
    names, for targets that it does not have, where a LoRA would change nothing, or that peft refuses.
    """
    known, key = _resolved.setdefault(network, {}), tuple(targets)
    if key not in known:
        with torch.random.fork_rng():  # peft draws weights that nobody needs
            known[key] = _resolve_all_linear(network) if key == (ALL_LINEAR,) else _check_targets(network, key)
    return known[key]


def _check_targets(network: Any, targets: Sequence[str]) -> list[str] | None:
    names = _find_faults(network)
    absent = [target for target in targets if target.rpartition(".")[2] not in names]
    if absent:
        raise BadConfig(
            f"--target {', '.join(absent)}: not in this model, which has {_list_target_names(network)}; "
            f"or give --target {ALL_LINEAR}"
        )
    for target in targets:
        if reason := names[target.rpartition(".")[2]]:
            raise BadConfig(f"--target {target}: {reason}; take of {_list_target_names(network)}")
    if error := _find_peft_refusal(network, list(targets) or None):
        if targets:
            raise BadConfig(f"--target {', '.join(targets)}: {error}; take of {_list_target_names(network)}")
        told = "no --target given, and peft has no default for this architecture"
        raise BadConfig(f"{told}: give --target {ALL_LINEAR}, or take of {_list_target_names(network)}")
    return list(targets) or None


def _resolve_all_linear(network: Any) -> list[str] | str:
    head, names = network.get_output_embeddings(), _find_faults(network)
    if not any(names.values()) and not _find_peft_refusal(network, ALL_LINEAR):
        return ALL_LINEAR
    inside = {name.rpartition(".")[2] for name, layer in find_linear_layers(network).items() if layer is not head}
    fit = sorted(name for name in inside if not names[name] and not _find_peft_refusal(network, [name]))
    if not fit:
        raise BadConfig(f"--target {ALL_LINEAR}: no layer of this model can be adapted; take another model")
    return fit


def _find_peft_refusal(network: Any, names: list[str] | str | None) -> str | None:
    """Say why peft will not adapt these layers, in its own words; None if it does. The network stays as it is."""
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    try:
        get_peft_model(network, LoraConfig(r=1, target_modules=names, task_type="CAUSAL_LM")).unload()
    except ValueError as error:
        while wrapped := [name for name, part in network.named_modules() if isinstance(part, BaseTunerLayer)]:
            network.set_submodule(wrapped[0], network.get_submodule(wrapped[0]).get_base_layer())
        words = str(error).strip().split("\n", 1)[0]
        return "no such layer" if "not found in the base model" in words else words
    return None
