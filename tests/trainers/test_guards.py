"""Each promise of the batched trainer with its guard taken away: what the other tests measure must then go wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from stages.interfaces import Example, FitJob, TrainingSet
from stages.models.stacked_lora import LoraStack
from stages.settings import FitConfig
from stages.trainers.batched import attention, lora_kernels
from stages.trainers.batched.loop import TrainingLoop
from stages.trainers.batched.optimizer import StackedAdamW, Update
from stages.trainers.batched.packing import Packing
from stages.trainers.batched.trainer import BatchedLoraTrainer
from tests.trainers.exact import (
    BEYOND_ROUNDING,
    FLOAT64,
    distance,
    exact_model,
    exact_norms,
    packed_hidden,
    sequence,
    weights_of,
)

SMALL = FitConfig(rank=3, alpha=6.0, learning_rate=1e-2, epochs=3)
VISIBLE = 1e6 * BEYOND_ROUNDING


def make_jobs(folder: Path, *, wild: bool = False) -> list[FitJob]:
    """Jobs of unlike lengths that share two slots, so that slots are refilled and moved; one of them may go wild."""
    texts = ["The inn is red.", "It is old, and its door is blue.", "Who painted it? Ada.", "a", "It is heavy."]
    jobs = []
    for number, count in enumerate((5, 2, 4, 1, 3)):
        config = replace(SMALL, learning_rate=float("inf") if wild and number == 2 else SMALL.learning_rate)
        lesson = TrainingSet(tuple(Example("", f"{number} {text}") for text in texts[:count]))
        jobs.append(FitJob(f"{number}", lesson, config, number, folder / f"{number}"))
    return jobs


def farthest(model: Path, folder: Path, alone: Path, *, wild: bool = False) -> float:
    """How far any job in company is from the same job alone; NaN where one is not finite."""
    trainer = BatchedLoraTrainer(str(model), device=FLOAT64, slots=3)
    exact_norms(trainer.network)
    results = {result.id: result for result in trainer.fit(make_jobs(folder, wild=wild))}
    names = [name for name in results if not (wild and name == "2")]
    if any(results[name].error for name in names):
        return float("nan")
    return max(distance(weights_of(folder / name), weights_of(alone / name)) for name in names)


@pytest.fixture(scope="module")
def alone(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    for job in make_jobs(folder):
        trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT64)
        exact_norms(trainer.network)
        list(trainer.fit([job]))
    return folder


def global_clip(self: StackedAdamW, updates: list[Update]) -> None:
    """One norm over the whole stack, as careless implementations take it."""
    own_step(self, [replace(update, max_grad_norm=0.0) for update in clipped(self, updates)])


def clipped(optimizer: StackedAdamW, updates: list[Update]) -> list[Update]:
    grads = optimizer.grads[: len(updates)]
    grads.mul_((updates[0].max_grad_norm / (grads.norm() + 1e-6)).clamp(max=1.0))
    return updates


own_step = StackedAdamW.step


def masked_product(y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: Tensor, packing: Packing) -> Tensor:
    """One product for all slots, and a mask of zeros: what is not finite times zero is not zero."""
    inner = x[0] @ a.flatten(0, 1).T  # (total, slots · rank)
    slots = torch.arange(len(a)).repeat_interleave(a.shape[1])
    mask = (packing.owners[:, None] == slots).to(x.dtype)
    return y + ((inner * mask) @ (b * scale).transpose(1, 2).flatten(0, 1))[None]


def see_all(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, scaling: Any = None, **more: Any) -> Any:
    """Causal over the whole row of tokens, whoever they belong to."""
    out = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2), None


def test_with_all_guards_a_job_is_the_same_in_company(model_dir: Path, alone: Path, tmp_path: Path) -> None:
    assert farthest(model_dir, tmp_path / "a", alone) < BEYOND_ROUNDING
    assert farthest(model_dir, tmp_path / "b", alone, wild=True) < BEYOND_ROUNDING


def test_a_clip_over_the_stack_would_tie_jobs_to_their_neighbours(
    model_dir: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StackedAdamW, "step", global_clip)
    assert farthest(model_dir, tmp_path, alone) > VISIBLE


def test_a_masked_product_would_carry_a_diverged_job_into_the_others(
    model_dir: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lora_kernels.KERNELS, "bmm", masked_product)
    assert farthest(model_dir, tmp_path / "fine", alone) < BEYOND_ROUNDING  # right as long as all is finite
    assert not farthest(model_dir, tmp_path / "wild", alone, wild=True) < VISIBLE


def test_attention_over_the_whole_row_would_leak(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, rows = exact_model(model_dir), [[sequence(5)], [sequence(9)]]
    with torch.no_grad():
        apart = packed_hidden(network, rows)
        monkeypatch.setattr(attention, "attend", see_all)
        mixed = packed_hidden(network, rows)
    assert float((apart[0] - mixed[0]).abs().max()) < BEYOND_ROUNDING  # the first sees nothing before it
    assert float((apart[1] - mixed[1]).abs().max()) > VISIBLE


@pytest.mark.parametrize(
    ("owner", "method"),
    [(StackedAdamW, "reset"), (StackedAdamW, "move"), (LoraStack, "copy_slot"), (LoraStack, "start_slot")],
)
def test_a_slot_that_is_not_handed_over_whole_would_spoil_the_next_job(
    model_dir: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    monkeypatch.setattr(owner, method, lambda self, *arguments: None)
    assert not farthest(model_dir, tmp_path, alone) < VISIBLE


def test_gradients_left_over_would_be_learned_twice(
    model_dir: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: StackedAdamW, updates: list[Update]) -> None:
        kept = self.grads.clone()
        own_step(self, updates)
        self.grads.copy_(kept)

    monkeypatch.setattr(StackedAdamW, "step", step)
    assert not farthest(model_dir, tmp_path, alone) < VISIBLE


def test_a_mean_over_the_jobs_instead_of_their_sum_would_change_what_is_clipped(
    model_dir: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TrainingLoop._run_pass

    def shared(self: TrainingLoop, rows: Any, losses: Tensor) -> None:
        own(self, [replace(row, share=row.share / len(self.active)) for row in rows], losses)

    monkeypatch.setattr(TrainingLoop, "_run_pass", shared)
    assert farthest(model_dir, tmp_path, alone) > VISIBLE
