"""Models in the place of adapters: what `seal adapt --method full` writes. No weight is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import BadInput
from stages.fingerprints import fingerprint_folder
from stages.models.checkpoints import BASE_KEY, CHECKPOINT_FILE
from stages.models.directories import read_model_tensors, read_object
from stages.records.frozen import CONTENT_ID
from stages.sources.datasets.folders import find_placeholder

ADAPTER_KEY = "adapter"  # in seal.json: the id of the adapter that the model stands for
DIGEST_KEY = "fingerprint"  # of the model's own files
MAKE_AGAIN = "make it again with `seal adapt`, or copy it again"


def is_tuned_model(path: Path) -> bool:
    """True for a folder with a whole model where an adapter might be."""
    return (path / "config.json").is_file() and not (path / "adapter_config.json").exists()


def read_tuned_model(path: Path) -> Mapping[str, Any]:
    """Return what its seal.json says of a model in an adapter's place. Raise BadInput if it is not as it was written.

    Its files are known by a digest of samples, its name by the id, so that another model in its place is told.
    """
    if pointer := find_placeholder(path):
        raise BadInput(f"adapter {path}: {pointer}")
    about = read_object(path / CHECKPOINT_FILE) if (path / CHECKPOINT_FILE).is_file() else {}
    name = about.get(ADAPTER_KEY)
    if not isinstance(name, str) or not isinstance(about.get(BASE_KEY), str):
        ways = "give it as --model, or take one that `seal adapt --method full` wrote"
        raise BadInput(f"adapter {path}: a model, and nothing says what it was trained on; {ways}")
    try:
        read_model_tensors(path)
    except BadInput as error:
        raise BadInput(f"adapter {path}: a model that is not whole: {error}") from None
    if about.get(DIGEST_KEY) != fingerprint_folder(path):
        raise BadInput(f"adapter {path}: its files are not those that were written; {MAKE_AGAIN}")
    if CONTENT_ID.fullmatch(path.name) and path.name != name:
        raise BadInput(f"adapter {path}: holds the model of adapter {name}; {MAKE_AGAIN}")
    return about
