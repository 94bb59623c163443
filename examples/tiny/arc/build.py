"""Pretrain the tiny ARC model from scratch: `python -m examples.tiny.arc.build --out DIR --seed 0`.

A curriculum of three stages: grids are copied, then moved, then all documents are read. A probe opens the next one.
The schedule counts steps, not minutes. Attention is the plain one: torch's fused backward pass is slow on short rows.
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from examples.tiny.arc.batches import stream
from examples.tiny.arc.documents import COPIES, EVERYTHING, MOVED, Library, Mix
from examples.tiny.arc.probes import Probes
from examples.tiny.arc.tokenizer import build_tokenizer
from examples.tiny.architecture import SHAPE
from examples.tiny.batches import Batch, loss_on
from examples.tiny.muon import Muon

LAYERS, FEED_FORWARD = 4, 256  # else examples.tiny's shape


@dataclass(frozen=True)
class Recipe:
    """Every number of the pretraining."""

    seed: int = 0
    steps: int = 3400
    lr: float = 2e-3  # embeddings and norms, AdamW
    muon_lr: float = 2e-2  # matrices of the blocks, Muon
    warm_up_steps: int = 100
    flat_share: float = 0.4
    last_lr_share: float = 0.03
    weight_decay: float = 0.05
    tokens: int = 2600  # of a batch
    stages: tuple[Mix, ...] = (COPIES, MOVED, EVERYTHING)
    gates: tuple[tuple[str, float], ...] = (("stay", 0.5), ("moves", 0.7))  # probe and share that open the next stage
    probe_every: int = 100
    compile: bool = True  # half the time; needs a C++ compiler
    bfloat16: bool = True  # autocast; a third less time where the CPU multiplies in bfloat16

    def lr_share(self, step: int) -> float:
        """Warm-up, flat, cosine."""
        done = step / self.steps
        fall = 0.5 * (1 + math.cos(math.pi * max(0.0, done - self.flat_share) / (1 - self.flat_share)))
        return min(1.0, (step + 1) / self.warm_up_steps) * max(self.last_lr_share, fall)


# Seconds, not a quarter of an hour: proves that the builder works, and makes a model that knows nothing.
SMOKE = Recipe(
    steps=24,
    warm_up_steps=5,
    tokens=800,
    gates=(("stay", -1.0), ("moves", -1.0)),
    probe_every=6,
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


def make_model(vocabulary_tokens: int) -> PreTrainedModel:
    """A freshly initialised fp32 model in training mode."""
    shape = {**SHAPE, "num_hidden_layers": LAYERS, "intermediate_size": FEED_FORWARD}
    settings = Qwen3Config(vocab_size=vocabulary_tokens, dtype="float32", attn_implementation="eager", **shape)
    model = Qwen3ForCausalLM(settings)
    model.generation_config = GenerationConfig(eos_token_id=0, pad_token_id=0)
    return model.train()


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


def build(recipe: Recipe, out: Path) -> Progress:
    """Tokenizer, model, pretraining, files. The directory appears under its name only when all is written."""
    if out.exists():
        raise FileExistsError(f"{out} exists (name another --out, or remove it)")
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer()
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
    parser = argparse.ArgumentParser(description="Pretrain the tiny ARC model from scratch.")
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
