"""The peft trainer: one LoRA at a time, a plain loop. The oracle that faster trainers are held against.

Mirrors HF Trainer's defaults (AdamW, linear decay, clip 1.0, loss per target token), as the official code relies on
them, without its padding to 2048 tokens. Seeds are the job's own: the initial weights and one shuffle per epoch.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from stages.errors import BadConfig, BadInput, MissingInput, Untrainable
from stages.files import PART, atomic_directory, check_space, make_folder, write_file
from stages.interfaces import FitConfig, FitJob, FitResult, NullProgress, Progress, make_failed_result
from stages.models.adapter_checks import BASE_KEY, UNKNOWN_WEIGHTS, make_adapter_check
from stages.models.checkpoints import fingerprint
from stages.models.device import Device
from stages.models.loading import load_model, load_tokenizer
from stages.models.lora_targets import ALL_LINEAR, resolve_targets
from stages.records.frozen import derive_seed
from stages.tokens.tokenization import Tokens, encode_training_set

_WEIGHTS = "adapter_model.safetensors"
SETTINGS_BYTES = 16_384  # of an adapter directory beside its weights, at most


@dataclass(frozen=True)
class AdapterBase:
    """The model that adapters are trained on: its name, the fingerprint of its weights, and what it takes."""

    name: str
    weights: str = UNKNOWN_WEIGHTS  # of a model that was in memory already
    check: Callable[[Path, str], None] = lambda path, model: None

    @classmethod
    def of(cls, model: str) -> "AdapterBase":
        """The model as it lies there. Raises as `adapter_check` does."""
        return cls(model, fingerprint(model), make_adapter_check(model))

    def accept(self, adapter: Path) -> None:
        """Raises BadConfig for an adapter that `seal eval`, or this training repeated, would refuse."""
        try:
            self.check(adapter, self.name)
        except (BadInput, MissingInput) as error:
            raise BadConfig(
                f"the adapter cannot be used as it was trained: {error}; take other layers with --target"
            ) from None


class PeftTrainer:
    """Trains each job alone with peft and returns the model untouched."""

    def __init__(self, model: str, *, device: Device = Device()) -> None:
        self.model = model
        self.tokenizer = load_tokenizer(model)
        self.network = load_model(model, device)
        self.base = AdapterBase.of(model)

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """One result per job, in order, each after its directory is complete. Reads all jobs first."""
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
        """Raises before the first of these is trained where it could not be saved. Its size stands for all."""
        for job in jobs[:1]:
            with torch.random.fork_rng():
                student = add_lora(self.network, job.config)
            try:
                size = sum(weight.nbytes for weight in student.parameters() if weight.requires_grad)
                check_space(job.out.parent, len(jobs) * (size + SETTINGS_BYTES), f"{len(jobs)} adapters")
                make_folder(job.out.parent)
                with TemporaryDirectory(prefix=f"{job.out.name}.", suffix=PART, dir=job.out.parent) as folder:
                    _save_adapter(student, Path(folder) / "untrained", self.base)
            finally:
                student.unload()

    def _fit(self, job: FitJob, sequences: Sequence[Tokens], progress: Progress) -> FitResult:
        torch.manual_seed(job.seed)
        student = add_lora(self.network, job.config)
        try:
            losses = _train(student, sequences, job.config, job.seed, progress)
            error = explain_divergence(losses) or explain_overflow(student.parameters())
            path = None if error else _save_adapter(student, job.out, self.base)
        finally:
            student.unload()
        return FitResult(
            id=job.id,
            path=path,
            sequences=len(sequences),
            tokens=sum(len(sequence.ids) for sequence in sequences),
            steps=len(losses),
            loss_first=losses[0],
            loss_last=losses[-1],
            error=error,
        )


def add_lora(network: Any, config: FitConfig) -> Any:
    """The network with a fresh LoRA drawn from the global generator. Raises BadConfig for targets it does not have."""
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
        loss = _mean_loss(student, [sequences[place] for place in step])
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
    """The sequences of each optimizer step: a shuffle per epoch from the job's own seed; the last may be short."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order"))
    size = config.batch_size * config.accumulation
    for _ in range(config.epochs):
        order = torch.randperm(count, generator=generator).tolist()
        yield from (order[start : start + size] for start in range(0, count, size))


def make_schedule(config: FitConfig, steps: int) -> Callable[[int], float]:
    """Share of the learning rate at step t: warm-up, then transformers' linear, cosine or constant schedule."""

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return step / config.warmup_steps
        left = (steps - step) / max(1, steps - config.warmup_steps)
        if config.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (1 - left)))
        return left if config.schedule == "linear" else 1.0

    return factor


