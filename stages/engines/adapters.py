"""Adapter directories before they are used: whole, of the rank they say, made for this model's layers and weights."""

from collections.abc import Callable
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


def adapter_check(model: str) -> Callable[[Path, str], None]:
    """Called with an adapter and the name of the model that it was trained on, before a model is loaded.

    Raises BadInput or MissingInput for one that cannot be used on `model`, naming the directory and what is wrong:
    another model of the same name is refused. Raises at once where the model itself is not whole.
    """
    weights = fingerprint(model)
    tensors = model_tensors(Path(model)) if Path(model).is_dir() else None

    def check(path: Path, trained_on: str) -> None:
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

    return check
