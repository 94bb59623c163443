"""Tell models apart: a fingerprint of the weights behind a name, and the run that made a checkpoint."""

import json
from collections.abc import Iterable
from pathlib import Path

from stages.errors import BadInput
from stages.files import fingerprint_folder
from stages.models.library_errors import unavailable_model
from stages.models.safetensors_header import read_header
from stages.records.schema import Checkpoint

CHECKPOINT_FILE = "seal.json"  # in a directory that `seal sft` wrote: its run, its line, and the sizes of its files


def fingerprint(name: str) -> str:
    """Return what tells a model's weights from others under the same name: a digest of its files, or a hub revision."""
    return fingerprint_folder(Path(name)) if Path(name).is_dir() else _get_revision(name)


def _get_revision(name: str) -> str:
    """Return the commit of a hub model, whose settings are downloaded. Raise Unavailable if they cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(name, "config.json")).parent.name
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise unavailable_model(name, error) from None


def read_checkpoint(out: Path, run: str) -> Checkpoint | None:
    """Return the line of the model in `out` if this very run made it and every file is whole, else None."""
    try:
        about = json.loads((out / CHECKPOINT_FILE).read_bytes())
        files = list(out.glob("*.safetensors"))
        if about["run"] != run or about["files"] != measure_files(out, about["files"]):
            return None
        if not all(read_header(path) for path in files) or not files:
            return None
        return Checkpoint.model_validate(about["checkpoint"])
    except (OSError, ValueError, KeyError, TypeError, BadInput):
        return None


def measure_files(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return {name: bytes} of these files. Raise OSError for one that is not there."""
    return {name: (folder / name).stat().st_size for name in names}
