"""Processes that train one model together, each on its share of every step, as a launcher starts them.

`torchrun` and `accelerate launch` set RANK, WORLD_SIZE and where they meet. The first process leads: it alone reads the
input, holds the output and writes; the others are given its examples, train along, and say nothing.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from stages.errors import BadConfig, Locked
from stages.interfaces import Example
from stages.models.device import Device
from stages.settings import SftConfig

_LONGEST_WAIT = timedelta(days=7)  # for a leader that reads from a pipe; torch's own are 10 and 30 minutes
_SHARDED = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")


@dataclass(frozen=True)
class Team:
    """This process's place among those that train one model."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True for the process that reads and writes."""
        return self.size == 1 or self.rank == 0

    def check(self, config: SftConfig) -> None:
        """Raise BadConfig for a training that these processes cannot share out with the same result."""
        if self.size == 1:
            return
        if found := [name for name in _SHARDED if os.environ.get(name, "").lower() in ("1", "true")]:
            raise BadConfig(
                f"{found[0]}: every process holds the whole model here; leave it out of the launcher's file"
            )
        if config.loss == "dpo":
            raise BadConfig("--loss dpo: is trained by one process; start it without a launcher")
        if config.batch_size % (config.micro_batch * self.size):
            raise BadConfig(
                f"--batch-size {config.batch_size}: is not a multiple of {self.size} processes times --micro-batch "
                f"{config.micro_batch}; take another number of processes, or a batch that all share alike"
            )

    def place(self, device: Device) -> Device:
        """Return the device with this process's own GPU."""
        if self.size > 1 and (kind := device.resolve()[0].type) in ("cuda", "xpu"):
            return replace(device, name=f"{kind}:{os.environ.get('LOCAL_RANK', self.rank)}")
        return device

    def share(self, examples: Sequence[Example] | None, device: Device) -> Sequence[Example] | None:
        """Return the leader's examples, in all processes; None where it has nothing to train."""
        if self.size == 1:
            return examples
        import torch
        from accelerate import PartialState

        with self.blame_others():  # accelerate hands the time-out to init_process_group
            PartialState(cpu=device.resolve()[0].type == "cpu", timeout=_LONGEST_WAIT)
            box = [examples]
            torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    @contextmanager
    def blame_others(self, has_trained: Callable[[], bool] = bool) -> Iterator[None]:
        """Raise Locked, which may be tried again, where another process is gone.

        Until all have trained together, raise BadConfig with the library's words: it may be that they never can.
        """
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if self.size == 1 or not _is_of_others(error):
                raise
            if has_trained():
                raise Locked("another process of this training is gone; run the same command again") from error
            words = " ".join(str(error).partition("Exception raised from")[0].split())
            raise BadConfig(
                f"these {self.size} processes cannot train together: {words}; see whether all were started, and how"
            ) from error


def read_team() -> Team:
    """Read the place from the launcher's variables. Raises BadConfig for what no launcher sets."""
    return Team(_read_count("RANK", 0), _read_count("WORLD_SIZE", 1))


def _read_count(name: str, otherwise: int) -> int:
    text = os.environ.get(name) or str(otherwise)
    if not (text.isascii() and text.isdecimal()):
        raise BadConfig(f"{name}={text}: is no number, as torchrun and accelerate launch set it; unset {name}")
    return int(text)


def _is_of_others(error: Exception) -> bool:
    import torch

    told = str(error).lower()  # master_addr, master_port: where they meet is not given
    return isinstance(error, torch.distributed.DistError) or "gloo" in told or "master_" in told


def share_out(trainer: Any, rows: int, config: SftConfig, team: Team) -> None:
    """Let a trainer of trl give each process its part of the batches that one process would have.

    Behind the examples comes the trainer's last row, which teaches nothing, until all have as many batches; trl would
    repeat examples instead. `rows`: examples, without that row.
    """
    from accelerate.data_loader import SeedableRandomSampler
    from torch.utils.data import DataLoader, Sampler

    step = config.micro_batch * team.size

    class Order(Sampler[int]):
        def __init__(self) -> None:
            self.plain = SeedableRandomSampler(range(rows))  # what accelerate makes of trl's own

        def __iter__(self) -> Iterator[int]:
            yield from self.plain
            yield from [rows] * (len(self) - rows)

        def __len__(self) -> int:
            return -(-rows // step) * step

        def set_epoch(self, epoch: int) -> None:
            self.plain.set_epoch(epoch)

    def load() -> Any:
        plain = DataLoader(
            trainer.train_dataset,
            batch_size=config.micro_batch,
            sampler=Order(),
            collate_fn=trainer.data_collator,
        )
        return trainer.accelerator.prepare(plain)

    trainer.get_train_dataloader = load
