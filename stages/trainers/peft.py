"""The peft trainer: one LoRA at a time, a plain loop. The oracle that faster trainers are held against.

Mirrors HF Trainer's defaults (AdamW, linear decay, clip 1.0, loss per target token), as the official code relies on
them, without its padding to 2048 tokens. Seeds are the job's own: the initial weights and one shuffle per epoch.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from stages.files import check_space, partial_directory
from stages.interfaces import FitJob, FitResult, NullProgress, Progress
from stages.models.device import Device
from stages.models.loading import load_model, load_tokenizer
from stages.models.lora_targets import resolve_targets
from stages.settings import FitConfig
from stages.tokens.tokenization import Tokens
from stages.trainers.adapter_files import SETTINGS_BYTES, AdapterBase, save_adapter
from stages.trainers.jobs import ActiveJob, encode_jobs, make_schedule


class PeftTrainer:
    """Trains each job alone with peft and returns the model untouched."""

    def __init__(self, model: str, *, device: Device = Device()) -> None:
        self.model = model
        self.tokenizer = load_tokenizer(model)
        self.network = load_model(model, device)
        self.base = AdapterBase.of(model, device.quantize)

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """Yield one result per job, in order, each after its directory is complete. Reads all jobs first."""
        active = yield from encode_jobs(self.tokenizer, self.network, jobs)
        progress.expect(sum(each.tokens for each in active))
        self._check_space([each.job for each in active])
        for each in active:
            progress.begin_work([each.job.id])
            with torch.random.fork_rng():
                yield self._fit(each, progress)

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

    def _fit(self, active: ActiveJob, progress: Progress) -> FitResult:
        job = active.job
        torch.manual_seed(job.seed)
        student = add_lora(self.network, job.config)
        try:
            _train(student, active, progress)
            return active.finish(student.parameters(), partial(save_adapter, student, job.out, self.base))
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


def _train(student: Any, active: ActiveJob, progress: Progress) -> None:
    """Fit the student in place. The loss of a step is the mean per target token, pads weighted."""
    config = active.job.config
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    rate, decay = config.learning_rate, config.weight_decay
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)  # as HF Trainer
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, make_schedule(config, len(active.steps)))
    student.train()
    for step in active.steps:
        batch = [active.sequences[place] for place in step]
        total, weight = sum_losses(student, batch)
        loss = total / weight.clamp(min=1)  # 0 where all is silent
        loss.backward()  # type: ignore[no-untyped-call]
        if config.max_grad_norm > 0:  # 0: no clipping, as in HF Trainer
            torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        active.losses.append(loss.detach())
        progress.add_trained(sum(len(tokens.ids) for tokens in batch))
    student.eval()


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
