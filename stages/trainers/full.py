"""The trainer of `--method full`: all weights of the model are trained, and the result is a model directory.

One job after the other, each from the weights of the model's own directory; a step's sequences go through in passes of
similar lengths. As everywhere here: AdamW, a schedule, a clip at 1.0, loss per target token (HF Trainer's defaults).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stages.errors import OutOfMemory
from stages.files import check_space
from stages.fingerprints import fingerprint_folder
from stages.interfaces import FitJob, FitResult, NullProgress, Progress
from stages.models.checkpoints import BASE_KEY, check_unchanged, fingerprint, resolve_model_name
from stages.models.device import Device, get_free_bytes, get_widest_dtype
from stages.models.loading import load_model, load_network, load_tokenizer
from stages.models.tuned_models import ADAPTER_KEY, DIGEST_KEY
from stages.records.frozen import derive_seed
from stages.tokens.tokenization import Tokens, get_max_length
from stages.trainers.batched.memory import PassBudget, count_fitting_tokens, measure_saved_bytes
from stages.trainers.batched.packing import PackedSequence
from stages.trainers.checkpoints import open_tensors, remove_state, write_tensors
from stages.trainers.jobs import ActiveJob, encode_jobs
from stages.trainers.master_weights import BYTES_PER_WEIGHT, CHECKPOINT_BYTES, MasterWeights
from stages.trainers.model_files import check_saving, save_model
from stages.trainers.peft import sum_losses

_WAY_OUT = "take --dtype bfloat16, or --pad-mode sampled:32 instead of full"


class FullTrainer:
    """Trains each job's model alone. `tokens_per_step` bounds the tokens of one forward and backward pass.

    `checkpoint_every`: steps after which a training is saved, so that one that died goes on there.
    """

    def __init__(
        self,
        model: str,
        *,
        device: Device = Device(),
        tokens_per_step: int | None = None,
        checkpoint_every: int | None = None,
    ) -> None:
        self.model, self.device, self.dtype = model, device, device.resolve()[1]
        self.tokens_per_step, self.checkpoint_every = tokens_per_step, checkpoint_every
        self.tokenizer = load_tokenizer(model)
        self.base = fingerprint(model)
        _check_memory(model, device)
        self.network: Any = self._load()
        self.is_fresh = True  # the network is the model as it was

    def _load(self) -> Any:
        """Load the model in the masters' precision: bfloat16 weights would round small updates away."""
        wide = self.dtype == torch.bfloat16
        return load_model(self.model, replace(self.device, dtype="float32") if wide else self.device)

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """Yield one result per job, in order, each after its directory is complete. Reads all jobs first."""
        active = yield from encode_jobs(self.tokenizer, self.network, jobs)
        progress.expect(sum(each.tokens for each in active), steps=sum(len(each.steps) for each in active))
        self._check_space([each.job for each in active])
        for each in active:
            job = each.job
            progress.set_phase("preparing")  # behind the writing of the one before
            progress.begin_work([job.id])
            if not self.is_fresh:
                self.network = None  # the memory of one model is free before the next is loaded
                check_unchanged({"model": self.model, "weights": self.base})
                self.network = self._load()
            self.is_fresh = False
            with torch.random.fork_rng():
                for told in check_saving(self.network, self.tokenizer, job.out, self.model, self.dtype.itemsize):
                    progress.note(told)
                training = _Training(self.network, self.dtype, each, progress)
                training.run(self.tokens_per_step, self.checkpoint_every)
                progress.set_phase("writing")
                result = each.finish(training.weights.masters.values(), partial(self._save, job))
            remove_state(job.out)
            del training  # it holds the weights
            yield result

    def _check_space(self, jobs: Sequence[FitJob]) -> None:
        """Raise NoSpace where the models, and the old and the new checkpoint of one of them, do not fit on the disk."""
        kept = 2 * CHECKPOINT_BYTES[self.dtype] if self.checkpoint_every else 0
        needed = self.network.num_parameters() * (len(jobs) * self.dtype.itemsize + kept)
        for job in jobs[:1]:
            check_space(job.out.parent, needed, f"{len(jobs)} models" + (" and their checkpoints" if kept else ""))

    def _save(self, job: FitJob) -> Path:
        about = {ADAPTER_KEY: job.id, "model": resolve_model_name(self.model), BASE_KEY: self.base}
        save_model(
            self.network, self.tokenizer, job.out, lambda folder: {**about, DIGEST_KEY: fingerprint_folder(folder)}
        )
        return job.out


