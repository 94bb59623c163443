"""What the two tiny models share of their pretraining: the schedule, the optimizers, the files and the command."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.tiny.muon import Muon


@dataclass(frozen=True)
class Schedule:
    """Counted in steps, not in minutes, so that a seed reproduces (same machine, same thread count)."""

    seed: int = 0
    steps: int = 0
    lr: float = 2e-3  # embeddings and norms, AdamW
    muon_lr: float = 2e-2  # matrices of the blocks, Muon
    warm_up_steps: int = 100
    flat_share: float = 0.4
    last_lr_share: float = 0.03
    weight_decay: float = 0.05
    probe_every: int = 100

    def lr_share(self, step: int) -> float:
        """Warm-up, flat, cosine."""
        done = step / self.steps
        fall = 0.5 * (1 + math.cos(math.pi * max(0.0, done - self.flat_share) / (1 - self.flat_share)))
        return min(1.0, (step + 1) / self.warm_up_steps) * max(self.last_lr_share, fall)


class Optimizers:
    """Muon for the blocks' matrices, AdamW for embeddings and norms; one schedule."""

    def __init__(self, schedule: Schedule, model: PreTrainedModel) -> None:
        self._schedule = schedule
        blocks = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
        norms = [parameter for parameter in model.parameters() if parameter.ndim == 1]
        groups = [
            {"params": [model.model.embed_tokens.weight], "weight_decay": schedule.weight_decay},
            {"params": norms, "weight_decay": 0.0},
        ]
        self._all: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.98), fused=True),
            Muon(blocks, lr=schedule.muon_lr, weight_decay=schedule.weight_decay),
        )
        self._top = [optimizer.defaults["lr"] for optimizer in self._all]

    def step(self, step: int) -> None:
        share = self._schedule.lr_share(step)
        for optimizer, top in zip(self._all, self._top, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = top * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def pretrain(
    recipe: Schedule,
    out: Path,
    make_tokenizer: Callable[[], PreTrainedTokenizerFast],
    make_model: Callable[[int], PreTrainedModel],
    train: Callable[[Any, PreTrainedModel, PreTrainedTokenizerFast], Iterable[Any]],
) -> None:
    """Tokenizer, model, training, files. The directory appears under its name only when all is written.

    `train` yields what is known after a probed step, a dataclass.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists (name another --out, or remove it)")
    torch.manual_seed(recipe.seed)
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer))
    last = None
    for last in train(recipe, model, tokenizer):
        print(last, file=sys.stderr, flush=True)
    assert last is not None, "a recipe has at least one step"
    unfinished = out.with_name(out.name + ".unfinished")
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    report = {"recipe": asdict(recipe), "result": asdict(last)}
    (unfinished / "build.json").write_text(json.dumps(report, indent=1) + "\n")
    unfinished.rename(out)


def run_command(description: str, presets: Mapping[str, Any], build: Callable[[Any, Path], None]) -> None:
    """`--out DIR [--preset NAME] [--seed N] [--steps N]`"""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="the model's directory; must not exist")
    parser.add_argument("--preset", choices=sorted(presets), default="full")
    parser.add_argument("--seed", type=int, default=Schedule.seed)
    parser.add_argument("--steps", type=int, help="another length than the preset's")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the model is too small to share, and one thread reproduces
    preset = presets[options.preset]
    build(replace(preset, seed=options.seed, steps=options.steps or preset.steps), options.out)
