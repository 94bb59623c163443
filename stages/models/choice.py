"""Choose the model of a stage, and record it in a run's settings."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from stages.errors import BadConfig, MissingInput
from stages.interfaces import Doc
from stages.models.checkpoints import fingerprint
from stages.models.device import Device
from stages.models.inspection import check_model

ModelName = Annotated[
    str | None,
    Doc("A model directory or hub name.", "DIR|NAME", default="the one that the lines name", panel="Options"),
]


def choose_model(flag: str | None, named: Iterable[str]) -> str:
    """Return --model, or the one model that all lines name, as `plain` has it. Raises BadConfig for none or several."""
    if flag is None:
        names = sorted({plain(name) for name in named if name not in ("none", "unknown")})
        if len(names) != 1:
            found = f"the lines name {', '.join(names)}" if names else "the lines name none"
            raise BadConfig(f"which model? {found}: give --model DIR")
        return plain(_named_model(names[0]))
    check_model(flag)
    return plain(flag)


def _named_model(name: str) -> str:
    """The model that the lines name, which may be an editor that is nowhere here. Raises as `check_model` does."""
    try:
        check_model(name)
    except MissingInput:
        raise MissingInput(f"the lines name {name}, which is no model here: give --model DIR") from None
    return name


def plain(name: str) -> str:
    """Write `m/` as `m` if it is a directory here, so that a run's settings name it one way."""
    return name.rstrip("/") or "/" if Path(name).is_dir() else name


def weights_of(name: str, device: Device) -> dict[str, str]:
    """Return what a run's settings record of its model: name, fingerprint, device, precision. Nothing for no name."""
    if not name:
        return {}
    kind = device.name.partition(":")[0] if device.name != "auto" else "cuda" if _has_gpu() else "cpu"
    precision = device.dtype if device.dtype != "auto" else "bfloat16" if kind == "cuda" else "float32"
    return {"model": name, "weights": fingerprint(name), "device": kind, "dtype": precision}


def identity_of(name: str) -> str:
    """Return the model's part of ids: for a directory its content, so that ids stay when it moves."""
    return fingerprint(name) if Path(name).is_dir() else name


def _has_gpu() -> bool:
    """Return whether torch will most likely find one. It is not imported here, in the process that forks."""
    return Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def quiet_libraries() -> None:
    """Silence progress bars and advice of transformers, datasets, the hub and torch on our stderr."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    warnings.filterwarnings("ignore", module=r"peft\.")
    warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # read when datasets is imported, which few stages need
    hub_logging.set_verbosity_error()
