"""From --trainer and its flags to the trainer of the inner update."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from stages.errors import BadConfig
from stages.interfaces import Doc
from stages.models.device import Device
from stages.plugins import check_name
from stages.trainers.local import TRAINERS, LocalTrainer


@dataclass(frozen=True)
class TrainerFlags:
    """Who trains, on which device, and how much of it at once."""

    panel: ClassVar[str] = "Engine and device"
    name: Annotated[
        str,
        Doc(
            "batched (many at once), peft (one at a time), or package.module:Class.",
            "NAME",
            "--trainer",
            values=(
                "batched",
                "peft",
            ),
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
        limits = {"slots": self.slots, "tokens_per_step": self.token_budget}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def check(self) -> None:
        """Raises BadConfig for a trainer that there is not, and for limits that it does not have."""
        limits = self.limits
        check_name("--trainer", self.name, TRAINERS)
        for name, limit in limits.items() if self.name == "peft" else ():
            flag = f"--{name.replace('_', '-')} {limit}"
            raise BadConfig(f"{flag}: peft trains one sequence of one adapter at a time; use --trainer batched")

    def source(self, model: str | None) -> LocalTrainer:
        """Return the trainer with its model, not loaded yet."""
        return LocalTrainer(model, self.name, self.device, self.limits)
