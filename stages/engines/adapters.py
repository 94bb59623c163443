"""Adapter directories before they are used: whole, of the rank they say, made for this model's layers and weights."""

from collections.abc import Iterable
from pathlib import Path

from stages.engines.directories import misfits, model_tensors, read_adapter
from stages.engines.headers import read_header
from stages.engines.models import fingerprint
from stages.failures import BadInput, MissingInput

UNKNOWN = "unknown"  # the fingerprint of a model that was in memory already
BASE = "base"  # in the metadata of the weights: the fingerprint of the model that they were trained on


def is_whole(path: Path) -> bool:
    """Whether the directory holds all that its files say. No weight is read."""
    try:
        read_adapter(path)
    except (BadInput, MissingInput):
        return False
    return True


def check_adapters(adapters: Iterable[tuple[Path, str]], model: str) -> None:
    """Raises before a model is loaded for an adapter that cannot be used on it, naming the directory and what is wrong.

    With each path comes the name of the model that it was trained on: another model of this name is refused.
    """
    found = dict(adapters)
    weights = fingerprint(model)
    tensors = model_tensors(Path(model)) if found and Path(model).is_dir() else None
    for path, trained_on in found.items():
        adapter = read_adapter(path)
        bad, _ = misfits(adapter, tensors) if tensors is not None else ([], [])
        if bad:
            raise BadInput(f"adapter {path}: does not fit {model}: {bad[0]}")
        base = read_header(path / "adapter_model.safetensors").metadata.get(BASE)
        if trained_on == model and base not in (None, UNKNOWN, weights):
            raise BadInput(
                f"adapter {path}: was trained on other weights than {model} has now; run `seal adapt` again, or give "
                "the model that it was trained on with --model"
            )
