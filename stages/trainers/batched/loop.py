"""The training loop: jobs of one rank and the same targets share a stack, and all advance a step at a time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stages.interfaces import FitResult, Progress
from stages.models.stacked_lora import LoraStack
from stages.tokens.tokenization import Tokens, get_max_length
from stages.trainers.adapter_files import AdapterBase, write_adapter
from stages.trainers.batched.chunked_loss import ChunkedCrossEntropy, get_loss_bytes
from stages.trainers.batched.lora_kernels import PackedLayout
from stages.trainers.batched.memory import PassBudget, count_fitting_tokens, measure_saved_bytes
from stages.trainers.batched.optimizer import StackedAdamW, Update
from stages.trainers.batched.packing import ALIGNMENT, PackedSequence, Packing
from stages.trainers.checkpoints import open_tensors, remove_state, write_tensors
from stages.trainers.jobs import ActiveJob


@dataclass(frozen=True)
class KernelOptions:
    """Which kernels compute a pass."""

    lora: str  # a key of lora_kernels.KERNELS
    varlen: bool  # attention by torch's varlen kernel
    tokens_per_pass: int | None  # None: what the memory holds
    checkpoint_every: int | None = None  # steps; None: no checkpoints


_STATE = ("weights", "first_moment", "second_moment")  # of an adapter in its checkpoint (n,), beside its losses
MAX_UNWRITTEN = 8  # finished adapters that may wait for the disk
_MAX_PREFETCHED = 4  # initial weights of jobs that wait for a slot


class TrainingLoop:
    """Trains jobs in the slots of a stack on the network. Call `run` once.

    The slots in use are always the first ones: `active[slot]` is the job in that slot.
    """

    def __init__(self, network: Any, stack: LoraStack, options: KernelOptions, progress: Progress) -> None:
        self.network, self.stack, self.progress = network, stack, progress
        self.kernel, self.varlen = _choose_kernel(stack, options.lora), options.varlen
        self.checkpoint_every = options.checkpoint_every
        self.optimizer = StackedAdamW(stack.weights, stack.grads)
        self.active: list[ActiveJob] = []
        tokens = options.tokens_per_pass or self._count_fitting_tokens()
        self.budget = PassBudget(tokens, ALIGNMENT if self.kernel == "grouped_mm" else 1)

    def run(self, jobs: Sequence[ActiveJob], base: AdapterBase) -> Iterator[FitResult]:
        """Yield results as jobs finish, each after its directory is complete. The longest jobs start first.

        Initial weights are drawn and adapters are written beside the steps: the device waits for neither.
        """
        queue = deque(sorted(jobs, key=lambda job: job.tokens, reverse=True))
        written: deque[Future[FitResult]] = deque()
        with ThreadPoolExecutor(max_workers=1) as drawer, ThreadPoolExecutor(max_workers=1) as writer:
            drawn = _prefetch(drawer, lambda job: self.stack.init_weights(job.job.seed), list(queue), _MAX_PREFETCHED)
            while queue or self.active:
                while queue and len(self.active) < len(self.stack.weights):
                    self._admit(queue.popleft(), next(drawn))
                self._step()
                for slot in [slot for slot, job in enumerate(self.active) if job.is_done][::-1]:
                    row = self.stack.weights[slot].clone()  # the next job takes the slot
                    written.append(writer.submit(_finish, self.active[slot], row, self.stack, base))
                    self._release(slot)
                while written and (written[0].done() or len(written) > MAX_UNWRITTEN):
                    yield written.popleft().result()
            while written:
                yield written.popleft().result()

    def _admit(self, new: ActiveJob, weights: Tensor) -> None:
        """Give the job the next free slot."""
        slot, config = len(self.active), new.job.config
        self.progress.begin_work([new.job.id])
        self.stack.start_slot(slot, weights, config.alpha / config.rank)
        self.optimizer.reset(slot)
        self.active.append(new)
        if self.checkpoint_every:
            self._resume(slot, new)

    def _resume(self, slot: int, new: ActiveJob) -> None:
        """Go on behind the job's last checkpoint, if it has one."""
        with open_tensors(new.job, self._way) as file:
            if file is None or set(file.keys()) != {*_STATE, "losses"}:
                return
            losses, weights, first, second = (file.get_tensor(name) for name in ("losses", *_STATE))
        own = self.stack.weights[slot]
        fits = all((row.shape, row.dtype) == (own.shape, own.dtype) for row in (weights, first, second))
        if fits and 0 < len(losses) < len(new.steps):
            own.copy_(weights)
            self.optimizer.set_moments(slot, first, second, len(losses))
            new.resume(losses.to(self.stack.device), self.progress)

    @property
    def _way(self) -> str:
        """How the model computes: a training does not go on in another precision."""
        return f"{self.stack.device.type} {self.network.dtype} {self.kernel}"

    def _write_checkpoints(self) -> None:
        """Write those of the jobs that have come so far, and not to their end."""
        for slot, each in enumerate(self.active):
            if self.checkpoint_every and len(each.losses) % self.checkpoint_every == 0 and not each.is_done:
                rows = (self.stack.weights[slot], *self.optimizer.get_moments(slot))
                state = {**dict(zip(_STATE, rows, strict=True)), "losses": torch.stack(each.losses)}
                write_tensors(each.job, state, self._way)

    def _release(self, slot: int) -> None:
        """Frees a slot; the last one in use moves there, so that those in use stay the first."""
        last = self.active.pop()
        self.stack.copy_slot(len(self.active), slot)
        self.optimizer.move(len(self.active), slot)
        if slot < len(self.active):
            self.active[slot] = last

    # ---- a step

    def _step(self) -> None:
        """The next optimizer step of every active job: the sum of their losses, each the mean over its own targets."""
        slots = len(self.active)
        batches = ((slot, *each.get_next_batch()) for slot, each in enumerate(self.active))
        rows = [PackedSequence(slot, tokens, share) for slot, batch, share in batches for tokens in batch]
        losses = torch.zeros(slots, dtype=self.stack.weights.dtype, device=self.stack.device)
        self.stack.bind_gradients(slots)

        def clear() -> None:
            self.stack.grads.zero_()
            losses.zero_()

        compute = partial(self._run_pass, losses=losses)
        self.budget.run(sorted(rows, key=self._get_sort_key), compute, clear, self.progress)
        self.optimizer.step([_get_update(each) for each in self.active])
        for job, loss in zip(self.active, losses.unbind(), strict=True):
            job.losses.append(loss)
        self._write_checkpoints()
        self.progress.advance(1)

    def _get_sort_key(self, row: PackedSequence) -> tuple[int, ...]:
        """Slot by slot where spans must lie together, else rows of similar length into one pass."""
        return (row.slot,) if self.kernel == "grouped_mm" else row.shape

    def _pack(self, rows: Sequence[PackedSequence]) -> Packing:
        return Packing(rows, self.stack.device, self.kernel, self.varlen)

    def _run_pass(self, rows: Sequence[PackedSequence], losses: Tensor) -> None:
        """Add the pass's gradients to the stack's, and its losses to each slot's (slots,)."""
        packing = self._pack(rows)
        places, counted = packing.targeted
        each = (packing.targets, packing.owners, packing.weights.to(losses.dtype))
        targets, owners, weights = (packing.to_device(values[places]) for values in each)
        weights[counted:] = 0
        hidden = self._get_hidden(packing).index_select(0, packing.to_device(places))
        head = self.network.get_output_embeddings()
        total, each_loss = ChunkedCrossEntropy.apply(hidden, head, targets, weights)  # type: ignore[no-untyped-call]
        total.backward()
        losses.index_add_(0, owners, (each_loss * weights).to(losses.dtype))

    def _get_hidden(self, packing: Packing) -> Tensor:
        """Last hidden states of all positions: (total, hidden)."""
        self.stack.layout = PackedLayout(packing)
        hidden: Tensor = self.network.base_model(**packing.inputs, packing=packing).last_hidden_state[0]
        return hidden

    def _count_fitting_tokens(self) -> int:
        """Count them by a trial of two short sequences."""
        stacked = self.stack.weights.numel() * self.stack.weights.element_size()
        longest = get_max_length(self.network.config)
        return count_fitting_tokens(self.measure_pass, 3 * stacked, self.stack.device, longest=longest)

    def measure_pass(self, length: int) -> int:
        """Return the bytes of a one-sequence pass: those autograd keeps, and the loss, if all tokens are targets."""
        return self.measure_saved(length) + length * get_loss_bytes(self.network.get_output_embeddings())

    def measure_saved(self, length: int) -> int:
        """Return the bytes that autograd keeps of a one-sequence pass."""
        self.stack.bind_gradients(1)
        packing = self._pack([PackedSequence(0, Tokens((1,) * length, 0))])
        return measure_saved_bytes(lambda: self._get_hidden(packing))


