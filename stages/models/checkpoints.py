"""Choose a stage's model, tell its weights from others of that name, and find the run that made a checkpoint."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.fingerprints import fingerprint_folder
from stages.models.device import Device
from stages.models.directories import check_model, read_header, read_object
from stages.models.libraries import explain_library_errors
from stages.records.schema import Checkpoint

CHECKPOINT_FILE = "seal.json"  # in a model directory that we wrote: what made it, and the sizes of its files
BASE_KEY = "base"  # beside the weights of an adapter: the fingerprint of the model that they were trained on
QUANTIZE_KEY = "quantize"  # beside it: how that model was quantized meanwhile, if it was


def choose_model(flag: str | None, named: Iterable[str]) -> str:
    """Return --model, or the one model that all lines name, as `plain` has it.

    Raise BadConfig if the lines name none or several, else as `check_model` does.
    """
    if flag is not None:
        check_model(flag)
        return plain(flag)
    names = sorted({plain(name) for name in named if name not in ("none", "unknown")})
    if len(names) != 1:
        found = f"the lines name {', '.join(names)}" if names else "the lines name none"
        raise BadConfig(f"which model? {found}: give --model DIR")
    try:
        check_model(names[0])
    except MissingInput:
        raise MissingInput(f"the lines name {names[0]}, which is no model here: give --model DIR") from None
    return names[0]


def plain(name: str) -> str:
    """Write `m/` as `m` if it is a directory here, so that a run's settings name it one way."""
    return name.rstrip("/") or "/" if Path(name).is_dir() else name


def weights_of(name: str, device: Device) -> dict[str, str]:
    """Return what a run's settings record of its model: name, fingerprint, device, precision. Nothing for no name."""
    return {"model": name, "weights": fingerprint(name), **device.foresee()} if name else {}


def identity_of(name: str) -> str:
    """Return the model's part of ids: for a directory its content, so that ids stay when it moves."""
    return fingerprint(name) if Path(name).is_dir() else name


def fingerprint(name: str) -> str:
    """Return what tells a model's weights from others under the same name: a digest of its files, or a hub revision."""
    return fingerprint_folder(Path(name)) if Path(name).is_dir() else _get_revision(name)


def resolve_model_name(name: str) -> str:
    """Return the name by which others find the model, from any folder: of a directory its real path."""
    return str(Path(name).resolve()) if name and Path(name).is_dir() else name


def _get_revision(name: str) -> str:
    """Return the commit of a hub model, whose settings are downloaded. Raise Unavailable if they cannot be had."""
    from huggingface_hub import hf_hub_download

    with explain_library_errors(name):
        return Path(hf_hub_download(name, "config.json")).parent.name


def check_unchanged(settings: Mapping[str, Any]) -> None:
    """Raise BadInput if the model that a run's settings record (see `weights_of`) has other files now."""
    name, before = settings.get("model"), settings.get("weights")
    if before and fingerprint(str(name)) != before:
        raise BadInput(
            f"--model {name}: its files have changed since the run began; put them back, or make all lines anew with "
            "--overwrite"
        )


# ---- what `seal sft` made


def read_checkpoint(out: Path, run: str) -> Checkpoint | None:
    """Return the line of the model in `out` if this very run made it and every file is whole, else None."""
    try:
        about = read_object(out / CHECKPOINT_FILE)
        weights = list(out.glob("*.safetensors"))
        whole = about["files"] == measure_files(out, about["files"]) and all(map(read_header, weights))
        return Checkpoint.model_validate(about["checkpoint"]) if about["run"] == run and weights and whole else None
    except (OSError, ValueError, KeyError, TypeError, BadInput, MissingInput):
        return None


def is_as_written(folder: Path, key: str | None = None) -> bool:
    """Return True for a directory with a seal.json, with this `key` in it, that lists whatever else is there."""
    made = folder / CHECKPOINT_FILE
    try:
        told = read_object(made)
    except (BadInput, MissingInput):
        return False
    files = told.get("files")
    listed = {CHECKPOINT_FILE, *files} if isinstance(files, dict) else set()
    return (key is None or key in told) and {each.name for each in folder.iterdir()} <= listed


def measure_files(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return {name: bytes} of these files. Raise OSError for one that is not there."""
    return {name: (folder / name).stat().st_size for name in names}
