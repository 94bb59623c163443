"""From flags to engines: which model a stage uses, and the classes behind --engine, --trainer and --judge."""

import os
import warnings
from collections.abc import Iterable
from typing import Any

from stages.engines.models import Device, check_model
from stages.failures import BadConfig
from stages.plugins import load_class

ENGINES = {"hf": "stages.engines.hf:HFEngine"}
TRAINERS = {"batched": "stages.engines.many:ManyTrainer", "peft": "stages.engines.lora:PeftTrainer"}


def choose_model(flag: str | None, named: Iterable[str]) -> str:
    """--model, or the one model that all lines name. Raises BadConfig where there is none, or more than one."""
    if flag is None:
        names = sorted({name for name in named if name not in ("none", "unknown")})
        if len(names) != 1:
            found = f"the lines name {', '.join(names)}" if names else "the lines name none"
            raise BadConfig(f"which model? {found}: give --model DIR")
        flag = names[0]
    check_model(flag)
    return flag


def quiet_libraries() -> None:
    """No progress bars and no advice from transformers, datasets, the hub and torch on our stderr."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # read when datasets is imported, which few stages need
    hub_logging.set_verbosity_error()


def load_engine(name: str, model: str, device: str, dtype: str, batch: int) -> Any:
    """The sampling engine, loaded. Custom classes get (model, device=, batch_size=)."""
    kind = load_class("--engine", name, ENGINES)
    quiet_libraries()
    return kind(model, device=Device(device, dtype), batch_size=batch)


def check_limits(name: str, **limits: int | None) -> None:
    """Raises BadConfig for limits of a pass that this trainer does not have."""
    for key, value in limits.items() if name == "peft" else ():
        if value is not None:
            flag = f"--{key.replace('_', '-')} {value}"
            raise BadConfig(f"{flag}: peft trains one sequence of one adapter at a time; use --trainer batched")


def load_trainer(name: str, model: str, device: str, dtype: str, **limits: int | None) -> Any:
    """The inner trainer, loaded. Custom classes get (model, device=), and slots= and tokens_per_step= where given."""
    given = {key: value for key, value in limits.items() if value is not None}
    kind = load_class("--trainer", name, TRAINERS)
    quiet_libraries()
    return kind(model, device=Device(device, dtype), **given)
