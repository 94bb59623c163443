"""Inner training on real self-edits, from the official recipe to many adapters at once; its growth and its memory.

    python tests/bench/bench_inner_loop.py
    JOBS=64 EPOCHS=10 REPEATS=5 MODELS=tiny python …

One JSON line a measurement: the median of REPEATS runs, in which the contenders take turns; `times_…` are medians of
the ratios within a turn. `tokens` are real ones (times epochs), pads not counted; every way includes what it does once
a job (set-up, the written adapter). The official recipe pads each sequence to 2048 end tokens and trains on them all:
PADDED_STEPS of its steps are measured in each turn and scaled to the jobs, which it says. Self-edits: the official
iter0_train.json where present, else invented ones; one self-edit a passage, all its sequences.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from bench_paper_round import edit_lines, make_tokenizer
from transformers import PrinterCallback, Qwen3Config, Qwen3ForCausalLM, Trainer, TrainingArguments, set_seed
from transformers.utils import logging

from stages.domains.qa import QA
from stages.engines.base import FitConfig, FitJob
from stages.engines.group import Group
from stages.engines.lora import PeftTrainer, add_lora
from stages.engines.many import ManyTrainer
from stages.engines.models import Device
from stages.engines.text import example_tokens
from stages.records import Record

ROOT = Path(__file__).parents[2]
PADDED = 2048  # official TTT server
SLOTS = (1, 8, 32)
GROWTH = (1, 2, 4, 8)


USUAL = {
    "tiny": {"JOBS": 32, "EPOCHS": 2, "REPEATS": 3, "PADDED_STEPS": 6},
    "40M": {"JOBS": 32, "EPOCHS": 1, "REPEATS": 3, "PADDED_STEPS": 2},
}  # some minutes on one core
MODELS = os.environ.get("MODELS", "tiny,40M").split(",")
Sizes = Mapping[str, int]
Work = Callable[[], object]


def make_40m(folder: Path, texts: Sequence[str]) -> Path:
    """A random Qwen3 of 40 M weights."""
    set_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "head_dim": 64}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    ends = {"eos_token_id": 0, "pad_token_id": 0, "bos_token_id": None, "tie_word_embeddings": True}
    Qwen3ForCausalLM(Qwen3Config(vocab_size=16_000, **shape, **heads, **ends)).save_pretrained(folder)
    make_tokenizer(texts, 16_000).save_pretrained(folder)
    return folder


def model_for(name: str, folder: Path, lines: Sequence[Record]) -> Path:
    """The tiny model, or a random larger one with a tokenizer of its own."""
    if name == "tiny":
        return ROOT / "examples/tiny/model"
    texts = [f"{line.task.context}\n{line.edit.completion}" for line in lines if line.edit]
    return make_40m(folder, texts)


def make_jobs(lines: Sequence[Record], out: Path, sizes: Sizes, *, times: int = 1) -> list[FitJob]:
    """One job for each self-edit of a passage of its own; `times` as many, the same with other seeds."""
    firsts = {line.task.id: line for line in reversed(lines)}
    chosen = [*firsts.values(), *lines][: sizes["JOBS"]]
    lessons = [QA().lesson(line.task, line.edit) for line in chosen if line.edit] * times
    config = FitConfig(epochs=sizes["EPOCHS"])  # else SEAL App. B
    return [FitJob(f"{place}", lesson, config, place, out / f"{place}") for place, lesson in enumerate(lessons)]


def hf_trainer(trainer: PeftTrainer, job: FitJob, out: Path, *, pad: int = 0, steps: int = -1) -> None:
    """The job by transformers' Trainer, as the official code runs it; padded to `pad` tokens, all of them targets."""
    end = trainer.tokenizer.eos_token_id
    data = []
    for example in job.lesson.examples:
        ids = list(example_tokens(trainer.tokenizer, example, end=True).ids)
        more = [end] * (pad - len(ids))
        data.append({"input_ids": ids + more, "labels": ids + more, "attention_mask": [1] * len(ids) + [0] * len(more)})
    torch.manual_seed(job.seed)
    student = add_lora(trainer.network, job.config)
    settings = TrainingArguments(
        output_dir=str(out),
        num_train_epochs=job.config.epochs,
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=job.config.learning_rate,
        use_cpu=trainer.network.device.type == "cpu",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trained = Trainer(student, settings, train_dataset=data)
    trained.remove_callback(PrinterCallback)  # stdout is ours
    trained.train()
    student.save_pretrained(str(job.out), save_embedding_layers=False)
    student.unload()


def real_tokens(tokenizer: Any, jobs: Sequence[FitJob]) -> int:
    """Times epochs, pads not counted."""
    return sum(
        job.config.epochs * len(example_tokens(tokenizer, example, end=True).ids)
        for job in jobs
        for example in job.lesson.examples
    )


def turns(works: Mapping[str, Work], repeats: int) -> dict[str, list[float]]:
    """Seconds of each work, the works taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 2)


def say(**figures: Any) -> None:
    print(json.dumps({**figures, "threads": torch.get_num_threads()}), flush=True)


def bench_training(name: str, model: Path, jobs: Sequence[FitJob], out: Path, sizes: Sizes) -> None:
    peft = PeftTrainer(str(model))
    official = f"official recipe, padded to {PADDED} (scaled from {sizes['PADDED_STEPS']} steps)"
    steps = sizes["EPOCHS"] * sum(len(job.lesson.examples) for job in jobs)
    works: dict[str, Work] = {
        official: lambda: hf_trainer(peft, jobs[0], out, pad=PADDED, steps=sizes["PADDED_STEPS"]),
        "HF Trainer, un-padded": lambda: [hf_trainer(peft, job, out) for job in jobs],
        "lean loop (PeftTrainer)": lambda: list(peft.fit(jobs)),
    }
    for slots in SLOTS:
        many = ManyTrainer(str(model), slots=slots)
        works[f"ManyTrainer, {slots} at once"] = lambda many=many: list(many.fit(jobs))  # type: ignore[misc]
    half = ManyTrainer(str(model), slots=SLOTS[-1], device=Device(dtype="bfloat16"))
    works[f"ManyTrainer, {SLOTS[-1]} at once, bfloat16"] = lambda: list(half.fit(jobs))
    seconds = turns(works, sizes["REPEATS"])
    seconds[official] = [each * steps / sizes["PADDED_STEPS"] for each in seconds[official]]
    tokens = real_tokens(peft.tokenizer, jobs)
    for trainer, times in seconds.items():
        taken = statistics.median(times)
        say(
            bench="inner training",
            model=name,
            trainer=trainer,
            jobs=len(jobs),
            steps=steps,
            tokens=tokens,
            repeats=sizes["REPEATS"],
            seconds=round(taken, 3),
            jobs_per_s=round(len(jobs) / taken, 3),
            tokens_per_s=round(tokens / taken, 1),
            times_official=ratio(seconds[official], times),
            times_hf_unpadded=ratio(seconds["HF Trainer, un-padded"], times),
            times_lean_loop=ratio(seconds["lean loop (PeftTrainer)"], times),
        )


def bench_growth(name: str, model: Path, lines: Sequence[Record], out: Path, sizes: Sizes) -> None:
    """Jobs × {1, 2, 4, 8}: what a real token costs should not depend on how many there are."""
    few = {**sizes, "JOBS": max(1, sizes["JOBS"] // 8)}
    works: dict[str, Work] = {}
    tokens = {}
    for times in GROWTH:
        jobs, many = make_jobs(lines, out, few, times=times), ManyTrainer(str(model), slots=few["JOBS"])
        works[f"× {times}"] = lambda many=many, jobs=jobs: list(many.fit(jobs))  # type: ignore[misc]
        tokens[f"× {times}"] = real_tokens(many.tokenizer, jobs)
    seconds = turns(works, sizes["REPEATS"])
    for jobs_, times_ in seconds.items():
        taken = statistics.median(times_)
        say(
            bench="growth",
            model=name,
            jobs=f"{few['JOBS']} {jobs_}",
            tokens=tokens[jobs_],
            repeats=sizes["REPEATS"],
            seconds=round(taken, 3),
            us_per_token=round(1e6 * taken / tokens[jobs_], 1),
        )


def bench_memory(name: str, model: Path, jobs: Sequence[FitJob]) -> None:
    """What each adapter and each token of a pass keep: the stack's and the optimizer's bytes, and autograd's."""
    plans: list[dict[str, float]] = []
    own = Group._tokens_that_fit

    def plan(self: Group) -> int:
        tokens = own(self)
        weights = self.stack.weights
        each = self.saved(48) - self.saved(16)
        adapter = 4 * weights[0].numel() * weights.element_size()  # weights, gradient, two moments
        plans.append({"adapter_mb": adapter / 1e6, "token_kb": each / 32 / 1e3, "tokens_per_step": tokens})
        return tokens

    Group._tokens_that_fit = plan  # type: ignore[method-assign]
    try:
        next(iter(ManyTrainer(str(model)).fit(jobs)))
    finally:
        Group._tokens_that_fit = own  # type: ignore[method-assign]
    say(bench="memory", model=name, **{key: round(value, 3) for key, value in plans[0].items()})


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    lines = edit_lines()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            out = Path(folder) / name
            model = model_for(name, out / "model", lines)
            sizes = {key: int(os.environ.get(key, usual)) for key, usual in USUAL[name].items()}
            jobs = make_jobs(lines, out, sizes)
            bench_memory(name, model, jobs)
            bench_growth(name, model, lines, out, sizes)
            bench_training(name, model, jobs, out / "hf", sizes)


if __name__ == "__main__":
    main()