def _mean_loss(student: Any, batch: Sequence[Tokens]) -> torch.Tensor:
    """Cross-entropy per target of the whole batch, pads weighted. Causal: right pads never reach real tokens."""
    longest = max(len(sequence.cells) for sequence in batch)
    columns = zip(*(_right_padded(sequence, longest) for sequence in batch), strict=True)
    ids, positions, targets, weights, mask = (torch.tensor(column, device=student.device) for column in columns)
    padded = any(sequence.pads for sequence in batch)
    seen = {"position_ids": positions, "attention_mask": mask} if padded else {}  # pads are never seen
    logits = student(input_ids=ids, use_cache=False, **seen).logits  # (batch, longest, vocabulary)
    wide = logits.flatten(0, 1)
    wide = wide if wide.dtype == torch.float64 else wide.float()
    losses = cross_entropy(wide, targets.flatten(), reduction="none")  # 0 where there is no target
    return (losses * weights.flatten()).sum() / weights.sum().clamp(min=1)  # 0 where all is silent


def _right_padded(sequence: Tokens, to: int) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """(ids, positions, targets, weights of the targets, 1 for what may be seen), each filled up to `to`."""
    filling = [(0, 0, -100, 0)] * (to - len(sequence.cells))
    ids, positions, targets, weights = (list(column) for column in zip(*sequence.cells, *filling, strict=True))
    weights = [weight if target >= 0 else 0 for target, weight in zip(targets, weights, strict=True)]
    return ids, positions, targets, weights, [1] * len(sequence.ids) + [0] * (to - len(sequence.ids))


def explain_divergence(losses: Sequence[float]) -> str | None:
    """What to write on the line of a training that ended in NaN or infinity, else None."""
    bad = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    return None if bad is None else f"training diverged: the loss is {losses[bad]} at step {bad + 1} of {len(losses)}"


def explain_overflow(weights: Iterable[torch.Tensor]) -> str | None:
    """The same for weights that the last step, whose loss nobody saw, turned into NaN or infinity."""
    fine = all(bool(weight.isfinite().all()) for weight in weights)
    return None if fine else "training diverged: a weight is not finite after the last step"


def _save_adapter(student: Any, out: Path, base: AdapterBase) -> Path:
    """Writes a trained peft model's LoRA as a PEFT directory: it is complete or absent."""
    from peft import get_peft_model_state_dict

    settings = student.peft_config["default"]
    settings.inference_mode = True
    return _write_directory(out, settings, get_peft_model_state_dict(student, save_embedding_layers=False), base)


def write_adapter(
    out: Path, state: Mapping[str, torch.Tensor], config: FitConfig, targets: Sequence[str], base: AdapterBase
) -> Path:
    """Writes weights under peft's names as a PEFT directory, complete or absent."""
    from peft import LoraConfig

    given = () if list(config.targets) == [ALL_LINEAR] else config.targets
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=sorted(given or {name.rpartition(".")[2] for name in targets}),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.name,
        inference_mode=True,
    )
    return _write_directory(out, settings, state, base)


def _write_directory(out: Path, settings: Any, state: Mapping[str, torch.Tensor], base: AdapterBase) -> Path:
    """peft's two files, the weights as safetensors. Their metadata names the base model's weights.

    Nothing is published that the base does not accept.
    """
    from safetensors.torch import save

    settings.base_model_name_or_path = _place_of(settings.base_model_name_or_path)
    data = save({name: weight.contiguous() for name, weight in state.items()}, {"format": "pt", BASE_KEY: base.weights})
    with atomic_directory(out) as partial:
        settings.save_pretrained(str(partial))
        _order_sets(partial / "adapter_config.json")
        write_file(partial / _WEIGHTS, _ordered_header(data))
        base.accept(partial)
    return out


def _place_of(name: str) -> str:
    """What others find the model by, from whatever folder: a directory's real path; a hub's name as it is."""
    return str(Path(name).resolve()) if name and Path(name).is_dir() else name


def _order_sets(path: Path) -> None:
    """Puts peft's settings that are sets in order: equal adapters are equal bytes."""
    settings = json.loads(path.read_bytes())
    for key in ("target_modules", "exclude_modules"):
        if isinstance(settings.get(key), list):
            settings[key].sort()
    write_file(path, json.dumps(settings, indent=2, sort_keys=True).encode())


def _ordered_header(data: bytes) -> bytes:
    """The safetensors file with its metadata in order: its writer has them in any, and equal adapters unlike bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[end:]
