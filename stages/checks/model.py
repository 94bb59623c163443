"""Check a model and its adapters: where they lie, whether they are whole, fit together and say a token.

Nothing is downloaded, and no code that comes with a model is run.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from stages.checks.finding import Finding, guard
from stages.checks.machine import format_bytes, get_free_memory
from stages.checks.training import check_full_training
from stages.errors import BadInput, MissingInput, SealError
from stages.models.adapter_checks import AdapterInfo, read_adapter, shape_mismatches
from stages.models.config import load_config
from stages.models.device import Device, get_free_bytes
from stages.models.directories import TensorInfo, check_model, quote_name, read_model_tensors, read_object
from stages.models.libraries import find_model_folder, summarize_error
from stages.models.loading import load_model, load_network, load_tokenizer
from stages.models.tuned_models import MAKE_AGAIN, is_tuned_model, read_tuned_model

_TAKE_ANOTHER = "give another --model, or copy or download it again"


def examine_model(name: str, device: Device, deep: bool, out: Path = Path()) -> Iterator[Finding]:
    """Check a model's place, settings, tokenizer and weights; with `deep`, and if all is well, let it say a token.

    `out`: where what is trained would lie.
    """
    yield from guard("model", _TAKE_ANOTHER, lambda: _check_model(name, device, deep, out))


def _check_model(name: str, device: Device, deep: bool, out: Path) -> Iterator[Finding]:
    finding, folder = locate_model(name)
    yield finding
    if folder is None:
        return
    config = list(guard("model config", _TAKE_ANOTHER, lambda: check_config(folder)))
    known = all(finding.ok is not False for finding in config)
    tokenizer = guard("model tokenizer", _TAKE_ANOTHER, lambda: check_tokenizer(folder))
    weights = guard("model weights", _TAKE_ANOTHER, lambda: _check_weights(folder, device, known, out))
    well = True
    for findings in (config, tokenizer, weights):
        for finding in findings:
            well = well and finding.ok is not False
            yield finding
    if deep and well:
        yield from guard("model forward", _TAKE_ANOTHER, lambda: check_forward(folder, device))
    elif deep:
        yield Finding("model forward", None, "not tried, because of what is wrong above")


def locate_model(name: str) -> tuple[Finding, Path | None]:
    """Find where a model lies, offline. Raise MissingInput or BadInput if it cannot be a model."""
    from huggingface_hub import constants
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    check_model(name)
    if Path(name).is_dir():
        return Finding("model", True, f"{name}: a directory"), Path(name)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise BadInput(f"--model {name}: no hub name ({summarize_error(error)})") from None
    if folder := find_model_folder(name):
        return Finding("model", True, f"{name}: a hub name, in the local cache ({folder})"), folder
    if constants.HF_HUB_OFFLINE:
        raise MissingInput(f"--model {name}: a hub name, not in the local cache, and HF_HUB_OFFLINE forbids loading it")
    advice = f"the first command that uses it will download it; now: hf download {name}"
    return Finding("model", None, f"{name}: a hub name, not in the local cache", advice), None


def check_config(folder: Path) -> Iterator[Finding]:
    """Check that transformers knows the architecture and takes the settings."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    config = read_object(folder / "config.json")
    kind = load_config(str(folder)).model_type
    note = "; its own code (auto_map) will not be run" if config.get("auto_map") else ""
    named = config.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    found = f"{kind}, {', '.join(names)[:200] or 'no architecture named'}{note}"
    if names and not {*names} & {*CAUSAL.values()}:
        yield Finding("model config", None, f"{found}: not the class for generating text")
    else:
        yield Finding("model config", True, found)


def check_tokenizer(folder: Path) -> Iterator[Finding]:
    """Check that the tokenizer loads, has an end token, and a row of the model for each token."""
    tokenizer = load_tokenizer(str(folder))
    template = "a" if tokenizer.chat_template else "no"
    found = f"{len(tokenizer)} tokens, end token {tokenizer.eos_token!r}, {template} chat template"
    yield Finding("model tokenizer", True, found)