def _prefetch(
    worker: Executor, work: Callable[[ActiveJob], Tensor], jobs: Sequence[ActiveJob], count: int
) -> Iterator[Tensor]:
    """work(job) for each job in order, by the worker, up to `count` of them before they are asked for."""
    waiting: deque[Future[Tensor]] = deque()
    for job in jobs:
        waiting.append(worker.submit(work, job))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _finish(ended: ActiveJob, row: Tensor, stack: LoraStack, base: AdapterBase) -> FitResult:
    """Write the adapter of a job whose weights are now `row`, unless it diverged."""
    job = ended.job
    save = partial(write_adapter, job.out, stack.get_peft_state(row), job.config, stack.targets, base)
    result = ended.finish([row], save)
    remove_state(job.out)
    return result


def _get_update(active: ActiveJob) -> Update:
    config = active.job.config
    return Update(active.get_next_rate(), config.max_grad_norm, config.weight_decay)


def _choose_kernel(stack: LoraStack, kernel: str) -> str:
    """The kernel, but bmm where grouped_mm cannot take the stack: it wants multiples of 8, and no float64."""
    sizes = {stack.rank} | {size for each in stack.layers for size in (each.base.in_features, each.base.out_features)}
    fits = stack.weights.dtype != torch.float64 and all(size % 8 == 0 for size in sizes)
    return kernel if fits or kernel != "grouped_mm" else "bmm"
