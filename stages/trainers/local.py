"""The inner trainers by their --trainer names, and the model that they train."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from stages.errors import BadConfig
from stages.interfaces import FitJob, FitResult, NullProgress, Progress, Trainer
from stages.models.device import Device
from stages.plugins import Plugin, check_name, load_class
from stages.settings import Doc, FitConfig, Method, ModelName, PadMode

if TYPE_CHECKING:
    from stages.trainers.stacking import StackingTrainer

TRAINERS = {"batched": "stages.trainers.batched.trainer:BatchedLoraTrainer", "peft": "stages.trainers.peft:PeftTrainer"}
TINKER = "tinker"  # the one that asks a service
_NAMED = {**TRAINERS, TINKER: "stages.trainers.tinker.trainer:TinkerTrainer"}
_OURS = {**_NAMED, "full": "stages.trainers.full:FullTrainer"}  # which --method chooses
_TINKER_ALPHA = 32.0  # thinkingmachines.ai/blog/lora; the protocol has no alpha, and SkyRL's server takes this, too


@dataclass(frozen=True)
class LocalTrainer:
    """A model and how it is trained: loaded here, or by the service of `tinker`, which `access` has the key of.

    Users' classes get (model, device=), and the given limits. `access`: key, timeout_s and retry_for_s, as given.
    """

    panel: ClassVar[str] = "Engine and device"
    model: ModelName = None
    name: Annotated[
        str,
        Doc(
            "batched (many at once), peft (one at a time), tinker (a service that speaks Tinker's protocol), or "
            "package.module:Class.",
            "NAME",
            "--trainer",
            values=("batched", "peft", "tinker"),
        ),
    ] = "batched"
    slots: Annotated[
        int | None,
        Ge(1),
        Doc("Adapters in work at a time.", "N", default="64, fewer where memory is short; tinker: 16"),
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
    base_url: Annotated[
        str | None, Doc("The service of --trainer tinker; key: TINKER_API_KEY.", "URL", panel="Servers")
    ] = None
    base_model: Annotated[
        str | None, Doc("The model's name there.", "NAME", default="that of --model", panel="Servers")
    ] = None
    device: Device = Device()
    access: Mapping[str, Any] = field(default_factory=dict)

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
        check_name("--trainer", self.name, _NAMED)
        mine = self.name in TRAINERS
        self.device.check_quantize("" if mine else f"--trainer {self.name} quantizes no weights here; leave it out")
        if self.name == TINKER:
            self._check_service()
            return
        for flag, value in {"--base-url": self.base_url, "--base-model": self.base_model}.items():
            if value:
                raise BadConfig(f"{flag} {value}: --trainer {self.name} asks no service; give --trainer {TINKER}")
        for name, limit in limits.items() if self.name == "peft" else ():
            why = (
                "keeps no checkpoints" if name == "checkpoint_every" else "trains one sequence of one adapter at a time"
            )
            raise BadConfig(f"--{name.replace('_', '-')} {limit}: peft {why}; use --trainer batched")

    def _check_service(self) -> None:
        if not self.base_url:
            raise BadConfig(f"--trainer {TINKER}: which service? give --base-url URL")
        from stages.services.endpoint import check_url  # late: help does without

        check_url(self.base_url)
        own = {name: limit for name, limit in self.limits.items() if name != "slots"}
        flags = {f"--{name.replace('_', '-')}": limit for name, limit in own.items()}
        here = {"--device": self.device.name, "--dtype": self.device.dtype}
        for flag, value in {**flags, **{flag: value for flag, value in here.items() if value != "auto"}}.items():
            raise BadConfig(f"{flag} {value}: --trainer {TINKER} trains at a service, in its own way; leave it out")

    def check_config(self, config: FitConfig) -> None:
        """Raise BadConfig for settings that a service's protocol has no words for."""
        if self.name != TINKER or config.method == "full":  # which `for_method` refuses
            return
        service = f"a service of --trainer {TINKER}"
        if config.alpha != _TINKER_ALPHA:
            way = f"give --alpha {_TINKER_ALPHA:g}"
            raise BadConfig(f"--alpha {config.alpha:g}: {service} trains with alpha {_TINKER_ALPHA:g}; {way}")
        if config.dropout:
            raise BadConfig(f"--dropout {config.dropout:g}: {service} has none; leave it out, or train here")
        if PadMode.parse(config.pad_mode).padded:
            raise BadConfig(f"--pad-mode {config.pad_mode}: {service} has no pads; give eos or none")
        if not config.targets:
            told = f"no --target: {service} adapts attention, MLP or both, not peft's choice"
            raise BadConfig(f"{told}; give --target all-linear, or all layers of one of them")

    def for_method(self, method: Method) -> "LocalTrainer":
        """Return what trains by this method. Raises BadConfig for flags that are not for it."""
        if method == "lora":
            return self
        self.device.check_quantize(
            f"--method {method} trains all weights, and quantized ones stay as they are; leave it out"
        )
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
        """Return what a run's settings say of the model. A service may move."""
        from stages.models.checkpoints import fingerprint, weights_of

        if self.name == TINKER:
            return {"model": model, "weights": fingerprint(model), "base_model": self.base_model or model}
        return weights_of(model, self.device)

    def identify(self, model: str) -> str:
        """Return what ids of adapters take of the model, of a precision but float32, and of a trainer not in TRAINERS.

        The trainers in it make the same adapter, up to rounding. Quantized weights make another.
        """
        from stages.models.checkpoints import identity_of

        if self.name == TINKER:
            return " ".join([identity_of(model), TINKER, self.base_model or model])
        found = [identity_of(model)]
        if (dtype := self.device.foresee()["dtype"]) != "float32":
            found.append(dtype)
        if self.device.quantizes:
            found.append(self.device.quantize)
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
        if self.name == TINKER:
            service: Trainer = kind(
                model, base_url=self.base_url, base_model=self.base_model, **self.limits, **self.access
            )
            return service
        self.device.check_foreseen()
        trainer: Trainer = kind(model, device=self.device, **self.limits)
        return trainer

    def load_stack(self, model: str) -> "StackingTrainer":
        """Load the model for a sequence of trainings, each on the one before."""
        from stages.trainers.stacking import StackingTrainer  # late: it loads torch

        return StackingTrainer(self.load(model))


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