def _check_weights(folder: Path, device: Device, known: bool, out: Path) -> Iterator[Finding]:
    """Check that files are whole, hold the weights of the class if it is known, and fit into the memory."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    tensors = read_model_tensors(folder)
    stored = format_bytes(sum(tensor.bytes for tensor in tensors.values()))
    other = load_network(str(folder), device_map="meta")[1] if known else ()  # only headers are read
    more = f", {len(other)} of them not for text (as {quote_name(other[0])})" if other else ""
    yield Finding("model weights", True, f"{len(tensors)} tensors, {stored}, every file whole{more}")
    yield from guard("model memory", "--device cpu, or see nvidia-smi", lambda: _check_room(tensors, device, out))


def _check_room(tensors: Mapping[str, TensorInfo], device: Device, out: Path) -> Iterator[Finding]:
    """Check that there is memory for the weights alone, as long prompts need more, and what a full training needs."""
    free, width, where = get_room(device)
    weights = sum(tensor.elements for tensor in tensors.values())
    need = weights * width
    advice = None if need < free else "take a smaller model or a larger machine, or end what else runs here"
    found = f"{format_bytes(need)} {where}, {format_bytes(free)} free"
    yield Finding("model memory", need < free, found, advice)
    yield from check_full_training(weights, free, width, out)


def get_room(device: Device) -> tuple[int, int, str]:
    """Return (free bytes, bytes of a weight, what is meant) where a model would be loaded."""
    place, dtype = device.resolve()
    free = get_free_memory() if place.type == "cpu" else get_free_bytes(place)
    return free, dtype.itemsize, f"as {str(dtype).removeprefix('torch.')} on {place}"


def check_forward(folder: Path, device: Device) -> Iterator[Finding]:
    """Load the model and let it say one token."""
    import torch

    started = time.monotonic()
    network = load_model(str(folder), device)
    loaded = time.monotonic()
    ids = torch.zeros(1, 1, dtype=torch.long, device=network.device)  # any token will do
    with torch.inference_mode():
        logits = network(input_ids=ids).logits[0, -1]
    if not bool(torch.isfinite(logits).all()):
        advice = "take another copy of it, or --device cpu"
        found = "its first token is not finite: broken weights or a broken device"
        yield Finding("model forward", False, found, advice)
        return
    took = f"loaded in {loaded - started:.1f} s, one token in {time.monotonic() - loaded:.2f} s"
    yield Finding("model forward", True, f"{took} on {network.device}")


def examine_adapter(path: Path, model: str | None) -> Iterator[Finding]:
    """Check an adapter's settings and weights, its base model, and with a model whether it fits that."""
    yield from guard("adapter", MAKE_AGAIN, lambda: _check_adapter(path, model))


def _check_adapter(path: Path, model: str | None) -> Iterator[Finding]:
    if is_tuned_model(path):
        told = f"{path}: a whole model, trained in full on {read_tuned_model(path).get('model')}"
        yield Finding("adapter", True, told)
        return
    adapter = read_adapter(path)
    count, kind = len(adapter.targets), adapter.config.get("peft_type")
    about = f"{count} layers of the rank it says" if count else f"peft_type {kind}: no LoRA"
    yield Finding("adapter", True if count else None, f"{path}: {adapter.tensors} tensors, {about}")
    if adapter.base:
        yield Finding("adapter base", True, f"{path}: trained on {adapter.base}")
    else:
        yield Finding("adapter base", None, f"{path}: does not name its model", "tell `seal eval` with --model")
    if model is not None and count:
        yield from guard("adapter fit", _TAKE_ANOTHER, lambda: _check_fit(path, adapter, model))


def _check_fit(path: Path, adapter: AdapterInfo, model: str) -> Iterator[Finding]:
    """Check that every target of the adapter is in the model, in its shape."""
    try:
        folder = locate_model(model)[1]
        tensors = read_model_tensors(folder) if folder else None
    except SealError:
        tensors = None
    if tensors is None:
        yield Finding("adapter fit", None, f"{path}: the weights of {model} cannot be read")
        return
    bad, unclear = shape_mismatches(adapter, tensors)
    count = len(adapter.targets)
    if bad:
        found = f"{path}: {len(bad)} of {count} layers do not fit {model}: {bad[0]}"
        advice = f"--model {adapter.base or 'DIR'}: the model that it was trained on"
        yield Finding("adapter fit", False, found, advice)
    elif unclear:
        yield Finding("adapter fit", None, f"{path}: {len(unclear)} layers cannot be compared: {unclear[0]}")
    else:
        yield Finding("adapter fit", True, f"{path}: all {count} layers are in {model}, with fitting shapes")
