"""The batched trainer: many LoRA adapters at once on one frozen model, each as if it were trained alone.

Every step takes the next step of every adapter in work. As one ends, the next job takes its slot; the longest jobs go
first, since the longest chain bounds the run. Jobs of another rank or other targets form a stack of their own.
"""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stages.engines.adamw import StackedAdamW, Update
from stages.engines.base import FitConfig, FitJob, FitResult
from stages.engines.lora import add_lora, batches, diverged, learning_rate_factor, overflowed, write_adapter
from stages.engines.losses import ChunkedCrossEntropy
from stages.engines.models import Device, load_model, load_tokenizer
from stages.engines.packing import Packing, check_packable, packed_attention
from stages.engines.stack import Stack
from stages.engines.text import Tokens, lesson_tokens
from stages.failures import BadConfig


@dataclass
class Resident:
    """A job in a slot: its sequences, the batches of its steps, and the losses so far (on the device)."""

    job: FitJob
    sequences: Sequence[Tokens]
    steps: Sequence[Sequence[int]]
    losses: list[Tensor] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.losses) == len(self.steps)

    @property
    def batch(self) -> list[Tokens]:
        """The sequences of its next step."""
        return [self.sequences[place] for place in self.steps[len(self.losses)]]

    def update(self) -> Update:
        config = self.job.config
        taken = len(self.losses)
        rate = config.learning_rate * learning_rate_factor(config, len(self.steps))(taken)
        return Update(rate, taken, config.max_grad_norm, config.weight_decay)


