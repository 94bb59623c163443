"""The batched trainer: many LoRA adapters at once on one frozen model, each as if it were trained alone.

Every step takes the next step of every adapter in work. As one ends, the next job takes its slot; the longest jobs go
first, since the longest chain bounds the run. Jobs of another rank or other targets form a stack of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from heapq import heapreplace
from typing import Any

import torch

from stages.errors import BadConfig
from stages.files import check_space
from stages.interfaces import FitJob, FitResult, NullProgress, Progress
from stages.models.device import Device
from stages.models.devices.hardware import describe_by_torch
from stages.models.loading import load_model, load_tokenizer
from stages.models.lora_targets import is_row_wise
from stages.models.stacked_lora import LoraStack
from stages.settings import FitConfig
from stages.trainers.adapter_files import SETTINGS_BYTES, AdapterBase
from stages.trainers.batched.attention import use_packed_attention
from stages.trainers.batched.compatibility import check_packable, has_varlen_kernel
from stages.trainers.batched.loop import KernelOptions, TrainingLoop
from stages.trainers.batched.memory import MAX_ADAPTERS, count_fitting_adapters
from stages.trainers.jobs import ActiveJob, encode_jobs
from stages.trainers.peft import add_lora


class BatchedLoraTrainer:
    """Trains all jobs on one model, `slots` adapters at a time; `kernel`: one of lora_kernels.KERNELS.

    `tokens_per_step` bounds the tokens of one forward and backward pass: a step with more takes several passes. None
    for either takes what the device's memory holds. `checkpoint_every`: steps after which a training is saved, so that
    one that died goes on there. `loaded` is a (tokenizer, network) that is in memory already; the model is then only a
    name.
    """

    def __init__(
        self,
        model: str,
        *,
        device: Device = Device(),
        slots: int | None = None,
        tokens_per_step: int | None = None,
        checkpoint_every: int | None = None,
        kernel: str | None = None,
        loaded: tuple[Any, Any] | None = None,
    ) -> None:
        self.model, self.slots = model, slots
        self.tokenizer, self.network = loaded or (load_tokenizer(model), load_model(model, device))
        gpu = self.network.dtype == torch.bfloat16 and describe_by_torch(self.network.device).kind == "cuda"
        check_packable(self.network)
        self.base = AdapterBase(model) if loaded else AdapterBase.of(model, device.quantize)
        varlen = gpu and has_varlen_kernel(self.network)
        kernel = kernel or ("grouped_mm" if gpu else "bmm")
        self.options = KernelOptions(kernel, varlen, tokens_per_step, checkpoint_every)

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """Yield one result per job as it finishes, after its directory is complete. Reads all jobs first."""
        jobs = list(jobs)
        for dropout in (job.config.dropout for job in jobs if job.config.dropout):
            raise BadConfig(f"--dropout {dropout}: many adapters at once have none; use --trainer peft")
        groups: dict[tuple[int, tuple[str, ...]], list[ActiveJob]] = {}
        names = cache(lambda targets: tuple(find_target_layers(self.network, targets)))
        for each in (yield from encode_jobs(self.tokenizer, self.network, jobs, packed=True)):
            config = each.job.config
            groups.setdefault((config.rank, names(config.targets)), []).append(each)
        tokens = sum(each.tokens for members in groups.values() for each in members)
        steps = sum(_count_steps(members, self.slots or MAX_ADAPTERS) for members in groups.values())
        progress.expect(tokens, steps=steps)
        for (rank, layers), members in groups.items():
            yield from self._fit_group(rank, layers, members, progress)

    def _fit_group(
        self, rank: int, names: Sequence[str], members: Sequence[ActiveJob], progress: Progress
    ) -> Iterator[FitResult]:
        slots = min(len(members), self.slots or count_fitting_adapters(self.network, names, rank))
        with use_packed_attention(self.network), LoraStack(self.network, names, rank=rank, slots=slots) as stack:
            needed = len(members) * (stack.weights[0].nbytes + SETTINGS_BYTES)
            check_space(members[0].job.out.parent, needed, f"{len(members)} adapters")
            yield from TrainingLoop(self.network, stack, self.options, progress).run(members, self.base)


def _count_steps(members: Sequence[ActiveJob], slots: int) -> int:
    """Optimizer steps of a group in so many slots, the longest jobs first: those of the slot that is longest in use."""
    ends = [0] * slots
    for each in sorted(members, key=lambda job: job.tokens, reverse=True):
        heapreplace(ends, ends[0] + len(each.steps))
    return max(ends)


def find_target_layers(network: Any, targets: Sequence[str]) -> list[str]:
    """Return full names of the layers that peft would adapt, in its order. Raises BadConfig as peft's choice does."""
    with torch.random.fork_rng():  # peft draws weights that nobody needs
        wrapped = add_lora(network, FitConfig(rank=1, targets=tuple(targets)))
    try:
        parts = wrapped.get_base_model().named_modules()
        layers = {name: part.base_layer for name, part in parts if hasattr(part, "lora_A")}
    finally:
        wrapped.unload()
    for name, layer in layers.items():
        inside = layer is not network.get_output_embeddings() and isinstance(layer, torch.nn.Linear)
        if not inside or not is_row_wise(network, name):
            needs = "not a linear layer inside the blocks that sees every token, as --trainer batched needs"
            raise BadConfig(f"layer {name}: {needs}; use --trainer peft")
    return list(layers)