class _Training:
    """One job in training."""

    def __init__(self, network: Any, dtype: torch.dtype, active: ActiveJob, progress: Progress) -> None:
        self.network, self.active, self.progress = network, active, progress
        self.way = f"{network.device.type} {dtype} full"  # how the model computes
        self.weights = MasterWeights(network, dtype, active.job.config.weight_decay)

    def run(self, tokens_per_pass: int | None, checkpoint_every: int | None) -> None:
        """Train to the end, or on behind the last checkpoint."""
        active = self.active
        self.network.train()
        budget = PassBudget(tokens_per_pass or self._count_fitting_tokens(), way_out=_WAY_OUT)
        if checkpoint_every:
            self._resume()  # behind the count, which keeps room for the moments that this brings
        while not active.is_done:
            done = len(active.losses)
            torch.manual_seed(derive_seed(active.job.seed, "step", done))  # for a model that draws numbers in training
            loss = self._compute_gradients(budget)
            self.weights.step(active.get_next_rate(), active.job.config.max_grad_norm)
            active.losses.append(loss)
            if checkpoint_every and (done + 1) % checkpoint_every == 0 and not active.is_done:
                state = {**self.weights.get_state(), ":losses": torch.stack(active.losses)}
                write_tensors(active.job, state, self.way)
            self.progress.advance(1)
        self.network.eval()

    def _resume(self) -> None:
        with open_tensors(self.active.job, self.way) as file:
            if file is None:
                return
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            done = shapes[":losses"][0] if self.weights.fits(shapes) else 0
            if not 0 < done < len(self.active.steps):
                return
            self.weights.set_state(file)
            self.active.resume(file.get_tensor(":losses").to(self.network.device), self.progress)

    def _compute_gradients(self, budget: PassBudget) -> torch.Tensor:
        """Leave the gradients of the next step's loss, the mean over its targets, and return the loss."""
        batch, share = self.active.get_next_batch()
        rows = sorted((PackedSequence(0, tokens) for tokens in batch), key=lambda row: row.size)
        loss = torch.zeros((), dtype=get_widest_dtype(self.network.device), device=self.network.device)

        def compute(part: Sequence[PackedSequence]) -> None:
            own = sum_losses(self.network, [row.tokens for row in part])[0] * share
            own.backward()  # type: ignore[no-untyped-call]
            loss.add_(own.detach())

        def clear() -> None:
            self.weights.clear_gradients()
            loss.zero_()

        budget.run(rows, compute, clear, self.progress)
        return loss

    def _count_fitting_tokens(self) -> int:
        """Count them by a trial of two short sequences; gradients and moments are still to come."""
        dtypes = {master.dtype for master in self.weights.masters.values()}
        reserved = 3 * self.weights.count * max(dtype.itemsize for dtype in dtypes)
        longest = get_max_length(self.network.config, packed=False)
        words: int = self.network.get_output_embeddings().weight.shape[0]

        def measure(length: int) -> int:
            """Bytes that autograd keeps, and those of logits and their gradients on the way."""
            tokens = Tokens((1,) * length, 0)
            return measure_saved_bytes(lambda: sum_losses(self.network, [tokens])) + length * words * 8

        return count_fitting_tokens(measure, reserved, self.network.device, longest=longest)


def _check_memory(model: str, device: Device) -> None:
    """Raise OutOfMemory where the device cannot hold a training of all weights. Only headers are read."""
    place, dtype = device.resolve()
    count = sum(weight.numel() for weight in load_network(model, device_map="meta")[0].parameters())
    needed, free = count * BYTES_PER_WEIGHT[dtype], get_free_bytes(place)
    if needed > free:
        what = f"{count:,} weights with masters, gradients and AdamW's moments"
        raise OutOfMemory(
            f"--method full: {what} need {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free on {place}; take a "
            "smaller model, a larger device, or leave it out for a LoRA"
        )
