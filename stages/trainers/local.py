"""The inner trainers by their --trainer names, and the model that they train."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from stages.errors import BadConfig
from stages.interfaces import FitJob, FitResult, NullProgress, Progress, Trainer
from stages.models.device import Device
from stages.plugins import Plugin, check_name, load_class
from stages.settings import Doc, Method, ModelName

TRAINERS = {"batched": "stages.trainers.batched.trainer:BatchedLoraTrainer", "peft": "stages.trainers.peft:PeftTrainer"}
_OURS = {**TRAINERS, "full": "stages.trainers.full:FullTrainer"}  # which --method chooses


@dataclass(frozen=True)
class LocalTrainer:
    """A model to load here, and how it is trained. Users' classes get (model, device=), and the given limits."""

    panel: ClassVar[str] = "Engine and device"
    model: ModelName = None
    name: Annotated[
        str,
        Doc(
            "batched (many at once), peft (one at a time), or package.module:Class.",
            "NAME",
            "--trainer",
            values=("batched", "peft"),
        ),
    ] = "batched"
    slots: Annotated[
        int | None, Ge(1), Doc("Adapters in work at a time.", "N", default="64, fewer where memory is short")
    ] = None
    tokens_per_step: Annotated[
        str,
        Doc(
            "Most tokens of one pass. auto: what memory holds, up to 16384 on a GPU and 2048 on a "
            "CPU. It shrinks when memory runs out.",
            "N|auto",
        ),
    ] = "auto"
    checkpoint_every: Annotated[
        int | None,
        Ge(1),
        Doc("Save a training every N steps: after a crash the same command goes on there.", "N", default="never"),
    ] = None
    device: Device = Device()

    @property
    def token_budget(self) -> int | None:
        """The tokens of --tokens-per-step; None for auto. Raises BadConfig for anything else."""
        text = self.tokens_per_step
        if text == "auto":
            return None
        if text.isdecimal() and int(text):
            return int(text)
        raise BadConfig(f"--tokens-per-step {text}: take auto or a number of tokens, for example 4096")

    @property
    def limits(self) -> dict[str, int]:
        """The limits that were given."""
        limits = {"slots": self.slots, "tokens_per_step": self.token_budget, "checkpoint_every": self.checkpoint_every}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def check(self) -> None:
        """Raise BadConfig for an unknown trainer, and for limits that it does not have."""
        limits = self.limits
        check_name("--trainer", self.name, TRAINERS)
        for name, limit in limits.items() if self.name == "peft" else ():
            why = (
                "keeps no checkpoints" if name == "checkpoint_every" else "trains one sequence of one adapter at a time"
            )
            raise BadConfig(f"--{name.replace('_', '-')} {limit}: peft {why}; use --trainer batched")

    def for_method(self, method: Method) -> "LocalTrainer":
        """Return what trains by this method. Raises BadConfig for flags that are not for it."""
        if method == "lora":
            return self
        if self.name != "batched":
            raise BadConfig(f"--trainer {self.name}: --method full has a trainer of its own; leave it out")
        if self.slots is not None:
            raise BadConfig(f"--slots {self.slots}: --method full trains one model at a time; leave it out")
        return replace(self, name=method)

    def choose(self, named: Collection[str]) -> str:
        """Return the model: the given one, or the one that all lines name."""
        from stages.models.checkpoints import choose_model  # late, as what imports the records: help does without

        return choose_model(self.model, named)

    def settings(self, model: str) -> Mapping[str, Any]:
        """Return what a run's settings say of the model."""
        from stages.models.checkpoints import weights_of

        return weights_of(model, self.device)

    def identify(self, model: str) -> str:
        """Return what ids of adapters take of the model, of a precision but float32, and of a trainer not in TRAINERS.

        The trainers in it make the same adapter, up to rounding.
        """
        from stages.models.checkpoints import identity_of

        found = [identity_of(model)]
        if (dtype := self.device.foresee()["dtype"]) != "float32":
            found.append(dtype)
        if self.name not in TRAINERS:
            found.append(self.name)
        return " ".join(found)

    def make_check(self, model: str) -> Callable[[Path], bool]:
        """Return a test whether an adapter directory is still what this trainer made of the model."""
        from stages.models.adapter_checks import is_whole_adapter, make_usability_check

        return make_usability_check(model) if self.name in _OURS else is_whole_adapter

    def load(self, model: str) -> Trainer:
        """Load the model."""
        from stages.models.libraries import quiet_libraries

        kind = load_class("--trainer", self.name, _OURS)
        if self.name not in _OURS:
            return GuardedTrainer(self.name, kind, model, device=self.device, **self.limits)
        quiet_libraries()
        self.device.check_foreseen()
        trainer: Trainer = kind(model, device=self.device, **self.limits)
        return trainer


class GuardedTrainer:
    """Trains with a user's class. Raises BadConfig, with its file and line, if it raises or returns anything else."""

    def __init__(self, name: str, kind: Any, model: str, **settings: Any) -> None:
        needs = "a trainer has a model and fit(jobs, progress), as in stages.interfaces"
        self.theirs = Plugin("--trainer", name, kind, model, **settings)
        self.model = self.theirs.text("model", needs)
        self.method = self.theirs.method("fit", needs)

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """Yield one result per job."""
        return self.theirs.each_once(self.method, list(jobs), progress, ("result", "job"), _explain_no_result)


def _explain_no_result(found: object) -> str | None:
    """Say why this is no result of a training; None where it is one."""
    if not isinstance(found, FitResult):
        return "is no FitResult(id, path, sequences, tokens, steps, loss_first, loss_last, error)"
    if found.error is not None:
        return None if isinstance(found.error, str) else "has an error that is no text"
    if not isinstance(found.path, Path | str):
        return "has neither a path nor an error"
    if any(type(count) is not int or count < 0 for count in (found.sequences, found.tokens, found.steps)):
        return "has sequences, tokens or steps that are no number"
    losses = found.loss_first, found.loss_last
    finite = all(isinstance(loss, int | float) and math.isfinite(loss) for loss in losses)
    return None if finite else "has a loss that is no finite number"
