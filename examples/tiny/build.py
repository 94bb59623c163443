"""Pretrain the tiny model from scratch: `python -m examples.tiny.build --out DIR --seed 0`.

The curriculum makes or breaks it: one-fact mini documents only, until a probe shows copying; then everything.
The schedule counts steps, not minutes, so that a seed reproduces (same machine, same thread count).
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.tiny.architecture import make_model
from examples.tiny.batches import Batch, loss_on, stream
from examples.tiny.documents import Library, make_pool
from examples.tiny.muon import Muon
from examples.tiny.probes import Probes
from examples.tiny.tokenizer import build_tokenizer
from examples.tiny.world import Style


@dataclass(frozen=True)
class Recipe:
    """Every number of the pretraining."""

    seed: int = 0
    steps: int = 4600
    style: Style = field(default_factory=Style)
    lr: float = 2e-3  # embeddings and norms, AdamW
    muon_lr: float = 2e-2  # matrices of the blocks, Muon
    warm_up_steps: int = 100
    flat_share: float = 0.4
    last_lr_share: float = 0.03
    weight_decay: float = 0.05
    gate: float = 0.35  # share of the mini probe that opens the full mix
    first_batch: int = 24  # mini documents a step before the gate opens
    long_batch: int = 9
    mini_batch: int = 8
    short_batch: int = 9
    pool: int = 60
    probe_every: int = 100
    tokenizer_documents: int = 4000
    compile: bool = True  # a quarter less time; needs a C++ compiler

    def lr_share(self, step: int) -> float:
        """Warm-up, flat, cosine."""
        done = step / self.steps
        fall = 0.5 * (1 + math.cos(math.pi * max(0.0, done - self.flat_share) / (1 - self.flat_share)))
        return min(1.0, (step + 1) / self.warm_up_steps) * max(self.last_lr_share, fall)


# Seconds, not half an hour: proves that the builder works, and makes a model that knows nothing.
SMOKE = Recipe(
    steps=24,
    warm_up_steps=5,
    gate=-1.0,
    first_batch=8,
    long_batch=2,
    mini_batch=2,
    short_batch=4,
    pool=8,
    probe_every=12,
    tokenizer_documents=300,
    compile=False,
)
PRESETS = {"full": Recipe(), "smoke": SMOKE}


@dataclass(frozen=True)
class Progress:
    """What is known after a probed step."""

    step: int
    seconds: float
    tokens: int
    losses: dict[str, float]  # running means by kind of document
    probes: dict[str, float]
    gate_open: bool

    def __str__(self) -> str:
        losses = " ".join(f"{kind} {loss:.3f}" for kind, loss in self.losses.items())
        probes = " ".join(f"{name} {share:.2f}" for name, share in self.probes.items())
        stage = "full" if self.gate_open else "mini"
        return f"step {self.step} ({stage}) {self.seconds:.0f} s {self.tokens / 1e6:.1f} M tokens | {losses} | {probes}"


class Feed:
    """The batches of one step: mini documents until the gate opens, then all three kinds."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        rng = random.Random(2000 + recipe.seed)
        library = Library(rng, make_pool(recipe.pool), recipe.style)
        self._first = {"mini": stream(library.first_mini, recipe.first_batch, tokenizer, rng)}
        self._full = {
            "long": stream(library.long, recipe.long_batch, tokenizer, rng),
            "mini": stream(library.mini, recipe.mini_batch, tokenizer, rng),
            "short": stream(library.short, recipe.short_batch, tokenizer, rng),
        }
        self.gate_open = False

    def step(self) -> dict[str, Batch]:
        streams = self._full if self.gate_open else self._first
        return {kind: next(batches) for kind, batches in streams.items()}


class Optimizers:
    """Muon for the blocks' matrices, AdamW for embeddings and norms; one schedule."""

    def __init__(self, recipe: Recipe, model: PreTrainedModel) -> None:
        self._recipe = recipe
        blocks = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
        norms = [parameter for parameter in model.parameters() if parameter.ndim == 1]
        groups = [
            {"params": [model.model.embed_tokens.weight], "weight_decay": recipe.weight_decay},
            {"params": norms, "weight_decay": 0.0},
        ]
        self._all: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), fused=True),
            Muon(blocks, lr=recipe.muon_lr, weight_decay=recipe.weight_decay),
        )
        self._top = [optimizer.defaults["lr"] for optimizer in self._all]

    def step(self, step: int) -> None:
        share = self._recipe.lr_share(step)
        for optimizer, top in zip(self._all, self._top, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = top * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def train(recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[Progress]:
    """Train in place; a Progress every `probe_every` steps and at the end."""
    probes = Probes(tokenizer, make_pool(recipe.pool))
    feed, optimizers = Feed(recipe, tokenizer), Optimizers(recipe, model)
    if recipe.compile:
        model.model.compile(dynamic=True)
    started, tokens, losses = time.monotonic(), 0, dict[str, float]()
    for step in range(1, recipe.steps + 1):
        for kind, batch in feed.step().items():
            loss = loss_on(model, batch)
            torch.autograd.backward(loss)
            tokens += batch.tokens
            losses[kind] = 0.98 * losses.get(kind, loss.item()) + 0.02 * loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(step - 1)
        if step % recipe.probe_every == 0 or step == recipe.steps:
            scores = probes.measure(model)
            feed.gate_open = feed.gate_open or scores["mini"] > recipe.gate
            yield Progress(step, time.monotonic() - started, tokens, dict(losses), scores, feed.gate_open)


def build(recipe: Recipe, out: Path) -> Progress:
    """Tokenizer, model, pretraining, files. The directory appears under its name only when all is written."""
    if out.exists():
        raise FileExistsError(f"{out} exists (name another --out, or remove it)")
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(documents=recipe.tokenizer_documents)
    model = make_model(len(tokenizer))
    last = None
    for last in train(recipe, model, tokenizer):
        print(last, file=sys.stderr, flush=True)
    assert last is not None, "a recipe has at least one step"
    _save(model, tokenizer, recipe, last, out)
    return last


def _save(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, last: Progress, out: Path
) -> None:
    unfinished = out.with_name(out.name + ".unfinished")
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    report = {"recipe": asdict(recipe), "result": asdict(last)}
    (unfinished / "build.json").write_text(json.dumps(report, indent=1) + "\n")
    unfinished.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretrain the tiny model from scratch.")
    parser.add_argument("--out", type=Path, required=True, help="the model's directory; must not exist")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="full")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--steps", type=int, help="another length than the preset's")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the model is too small to share, and one thread reproduces
    preset = PRESETS[options.preset]
    build(replace(preset, seed=options.seed, steps=options.steps or preset.steps), options.out)


if __name__ == "__main__":
    main()
