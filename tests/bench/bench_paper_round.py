"""The paper's inner loop on a random-weight model of Qwen2.5-7B's shape: 750 adapters, 3,375 answers.

Speed does not depend on the weights, so none are needed. One JSON line a part:

    python tests/bench/bench_paper_round.py --gpu                  the real size, on a GPU
    python tests/bench/bench_paper_round.py --gpu --slice 1/8      an eighth of the jobs, scaled up and said so
    python … --adapters /dev/shm                                   adapters on a memory disk
    python tests/bench/bench_paper_round.py --gpu --slice 1/25 --profile      which kernels take the time
    python tests/bench/bench_paper_round.py                        a toy of the same shape on a CPU: proves that it runs

Source of the jobs: the first 50 passages × 5 self-edits × 3 seeds of the official iter0_train.json (SEAL App. B: LoRA
r 32 on q and v, 10 epochs, batch 1); invented passages where the file is absent.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from stages import adapt, tasks
from stages import eval as evaluate
from stages.domains.jobs import LinePlanner, PlannedLine
from stages.domains.qa import QA
from stages.engines.hf import HFEngine
from stages.interfaces import NullProgress
from stages.judges.lexical import LexicalJudge
from stages.records.frozen import content_id
from stages.records.record import Record, SelfEdit
from stages.records.task import make_task
from stages.settings import FitConfig
from stages.trainers.batched.trainer import BatchedLoraTrainer

ROOT = Path(__file__).parents[2]
PAPER = ROOT.parent / "shared/data/seal_paper/iter0_train.json"
PASSAGES, EDITS, SEEDS = 50, 5, 3  # SEAL App. B: one round
QWEN_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}  # the published config.json of Qwen2.5-7B
TOY = {**QWEN_7B, "hidden_size": 56, "intermediate_size": 296, "num_hidden_layers": 2, "vocab_size": 2048}


def make_network(shape: dict[str, int], device: torch.device, dtype: torch.dtype) -> Any:
    """A random model of the shape, made on the device: 15 GB never touch a disk."""
    config = Qwen2Config(
        **shape, max_position_embeddings=4096, tie_word_embeddings=False, eos_token_id=0, pad_token_id=0
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            network = Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return network.requires_grad_(False).eval()


def make_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the texts themselves: about as many tokens as Qwen's own makes of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = min(vocabulary, 16_000)
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")  # noqa: S106


def edit_lines() -> list[Record]:
    """The round's edit lines: real ones, or invented ones of like length."""
    if PAPER.is_file():
        records = tasks.run(str(PAPER))
        kept: dict[str, list[Record]] = {}
        for record in records:
            kept.setdefault(record.task.id, []).append(record)
        return [line for lines in islice(kept.values(), PASSAGES) for line in lines[:EDITS]]
    return [invented(passage, sample) for passage in range(PASSAGES) for sample in range(EDITS)]


def invented(passage: int, sample: int) -> Record:
    words = [f"word{(passage * 7919 + sample * 104729 + i * i) % 9973}" for i in range(600)]
    task = make_task(f"passage {passage}", " ".join(words[:120]), [(f"What is {i}?", words[i]) for i in range(5)])
    lines = "\n".join(" ".join(words[start : start + 20]) for start in range(120, 360, 20))
    edit = SelfEdit(
        id=content_id(task.id, sample),
        sample=sample,
        model="invented",
        template="implications",
        prompt="",
        completion=lines,
        finish="stop",
        tokens=None,
        sampling={},
        error=None,
    )
    return Record(task=task, edit=edit)


