"""The peft trainer: one LoRA at a time, a plain loop. The oracle that faster trainers are held against.

Mirrors HF Trainer's defaults (AdamW, linear decay, clip 1.0, loss per target token), as the official code relies on
them, without its padding to 2048 tokens. Seeds are the job's own: the initial weights and one shuffle per epoch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from stages.errors import Untrainable
from stages.files import check_space, partial_directory
from stages.interfaces import FitJob, FitResult, NullProgress, Progress, make_failed_result
from stages.models.device import Device
from stages.models.loading import load_model, load_tokenizer
from stages.models.lora_targets import resolve_targets
from stages.records.frozen import derive_seed
from stages.settings import FitConfig
from stages.tokens.tokenization import Tokens, encode_training_set
from stages.trainers.adapter_files import SETTINGS_BYTES, AdapterBase, save_adapter


class PeftTrainer:
    """Trains each job alone with peft and returns the model untouched."""

    def __init__(self, model: str, *, device: Device = Device()) -> None:
        self.model = model
        self.tokenizer = load_tokenizer(model)
        self.network = load_model(model, device)
        self.base = AdapterBase.of(model)

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """Yield one result per job, in order, each after its directory is complete. Reads all jobs first."""
        fine: list[tuple[FitJob, list[Tokens]]] = []
        for job in jobs:
            try:
                fine.append((job, encode_training_set(self.tokenizer, self.network, job.lesson, job.config)))
            except Untrainable as error:
                yield make_failed_result(job, error)
        tokens = [job.config.epochs * sum(len(each.ids) for each in sequences) for job, sequences in fine]
        progress.expect(sum(tokens))
        self._check_space([job for job, _ in fine])
        for job, sequences in fine:
            progress.begin_work([job.id])
            with torch.random.fork_rng():
                yield self._fit(job, sequences, progress)

    def _check_space(self, jobs: Sequence[FitJob]) -> None:
        """Raise before the first of these is trained where it could not be saved. Its size stands for all."""
        for job in jobs[:1]:
            with torch.random.fork_rng():
                student = add_lora(self.network, job.config)
            try:
                size = sum(weight.nbytes for weight in student.parameters() if weight.requires_grad)
                check_space(job.out.parent, len(jobs) * (size + SETTINGS_BYTES), f"{len(jobs)} adapters")
                with partial_directory(job.out) as folder:
                    save_adapter(student, folder / "untrained", self.base)
            finally:
                student.unload()

    def _fit(self, job: FitJob, sequences: Sequence[Tokens], progress: Progress) -> FitResult:
        torch.manual_seed(job.seed)
        student = add_lora(self.network, job.config)
        try:
            losses = _train(student, sequences, job.config, job.seed, progress)
            save = partial(save_adapter, student, job.out, self.base)
            return finish_training(job, sequences, losses, student.parameters(), save)
        finally:
            student.unload()


def add_lora(network: Any, config: FitConfig) -> Any:
    """Put a fresh LoRA from the global generator on the network. Raises BadConfig for targets it does not have."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=resolve_targets(network, config.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, settings)


def _train(
    student: Any, sequences: Sequence[Tokens], config: FitConfig, seed: int, progress: Progress = NullProgress()
) -> list[float]:
    """Fits the student in place. Returns the mean loss per target token of every step."""
    steps = list(plan_steps(len(sequences), config, seed))
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    rate, decay = config.learning_rate, config.weight_decay
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)  # as HF Trainer
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, make_schedule(config, len(steps)))
    losses = []
    student.train()
    for step in steps:
        loss = _compute_loss(student, [sequences[place] for place in step])
        loss.backward()  # type: ignore[no-untyped-call]
        if config.max_grad_norm > 0:  # 0: no clipping, as in HF Trainer
            torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        progress.add_trained(sum(len(sequences[place].ids) for place in step))
    student.eval()
    return [float(loss) for loss in torch.stack(losses).tolist()]


def plan_steps(count: int, config: FitConfig, seed: int) -> Iterator[list[int]]:
    """Yield the sequences of each optimizer step: a shuffle per epoch from the job's seed; the last may be short."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order"))
    size = config.batch_size * config.accumulation
    for _ in range(config.epochs):
        order = torch.randperm(count, generator=generator).tolist()
        yield from (order[start : start + size] for start in range(0, count, size))


def make_schedule(config: FitConfig, steps: int) -> Callable[[int], float]:
    """Return the share of the learning rate at step t: warm-up, then transformers' linear, cosine or constant."""

    warmup = config.count_warmup_steps(steps)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        left = (steps - step) / max(1, steps - warmup)
        if config.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (1 - left)))
        return left if config.schedule == "linear" else 1.0

    return factor


def _compute_loss(student: Any, batch: Sequence[Tokens]) -> torch.Tensor:
    """Cross-entropy per target of the whole batch, pads weighted."""
    total, weight = sum_losses(student, batch)
    return total / weight.clamp(min=1)  # 0 where all is silent


def sum_losses(student: Any, batch: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (sum of all targets' cross-entropies, pads weighted, sum of the weights).

    Shorter sequences are padded on the right, which no real token sees: attention is causal.
    """
    longest = max(len(sequence.cells) for sequence in batch)
    columns = zip(*(_right_pad(sequence, longest) for sequence in batch), strict=True)
    ids, positions, targets, weights, mask = (torch.tensor(column, device=student.device) for column in columns)
    padded = any(sequence.pads for sequence in batch)
    seen = {"position_ids": positions, "attention_mask": mask} if padded else {}  # pads are never seen
    logits = student(input_ids=ids, use_cache=False, **seen).logits  # (batch, longest, vocabulary)
    wide = logits.flatten(0, 1)
    wide = wide if wide.dtype == torch.float64 else wide.float()
    losses = cross_entropy(wide, targets.flatten(), reduction="none")  # 0 where there is no target
    return (losses * weights.flatten()).sum(), weights.sum()


def _right_pad(sequence: Tokens, to: int) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """(ids, positions, targets, weights of the targets, 1 for what may be seen), each filled up to `to`."""
    filling = [(0, 0, -100, 0)] * (to - len(sequence.cells))
    ids, positions, targets, weights = (list(column) for column in zip(*sequence.cells, *filling, strict=True))
    weights = [weight if target >= 0 else 0 for target, weight in zip(targets, weights, strict=True)]
    return ids, positions, targets, weights, [1] * len(sequence.ids) + [0] * (to - len(sequence.ids))


def finish_training(
    job: FitJob,
    sequences: Sequence[Tokens],
    losses: Sequence[float],
    weights: Iterable[torch.Tensor],
    save: Callable[[], Path],
) -> FitResult:
    """Return what came of a job: its adapter, which `save` writes, or why there is none."""
    error = explain_divergence(losses, weights)
    return FitResult(
        id=job.id,
        path=None if error else save(),
        sequences=len(sequences),
        tokens=sum(len(sequence.ids) for sequence in sequences),
        steps=len(losses),
        loss_first=losses[0],
        loss_last=losses[-1],
        error=error,
    )


def explain_divergence(losses: Sequence[float], weights: Iterable[torch.Tensor]) -> str | None:
    """Return the line's error for a training that ended in NaN or infinity, else None.

    Weights may have done so in the last step, whose loss nobody saw.
    """
    bad = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if bad is not None:
        return f"training diverged: the loss is {losses[bad]} at step {bad + 1} of {len(losses)}"
    fine = all(bool(weight.isfinite().all()) for weight in weights)
    return None if fine else "training diverged: a weight is not finite after the last step"
