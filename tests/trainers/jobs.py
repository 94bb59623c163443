"""What the tests of the trainers share: jobs of unlike settings, a float64 trainer, and someone who looks on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.interfaces import Example, FitJob, FitResult, TrainingSet
from stages.settings import FitConfig
from stages.trainers.batched.trainer import BatchedLoraTrainer
from tests.invented import Notes
from tests.trainers.exact import FLOAT64, exact_norms

TEXTS = (
    "The inn is red.",
    "a",
    "The door of the inn is blue and heavy.",
    "Who painted it? Ada.",
    "It is " + "very " * 12,
)
SMALL = FitConfig(rank=3, alpha=6.0, learning_rate=1e-2, epochs=2)
ALL = ("all-linear",)
# Lengths of the lesson, and its settings: no two jobs alike.
KINDS: tuple[tuple[int, FitConfig], ...] = (
    (5, SMALL),
    (2, replace(SMALL, learning_rate=3e-3, epochs=5, weight_decay=0.1)),
    (4, replace(SMALL, batch_size=2, accumulation=2, warmup_steps=1, schedule="constant")),
    (1, replace(SMALL, epochs=7, schedule="cosine", warmup_steps=3, max_grad_norm=0.05)),
    (3, replace(SMALL, alpha=1.0, max_grad_norm=0.0, pad_mode="none", learning_rate=3e-2)),
    (5, replace(SMALL, batch_size=3, schedule="cosine", weight_decay=0.3)),
    (3, replace(SMALL, rank=5)),
    (4, replace(SMALL, rank=5, targets=ALL, batch_size=4)),
    (2, replace(SMALL, rank=5, targets=ALL, learning_rate=1e-3)),
    (3, replace(SMALL, targets=("k_proj", "down_proj"), accumulation=2)),
    (2, replace(SMALL, targets=("layers.1.self_attn.q_proj",))),
)


def make_job(folder: Path, number: int, config: FitConfig = SMALL, *, texts: int = 3) -> FitJob:
    """Job `number` has examples, a prompt and a seed of its own."""
    examples = [Example("", f"{number} {text}") for text in TEXTS[:texts]]
    examples[-1] = Example("Is it old? ", f"{number} {TEXTS[texts - 1]}")
    return FitJob(f"{number}", TrainingSet(tuple(examples)), config, 17 * number, folder / f"{number}")


def make_jobs(folder: Path) -> list[FitJob]:
    return [make_job(folder, number, config, texts=texts) for number, (texts, config) in enumerate(KINDS)]


def many(folder: Path, **options: Any) -> BatchedLoraTrainer:
    """In float64, norms included."""
    trainer = BatchedLoraTrainer(str(folder), device=FLOAT64, **options)
    exact_norms(trainer.network)
    return trainer


def by_id(results: Iterator[FitResult]) -> dict[str, FitResult]:
    found = {result.id: result for result in results}
    return dict(sorted(found.items()))


class Dying(Notes):
    """Someone who looks on, and dies behind so many steps."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def advance(self, amount: int) -> None:
        super().advance(amount)
        if self.stepped >= self.last:
            raise KeyboardInterrupt
