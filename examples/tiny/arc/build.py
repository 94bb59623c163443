"""Pretrain the tiny ARC model from scratch: `python -m examples.tiny.arc.build --out DIR --seed 0`.

A curriculum of three stages: grids are copied, then moved, then all documents are read. A probe opens the next one.
"""

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.tiny.arc.batches import stream
from examples.tiny.arc.documents import COPIES, EVERYTHING, MOVED, Library, Mix
from examples.tiny.arc.probes import Probes
from examples.tiny.arc.tokenizer import build_tokenizer
from examples.tiny.architecture import make_model
from examples.tiny.batches import Batch, loss_on
from examples.tiny.pretraining import Optimizers, Schedule, pretrain, run_command

# Else examples.tiny's shape. Attention is the plain one: torch's fused backward pass is slow on short rows.
MODEL = {"num_hidden_layers": 4, "intermediate_size": 256, "attn_implementation": "eager"}


@dataclass(frozen=True)
class Recipe(Schedule):
    """Every number of the pretraining."""

    steps: int = 3400
    tokens: int = 2600  # of a batch
    stages: tuple[Mix, ...] = (COPIES, MOVED, EVERYTHING)
    gates: tuple[tuple[str, float], ...] = (("stay", 0.5), ("moves", 0.7))  # probe and share that open the next stage
    compile: bool = True  # half the time; needs a C++ compiler
    bfloat16: bool = True  # autocast; a third less time where the CPU multiplies in bfloat16


# Seconds, not a quarter of an hour: proves that the builder works, and makes a model that knows nothing.
SMOKE = Recipe(
    steps=12,
    warm_up_steps=5,
    tokens=800,
    gates=(("stay", -1.0), ("moves", -1.0)),
    probe_every=4,
    compile=False,
    bfloat16=False,
)
PRESETS = {"full": Recipe(), "smoke": SMOKE}


@dataclass(frozen=True)
class Progress:
    """What is known after a probed step."""

    step: int
    seconds: float
    tokens: int
    loss: float  # running mean
    probes: dict[str, float]
    stage: int

    def __str__(self) -> str:
        probes = " ".join(f"{name} {share:.2f}" for name, share in self.probes.items())
        done = f"step {self.step} (stage {self.stage}) {self.seconds:.0f} s {self.tokens / 1e6:.1f} M tokens"
        return f"{done} | loss {self.loss:.3f} | {probes}"


class Feed:
    """The batches of the stage that is open."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        rng = random.Random(2000 + recipe.seed)
        self._gates, self.stage = recipe.gates, 0
        self._streams = [stream(Library(rng, mix).draw, recipe.tokens, tokenizer, rng) for mix in recipe.stages]

    def step(self) -> Batch:
        return next(self._streams[self.stage])

    def open(self, probes: dict[str, float]) -> None:
        """The next stage, where the probe of its gate is high enough."""
        if self.stage < len(self._gates):
            name, share = self._gates[self.stage]
            self.stage += probes[name] > share


def train(recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[Progress]:
    """Train in place; a Progress every `probe_every` steps and at the end."""
    probes, feed, optimizers = Probes(tokenizer), Feed(recipe, tokenizer), Optimizers(recipe, model)
    if recipe.compile:
        model.model.compile(dynamic=True)
    started, tokens, mean = time.monotonic(), 0, math.nan
    for step in range(1, recipe.steps + 1):
        batch = feed.step()
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            loss = loss_on(model, batch)
        torch.autograd.backward(loss)
        tokens += batch.tokens
        mean = loss.item() if math.isnan(mean) else 0.98 * mean + 0.02 * loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(step - 1)
        if step % recipe.probe_every == 0 or step == recipe.steps:
            scores = probes.measure(model)
            feed.open(scores)
            yield Progress(step, time.monotonic() - started, tokens, mean, scores, feed.stage)


def build(recipe: Recipe, out: Path) -> None:
    pretrain(recipe, out, build_tokenizer, partial(make_model, **MODEL), train)


def main() -> None:
    run_command("Pretrain the tiny ARC model from scratch.", PRESETS, build)


if __name__ == "__main__":
    main()
