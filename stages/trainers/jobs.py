"""Jobs in training, whatever trains them: the sequences of each step, its learning rate, and what comes of them.

Mirrors HF Trainer's defaults (linear decay, loss per target token), as the official code relies on them.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import Untrainable
from stages.interfaces import FitJob, FitResult, Progress, make_failed_result
from stages.records.frozen import derive_seed
from stages.settings import FitConfig
from stages.tokens.tokenization import Tokens, encode_training_set


@dataclass
class ActiveJob:
    """A job in training: its sequences, their places in the batch of each step, and its losses so far."""

    job: FitJob
    sequences: Sequence[Tokens]
    steps: Sequence[Sequence[int]]
    losses: list[Tensor] = field(default_factory=list)  # on the device, which nobody waits for

    @property
    def is_done(self) -> bool:
        return len(self.losses) == len(self.steps)

    @property
    def tokens(self) -> int:
        """Real tokens of the whole job, which measure its cost."""
        return self._count_tokens(self.steps)

    def _count_tokens(self, steps: Iterable[Sequence[int]]) -> int:
        return sum(len(self.sequences[place].ids) for step in steps for place in step)

    def get_next_batch(self) -> tuple[list[Tokens], float]:
        """Return the sequences of the next step, and the share of each target in its loss, their mean."""
        batch = [self.sequences[place] for place in self.steps[len(self.losses)]]
        return batch, 1 / max(1, sum(tokens.weight for tokens in batch))

    def get_next_rate(self) -> float:
        """Return the learning rate of the next step."""
        config = self.job.config
        return config.learning_rate * make_schedule(config, len(self.steps))(len(self.losses))

    def resume(self, losses: Tensor, progress: Progress) -> None:
        """Go on behind the steps that had these losses."""
        self.losses += losses.unbind()
        done = len(losses)
        progress.note(f"adapter {self.job.id} goes on behind step {done} of {len(self.steps)}")
        progress.add_trained(self._count_tokens(self.steps[:done]))
        progress.advance(done)

    def finish(self, weights: Iterable[Tensor], save: Callable[[], Path]) -> FitResult:
        """Return what came of the job: its adapter, which `save` writes, or why there is none."""
        losses = torch.stack(self.losses).tolist()
        error = explain_divergence(losses, weights)
        return FitResult(
            id=self.job.id,
            path=None if error else save(),
            sequences=len(self.sequences),
            tokens=sum(len(sequence.ids) for sequence in self.sequences),
            steps=len(losses),
            loss_first=losses[0],
            loss_last=losses[-1],
            error=error,
        )


def encode_jobs(
    tokenizer: Any, network: Any, jobs: Iterable[FitJob], *, packed: bool = False
) -> Generator[FitResult, None, list[ActiveJob]]:
    """Return the jobs that can be trained, and yield the results of the others."""
    found = list[ActiveJob]()
    for job in jobs:
        try:
            sequences = encode_training_set(tokenizer, network, job.lesson, job.config, packed=packed)
        except Untrainable as error:
            yield make_failed_result(job, error)
        else:
            found.append(ActiveJob(job, sequences, list(_plan_steps(len(sequences), job.config, job.seed))))
    return found


def _plan_steps(count: int, config: FitConfig, seed: int) -> Iterator[list[int]]:
    """The sequences of each optimizer step: a shuffle per epoch from the job's seed; the last may be short."""
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


def explain_divergence(losses: Sequence[float], weights: Iterable[Tensor]) -> str | None:
    """Return the line's error for a training that ended in NaN or infinity, else None.

    Weights may have done so in the last step, whose loss nobody saw.
    """
    bad = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if bad is not None:
        return f"training diverged: the loss is {losses[bad]} at step {bad + 1} of {len(losses)}"
    fine = all(bool(weight.isfinite().all()) for weight in weights)
    return None if fine else "training diverged: a weight is not finite after the last step"