def dense_rate(device: torch.device, dtype: torch.dtype, now: Callable[[], float] = time.perf_counter) -> float:
    """Measured FLOP/s of a large square matrix product: what the card can do, not what its sheet says."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        synchronise(device)
        start = now()
        a @ b
        synchronise(device)
        best = min(best, now() - start)
    return 2 * size**3 / best


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def say(part: str, **figures: Any) -> None:
    print(json.dumps({"bench": f"paper round, {part}", **figures}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="Qwen2.5-7B's shape in bfloat16 on the first GPU")
    parser.add_argument("--slice", default="1/1", help="1/N: only every N-th self-edit; figures of a round are scaled")
    parser.add_argument("--slots", type=int, help="adapters in work at a time")
    parser.add_argument("--tokens-per-step", type=int, help="most tokens of one pass")
    parser.add_argument("--epochs", type=int, default=FitConfig.epochs)
    parser.add_argument("--adapters", metavar="DIR", help="where the adapters lie meanwhile")
    parser.add_argument("--profile", action="store_true", help="also the kernels of some steps, costliest first")
    options = parser.parse_args()
    share = int(options.slice.partition("/")[2])
    device = torch.device("cuda" if options.gpu else "cpu")
    dtype = torch.bfloat16 if options.gpu else torch.float32
    lines = edit_lines()
    texts = [line.task.context + "\n" + (line.edit.completion if line.edit else "") for line in lines]
    shape = QWEN_7B if options.gpu else TOY
    tokenizer, network = make_tokenizer(texts, shape["vocab_size"]), make_network(shape, device, dtype)
    limits = {"slots": options.slots, "tokens_per_step": options.tokens_per_step}
    trainer = BatchedLoraTrainer("random", loaded=(tokenizer, network), **limits)
    engine = HFEngine("random", loaded=(tokenizer, network), batch_size=256 if options.gpu else 64)
    chosen, config = lines[:: share if options.gpu else max(share, 50)], FitConfig(epochs=options.epochs)
    with tempfile.TemporaryDirectory(dir=options.adapters) as out:
        if options.profile:
            profile_steps(chosen, trainer, config, Path(out) / "profile")
        done = measure_adapt(chosen, trainer, config, Path(out), len(lines))
        measure_eval(done, engine, len(lines) / len(chosen))


def pieces(lines: Sequence[Record], trainer: Any, out: Path, config: FitConfig) -> Mapping[str, PlannedLine]:
    planner = LinePlanner(trainer.model, domain=QA(), out=out, config=config, seeds=SEEDS)
    for line in lines:
        planner.add(line)
    return planner.found


def measure_adapt(
    lines: list[Record], trainer: BatchedLoraTrainer, config: FitConfig, out: Path, whole: int
) -> list[Record]:
    """Trains all adapters of the lines and prints what it took and what a whole round would."""
    network, plans = trainer.network, Plans()
    device, scale = network.device, whole / len(lines)
    weights = sum(p.numel() for p in network.parameters()) - network.get_input_embeddings().weight.numel()
    rate = dense_rate(device, network.dtype)
    start = time.perf_counter()
    done = list(adapt.run(pieces(lines, trainer, out, config), trainer, progress=plans))
    synchronise(device)
    seconds = time.perf_counter() - start
    flop = 4 * weights * plans.tokens  # forward 2, backward 2: the frozen weights take no gradient
    say(
        "adapt",
        adapters=len(done),
        failed=sum(1 for line in done if line.adapter and line.adapter.error),
        steps=plans.steps,
        tokens=plans.tokens,
        seconds=round(seconds, 1),
        seconds_per_round=round(seconds * scale, 1),
        tokens_per_s=round(plans.tokens / seconds),
        ms_per_step=round(1e3 * seconds / plans.steps, 1),
        dense_rate_share=round(flop / seconds / rate, 3),
        dense_tflops=round(rate / 1e12, 2),
        peak_gb=round(torch.cuda.max_memory_allocated() / 1e9, 1) if device.type == "cuda" else None,
        kernel=trainer.options.lora,
        varlen=trainer.options.varlen,
        notes=plans.notes,
    )
    return done


def measure_eval(done: list[Record], engine: HFEngine, scale: float) -> None:
    """Answers the questions of all adapters, and each task's once without."""
    start = time.perf_counter()
    scored = evaluate.run(done, engine, domain=QA(), judge=LexicalJudge())
    answers = sum(len(line.task.questions) for line in scored)
    synchronise(engine.network.device)
    seconds = time.perf_counter() - start
    say(
        "eval",
        answers=answers,
        seconds=round(seconds, 1),
        seconds_per_round=round(seconds * scale, 1),
        answers_per_s=round(answers / seconds, 1),
    )


@dataclass
class Plans(NullProgress):
    """A Progress that counts."""

    tokens: int = 0
    steps: int = 0
    notes: list[str] = field(default_factory=list)

    def add_trained(self, tokens: int) -> None:
        self.tokens += tokens
        self.steps += 1

    def note(self, text: str) -> None:
        self.notes.append(text)


class Enough(Exception):
    """Raised out of a run of which some steps are enough."""


@dataclass
class Some(Plans):
    """Stops the run after `most` steps."""

    most: int = 6

    def add_trained(self, tokens: int) -> None:
        super().add_trained(tokens)
        if self.steps >= self.most:
            raise Enough


def profile_steps(lines: list[Record], trainer: BatchedLoraTrainer, config: FitConfig, out: Path) -> None:
    """The first steps under torch's profiler: a table on stderr, costliest kernels first."""
    from torch.profiler import ProfilerActivity, profile

    gpu = trainer.network.device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=kinds) as profiler, contextlib.suppress(Enough):
        list(adapt.run(pieces(lines, trainer, out, config), trainer, progress=Some()))
    order = "self_device_time_total" if gpu else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=order, row_limit=30), file=sys.stderr)


if __name__ == "__main__":
    main()
