"""Pretrain the tiny model from scratch: `python -m examples.tiny.build --out DIR --seed 0`.

The curriculum makes or breaks it: one-fact mini documents only, until a probe shows copying; then everything.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.tiny.architecture import make_model
from examples.tiny.batches import Batch, loss_on, stream
from examples.tiny.documents import Library, make_pool
from examples.tiny.pretraining import Optimizers, Schedule, pretrain, run_command
from examples.tiny.probes import Probes
from examples.tiny.tokenizer import build_tokenizer
from examples.tiny.world import Style


@dataclass(frozen=True)
class Recipe(Schedule):
    """Every number of the pretraining."""

    steps: int = 4600
    style: Style = field(default_factory=Style)
    gate: float = 0.35  # share of the mini probe that opens the full mix
    first_batch: int = 24  # mini documents a step before the gate opens
    long_batch: int = 9
    mini_batch: int = 8
    short_batch: int = 9
    pool: int = 60
    tokenizer_documents: int = 4000
    compile: bool = True  # a quarter less time; needs a C++ compiler


# Seconds, not half an hour: proves that the builder works, and makes a model that knows nothing.
SMOKE = Recipe(
    steps=12,
    warm_up_steps=5,
    gate=-1.0,
    first_batch=8,
    long_batch=2,
    mini_batch=2,
    short_batch=4,
    pool=8,
    probe_every=6,
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


def build(recipe: Recipe, out: Path) -> None:
    pretrain(recipe, out, partial(build_tokenizer, documents=recipe.tokenizer_documents), make_model, train)


def main() -> None:
    run_command("Pretrain the tiny model from scratch.", PRESETS, build)


if __name__ == "__main__":
    main()
