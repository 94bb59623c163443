"""Whether torch and transformers can do their part here: the device, a model's configuration, tokenizer and one token.

Nothing is downloaded, and no code that comes with a model is run.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.checks.finding import Finding, fine, unknown, wrong
from stages.checks.machine import format_bytes, get_free_memory
from stages.errors import BadInput, MissingInput, SealError
from stages.models.config import get_text_config, load_config
from stages.models.device import Device
from stages.models.inspection import check_model, read_object
from stages.models.library_errors import find_model_folder, summarize_error
from stages.models.loading import load_model, load_tokenizer
from stages.models.network import load_network

DRIVER = Path("/proc/driver/nvidia/version")
_SIDE = 64  # of the trial's matrices: every device multiplies them at once, and the sum is exact in bfloat16


def check_device(device: Device) -> Iterator[Finding]:
    """Cores and threads, and a product of two matrices that is really computed there."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield fine("cpu", f"{cores} cores, {torch.get_num_threads()} torch threads")
    place, dtype = device.resolve()
    ones = torch.ones(_SIDE, _SIDE, device=place, dtype=dtype)
    total = float((ones @ ones).float().sum())
    told = f"{describe(place)}: a product of matrices in {str(dtype).removeprefix('torch.')}"
    if total != _SIDE**3:
        yield wrong("device", f"{told} is wrong ({total} instead of {_SIDE**3})", "use another --device: this one errs")
    elif device.name == "auto" and place.type == "cpu" and DRIVER.exists():
        advice = "install a torch build for this GPU and its driver (pytorch.org/get-started)"
        yield unknown("device", f"{told} is right; there is an NVIDIA driver, but torch {torch.__version__}", advice)
    else:
        yield fine("device", f"{told} is right")


def check_bits(device: Device, folder: Path) -> Iterator[Finding]:
    """Whether adapters of this model, else of a small one, have the same bits whatever is trained beside them."""
    import torch

    from stages.checks.invariance import ModelSizes, find_variant_operations

    place, dtype = device.resolve()
    kind, among = str(dtype).removeprefix("torch."), "--slots, order, shards and resumed runs"
    if place.type != "cpu":
        yield unknown("same bits", f"{kind} on {place}: an adapter's last digits may change with {among}")
        return
    shape, threads = ModelSizes.of(_settings_of(folder)), torch.get_num_threads()
    names, alone = find_variant_operations(shape, dtype), []
    if names and threads > 1:
        torch.set_num_threads(1)
        try:
            alone = find_variant_operations(shape, dtype)
        finally:
            torch.set_num_threads(threads)
    told = f"{kind} on {threads} thread{'s' * (threads > 1)}"
    if not names:
        yield fine("same bits", f"{told}: an adapter is the same to the last bit, whatever {among} are")
    else:
        advice = "OMP_NUM_THREADS=1 makes it the same to the last bit" if threads > 1 and not alone else None
        told = f"{told}: {' and '.join(names)} depend on what is computed beside them"
        yield unknown("same bits", f"{told}; an adapter's last digits may change with {among}", advice)


def _settings_of(folder: Path) -> dict[str, Any]:
    """A model's config.json, or its part on text. Nothing where it cannot be read: that is for other checks to tell."""
    try:
        return dict(get_text_config(read_object(folder / "config.json")))
    except (SealError, OSError):
        return {}


def describe(place: Any) -> str:
    """`cpu`, or a GPU with its name and memory."""
    import torch

    if place.type != "cuda":
        return str(place)
    free, total = torch.cuda.mem_get_info(place)
    return f"{place} ({torch.cuda.get_device_name(place)}, {format_bytes(free)} of {format_bytes(total)} free)"


def room(device: Device) -> tuple[int, int, str]:
    """(free bytes, bytes of a weight, what is meant) where a model would be loaded."""
    import torch

    place, dtype = device.resolve()
    free = int(torch.cuda.mem_get_info(place)[0]) if place.type == "cuda" else get_free_memory()
    return free, dtype.itemsize, f"as {str(dtype).removeprefix('torch.')} on {place}"


def cached_folder(name: str) -> Path | None:
    """The folder of a hub name in the local cache, or None. Raises BadInput for what is no hub name."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    check_model(name)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise BadInput(f"--model {name}: no hub name ({summarize_error(error)})") from None
    return find_model_folder(name)


def check_config(folder: Path) -> Iterator[Finding]:
    """An architecture of transformers' own that predicts the next token, and settings that it accepts."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    config = read_object(folder / "config.json")
    kind = load_config(str(folder)).model_type
    note = "; its own code (auto_map) will not be run" if config.get("auto_map") else ""
    names = _texts(config.get("architectures"))
    told = f"{kind}, {', '.join(names)[:200] or 'no architecture named'}{note}"
    if names and not {*names} & {*CAUSAL.values()}:
        yield unknown("model config", f"{told}: not the class for generating text")
    else:
        yield fine("model config", told)


def _texts(found: object) -> list[str]:
    """The texts of a list, nothing of anything else."""
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def check_tokenizer(folder: Path) -> Iterator[Finding]:
    """It loads, has an end token, and the model has a row for each of its tokens."""
    tokenizer = load_tokenizer(str(folder))
    template = "a" if tokenizer.chat_template else "no"
    yield fine(
        "model tokenizer", f"{len(tokenizer)} tokens, end token {tokenizer.eos_token!r}, {template} chat template"
    )


def beside_weights(folder: Path) -> Sequence[str]:
    """Weights that the class rightly leaves out. Raises as loading does; only headers are read, no weight."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    return load_network(str(folder), device_map="meta")[1]


def check_forward(folder: Path, device: Device) -> Iterator[Finding]:
    """The model is loaded and says one token."""
    import torch

    started = time.monotonic()
    network = load_model(str(folder), device)
    loaded = time.monotonic()
    ids = torch.zeros(1, 1, dtype=torch.long, device=network.device)  # any token will do
    with torch.inference_mode():
        logits = network(input_ids=ids).logits[0, -1]
    if not bool(torch.isfinite(logits).all()):
        advice = "take another copy of it, or --device cpu"
        yield wrong("model forward", "its first token is not finite: broken weights or a broken device", advice)
        return
    took = f"loaded in {loaded - started:.1f} s, one token in {time.monotonic() - loaded:.2f} s"
    yield fine("model forward", f"{took} on {network.device}")


def place_of(name: str) -> tuple[Finding, Path | None]:
    """Where the model is, offline. Raises MissingInput or BadInput where it cannot be one."""
    from huggingface_hub import constants

    if Path(name).is_dir():
        check_model(name)
        return fine("model", f"{name}: a directory"), Path(name)
    folder = cached_folder(name)
    if folder is not None:
        return fine("model", f"{name}: a hub name, in the local cache ({folder})"), folder
    if constants.HF_HUB_OFFLINE:
        raise MissingInput(f"--model {name}: a hub name, not in the local cache, and HF_HUB_OFFLINE forbids loading it")
    advice = f"the first command that uses it will download it; now: hf download {name}"
    return unknown("model", f"{name}: a hub name, not in the local cache", advice), None