class ManyTrainer:
    """Trains all jobs on one model. `slots` adapters are in work at a time; `path` is one of loop, bmm and grouped.

    `loaded` is a (tokenizer, network) that is in memory already; the model is then only a name.
    """

    def __init__(
        self,
        model: str,
        *,
        device: Device = Device(),
        slots: int | None = None,
        path: str | None = None,
        loaded: tuple[Any, Any] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer, self.network = loaded or (load_tokenizer(model), load_model(model, device))
        gpu = self.network.device.type == "cuda"
        self.path = path or ("grouped" if gpu and self.network.dtype == torch.bfloat16 else "bmm")
        self.slots = slots or (64 if gpu else 16)
        check_packable(self.network)

    def fit(self, jobs: Iterable[FitJob]) -> Iterator[FitResult]:
        """One result per job as it finishes, each after its directory is complete. Reads all jobs first."""
        groups: dict[tuple[int, tuple[str, ...]], list[FitJob]] = {}
        for job in jobs:
            if job.config.dropout:
                raise BadConfig(f"--dropout {job.config.dropout}: many adapters at once have none; use --trainer peft")
            groups.setdefault((job.config.rank, job.config.targets), []).append(job)
        for (rank, targets), members in groups.items():
            yield from self._fit_group(rank, targets, members)

    def _fit_group(self, rank: int, targets: tuple[str, ...], jobs: Sequence[FitJob]) -> Iterator[FitResult]:
        names = target_names(self.network, targets)
        queue = deque(sorted((self._prepare(job) for job in jobs), key=cost, reverse=True))
        slots = min(self.slots, len(jobs))
        with packed_attention(self.network), Stack(self.network, names, rank=rank, slots=slots) as stack:
            optimizer = StackedAdamW(stack.weights, stack.grads)
            residents: list[Resident] = []
            while queue or residents:
                while queue and len(residents) < slots:
                    admit(queue.popleft(), residents, stack, optimizer)
                self._step(residents, stack, optimizer)
                for slot in [slot for slot, resident in enumerate(residents) if resident.done][::-1]:
                    yield self._finish(residents[slot], stack, slot)
                    release(slot, residents, stack, optimizer)

    def _prepare(self, job: FitJob) -> Resident:
        end = job.config.pad_mode == "eos"
        sequences = lesson_tokens(self.tokenizer, self.network, job.lesson, end=end)
        return Resident(job, sequences, list(batches(len(sequences), job.config, job.seed)))

    def _step(self, residents: Sequence[Resident], stack: Stack, optimizer: StackedAdamW) -> None:
        """The next optimizer step of every resident: the sum of their losses, each the mean over its own targets."""
        rows = [resident.batch for resident in residents]
        packing = Packing(rows, self.network.device, path_for(stack, self.path))
        losses = self._forward_backward(packing, stack)
        optimizer.step([resident.update() for resident in residents])
        for resident, loss in zip(residents, losses, strict=True):
            resident.losses.append(loss)

    def _forward_backward(self, packing: Packing, stack: Stack) -> Tensor:
        """Leaves each slot's gradient in the stack and returns each slot's loss: (slots,)."""
        slots = len(packing.rows)
        stack.bind(slots, packing)
        chosen = (packing.targets >= 0).nonzero()[:, 0]
        owners = packing.owners[chosen]
        count = torch.bincount(owners, minlength=slots).clamp(min=1).to(stack.weights.dtype)
        weight = count.reciprocal()[owners]  # the sum of the jobs' mean losses, not their mean
        hidden = self.network.base_model(**packing.inputs, packing=packing).last_hidden_state[0]  # (total, hidden)
        head = self.network.get_output_embeddings()
        total, losses = ChunkedCrossEntropy.apply(hidden[chosen], head, packing.targets[chosen], weight)  # type: ignore[no-untyped-call]
        quiet_backward(total)
        return torch.zeros(slots, dtype=losses.dtype, device=losses.device).index_add_(0, owners, losses * weight)

    def _finish(self, resident: Resident, stack: Stack, slot: int) -> FitResult:
        losses = [float(loss) for loss in torch.stack(resident.losses).tolist()]
        error = diverged(losses) or overflowed([stack.weights[slot]])
        job = resident.job
        path = None if error else write_adapter(job.out, stack.state(slot), job.config, stack.targets, self.model)
        return FitResult(
            id=job.id,
            path=path,
            sequences=len(resident.sequences),
            tokens=sum(len(sequence.ids) for sequence in resident.sequences),
            steps=len(losses),
            loss_first=losses[0],
            loss_last=losses[-1],
            error=error,
        )


def path_for(stack: Stack, path: str) -> str:
    """The path, but bmm where the grouped kernel cannot take the stack: sizes must be multiples of 8, never float64."""
    sizes = {stack.rank} | {size for each in stack.layers for size in (each.base.in_features, each.base.out_features)}
    fits = stack.weights.dtype != torch.float64 and all(size % 8 == 0 for size in sizes)
    return path if fits or path != "grouped" else "bmm"


def quiet_backward(loss: Tensor) -> None:
    """backward() without torch's remark that gradients which are views of a stack are not laid out as it likes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")
        loss.backward()  # type: ignore[no-untyped-call]


def cost(resident: Resident) -> int:
    """Tokens of the whole job, the measure by which the longest go first."""
    return sum(len(resident.sequences[place].ids) for step in resident.steps for place in step)


def admit(resident: Resident, residents: list[Resident], stack: Stack, optimizer: StackedAdamW) -> None:
    """Gives the job the next free slot, with peft's own initial weights."""
    slot = len(residents)
    config = resident.job.config
    stack.initialise(slot, resident.job.seed, config.alpha / config.rank)
    optimizer.reset(slot)
    residents.append(resident)


def release(slot: int, residents: list[Resident], stack: Stack, optimizer: StackedAdamW) -> None:
    """Frees a slot; the last one in use moves there, so that those in use stay the first."""
    last = len(residents) - 1
    stack.move(last, slot)
    optimizer.move(last, slot)
    residents[slot] = residents[last]
    residents.pop()


def target_names(network: Any, targets: Sequence[str]) -> list[str]:
    """Full names of the layers that peft would adapt, in its order. Raises BadConfig as peft's own choice does."""
    with torch.random.fork_rng():  # peft draws weights that nobody needs
        wrapped = add_lora(network, FitConfig(rank=1, targets=tuple(targets)))
    try:
        parts = wrapped.get_base_model().named_modules()
        layers = {name: part.base_layer for name, part in parts if hasattr(part, "lora_A")}
    finally:
        wrapped.unload()
    for name, layer in layers.items():
        if layer is network.get_output_embeddings() or not isinstance(layer, torch.nn.Linear):
            raise BadConfig(
                f"layer {name}: not a linear layer inside the blocks, as --trainer batched needs; use --trainer peft"
            )
    return list(layers)
