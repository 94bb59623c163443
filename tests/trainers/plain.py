"""The inner update written down a second time: a plain loop over peft, and HF Trainer, without any code of `stages`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from stages.interfaces import FitJob
from stages.records.frozen import derive_seed
from stages.settings import FitConfig
from tests.conftest import END, make_tokenizer
from tests.trainers.exact import exact_norms

Weights = Mapping[str, torch.Tensor]
Encoded = tuple[list[int], list[int]]  # ids and labels of a sequence
StepLoss = Callable[[Any, list[Encoded]], torch.Tensor]


def encoded(job: FitJob) -> list[Encoded]:
    """(ids, labels) of each sequence, by hand."""
    tokenizer, found = make_tokenizer(), []
    for example in job.lesson.examples:
        front = tokenizer(str(example.prompt))["input_ids"]
        back = tokenizer(example.completion + (END if job.config.pad_mode == "eos" else ""))["input_ids"]
        found.append((front + back, [-100] * len(front) + back))
    return found


def step_orders(job: FitJob, count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(derive_seed(job.seed, "order"))
    size, steps = job.config.batch_size * job.config.accumulation, []
    for _ in range(job.config.epochs):
        order = torch.randperm(count, generator=generator).tolist()
        steps += [order[start : start + size] for start in range(0, count, size)]
    return steps


def plain_loop(
    folder: Path, job: FitJob, loss_of: StepLoss | None = None, *, exact: bool = False
) -> tuple[Weights, list[float]]:
    """One sequence per forward pass, no padding; AdamW; the learning rate set by hand at each step. In float64.

    `exact`: norms too, which transformers computes in float32.
    """
    config = job.config
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    network = exact_norms(network) if exact else network
    torch.manual_seed(job.seed)
    targets = list(config.targets) or ["q_proj", "v_proj"]
    student = get_peft_model(network, LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets))
    trained = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=config.weight_decay, foreach=False)
    rows = encoded(job)
    steps, losses = step_orders(job, len(rows)), []
    for number, step in enumerate(steps):
        loss = (loss_of or step_loss)(student, [rows[place] for place in step])
        optimizer.zero_grad()
        loss.backward()
        clip(trained, config.max_grad_norm)
        optimizer.param_groups[0]["lr"] = config.learning_rate * by_hand(config, number, len(steps))
        optimizer.step()
        losses.append(loss.item())
    return get_peft_model_state_dict(student), losses


def plain_full_loop(folder: Path, job: FitJob) -> tuple[Weights, list[float]]:
    """The same of all weights, norms in float64 too; matrices alone decay."""
    config = job.config
    network = exact_norms(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64))
    trained = list(network.parameters())
    groups = [
        {"params": [weight], "weight_decay": config.weight_decay if weight.dim() > 1 else 0} for weight in trained
    ]
    optimizer = torch.optim.AdamW(groups, foreach=False)
    rows = encoded(job)
    steps, losses = step_orders(job, len(rows)), []
    for number, step in enumerate(steps):
        loss = step_loss(network, [rows[place] for place in step])
        optimizer.zero_grad()
        loss.backward()
        clip(trained, config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * by_hand(config, number, len(steps))
        optimizer.step()
        losses.append(loss.item())
    return {name: weight.detach() for name, weight in network.state_dict().items()}, losses


def step_loss(student: Any, rows: list[Encoded]) -> torch.Tensor:
    """Minus the mean log-probability of every target token of the step."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for ids, labels in rows:
        chances = student(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        for place, label in enumerate(labels[1:]):
            if label != -100:
                total, count = total - chances[place, label], count + 1
    return total / count


def clip(weights: list[torch.Tensor], most: float) -> None:
    norm = torch.sqrt(sum((weight.grad**2).sum() for weight in weights))
    if most and norm > most:
        for weight in weights:
            weight.grad *= most / (norm + 1e-6)  # torch's own guard against 0


def by_hand(config: FitConfig, step: int, steps: int) -> float:
    if step < config.warmup_steps:
        return step / config.warmup_steps
    return 1.0 if config.schedule == "constant" else 1 - (step - config.warmup_steps) / (steps - config.warmup_steps)


def official_loss(to: int) -> StepLoss:
    """The official recipe: end tokens up to `to`, never seen, all of them targets; the mean over everything."""

    def loss(student: Any, rows: list[Encoded]) -> torch.Tensor:
        ids = torch.tensor([own + [0] * (to - len(own)) for own, _ in rows])
        mask = torch.tensor([[1] * len(own) + [0] * (to - len(own)) for own, _ in rows])
        labels = torch.tensor([own + [0] * (to - len(own)) for _, own in rows])
        chances = student(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
        targets = labels[:, 1:]
        chosen = chances.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        return -chosen[targets != -100].mean()

    return loss


def hf_trainer(
    folder: Path, job: FitJob, rows: list[Encoded], out: Path, *, dtype: torch.dtype = torch.float32, pad: int = 0
) -> Weights:
    """The job as transformers' Trainer does it, in the job's own order; padded to `pad` tokens as officially."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    torch.manual_seed(job.seed)
    config = job.config
    settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=["q_proj", "v_proj"])
    student = get_peft_model(network, settings)
    ordered = [rows[place] for step in step_orders(job, len(rows)) for place in step]
    data = []
    for ids, labels in ordered:
        more = [0] * (pad - len(ids))
        row = {"input_ids": ids + more, "labels": labels + more}
        data.append(row | {"attention_mask": [1] * len(ids) + [0] * len(more)} if pad else row)
    arguments = TrainingArguments(
        output_dir=str(out),
        num_train_epochs=1,  # the order holds all epochs
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        train_sampling_strategy="sequential",
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    Trainer(student, arguments, train_dataset=data).train()
    found: Weights = get_peft_model_state_dict(student)
    return found
