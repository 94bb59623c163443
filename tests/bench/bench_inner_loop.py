"""Inner training on real self-edits, from the official recipe to many adapters at once; its growth and its memory.

    python tests/bench/bench_inner_loop.py
    JOBS=64 EPOCHS=10 REPEATS=5 MODELS=tiny python …
    MODELS=qwen2.5-0.5b,gemma3-270m python …      real vocabularies: some ten minutes on one core, 12 GB; or a directory
    PARTS=training python …                       or memory, growth
    CLOCK=cpu python …                            seconds of this process alone, on a machine that others use too

One JSON line a measurement: the median of REPEATS runs, in which the contenders take turns; `times_…` are medians of
the ratios within a turn. `tokens` are real ones (times epochs), pads not counted; every way includes what it does once
a job (set-up, the written adapter). The official recipe pads each sequence to 2048 end tokens and trains on them all:
PADDED_STEPS of its steps are measured in each turn and scaled to the jobs, which it says. `of_dense_rate` is the share
of the machine's measured rate of products that 4 operations a weight and token are (forward, and backward to what is
below). Self-edits: the official iter0_train.json where present, else invented ones; one self-edit a passage, its first
EXAMPLES sequences (0: all).
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
from bench_paper_round import dense_rate, edit_lines
from shapes import LARGE, model_of
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.utils import logging

from stages.domains.qa import QA
from stages.interfaces import FitJob, TrainingSet
from stages.models.device import Device, has_fast_bfloat16
from stages.records.record import Record
from stages.settings import FitConfig
from stages.tokens.tokenization import encode_example
from stages.trainers.batched.chunked_loss import get_loss_bytes
from stages.trainers.batched.loop import TrainingLoop
from stages.trainers.batched.trainer import BatchedLoraTrainer
from stages.trainers.peft import PeftTrainer, add_lora

PADDED = 2048  # official TTT server
GROWTH = (1, 2, 4, 8)
SMALL = {"JOBS": 32, "EPOCHS": 2, "REPEATS": 3, "PADDED_STEPS": 6, "EXAMPLES": 0}
USUAL = {
    "tiny": SMALL,
    "40M": {**SMALL, "EPOCHS": 1, "PADDED_STEPS": 2},
    **{key: {"JOBS": 8, "EPOCHS": 1, "REPEATS": 1, "PADDED_STEPS": 1, "EXAMPLES": 3} for key in LARGE},
}  # some minutes on one core
MODELS = os.environ.get("MODELS", "tiny,40M").split(",")
PARTS = os.environ.get("PARTS", "memory,growth,training").split(",")
now = time.process_time if os.environ.get("CLOCK") == "cpu" else time.perf_counter
Sizes = Mapping[str, int]
Work = Callable[[], object]


def make_jobs(lines: Sequence[Record], out: Path, sizes: Sizes, *, times: int = 1) -> list[FitJob]:
    """One job for each self-edit of a passage of its own; `times` as many, the same with other seeds."""
    firsts = {line.task.id: line for line in reversed(lines)}
    chosen = [*firsts.values(), *lines][: sizes["JOBS"]]
    lessons = [QA().make_training_set(line.task, line.edit) for line in chosen if line.edit] * times
    most = sizes["EXAMPLES"] or None
    lessons = [TrainingSet(lesson.examples[:most], lesson.chosen) for lesson in lessons]
    config = FitConfig(epochs=sizes["EPOCHS"])  # else SEAL App. B
    return [FitJob(f"{place}", lesson, config, place, out / f"{place}") for place, lesson in enumerate(lessons)]


def hf_trainer(trainer: PeftTrainer, job: FitJob, out: Path, *, pad: int = 0, steps: int = -1) -> None:
    """The job by transformers' Trainer, as the official code runs it; padded to `pad` tokens, all of them targets."""
    end = trainer.tokenizer.eos_token_id
    data = []
    for example in job.lesson.examples:
        ids = list(encode_example(trainer.tokenizer, example, end=True).ids)
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
        job.config.epochs * len(encode_example(tokenizer, example, end=True).ids)
        for job in jobs
        for example in job.lesson.examples
    )


def turns(works: Mapping[str, Work], repeats: int) -> dict[str, list[float]]:
    """Seconds of each work, the works taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = now()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(now() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 2)


def say(**figures: Any) -> None:
    print(json.dumps({**figures, "threads": torch.get_num_threads()}), flush=True)


def slots_of(name: str) -> Sequence[int]:
    return (1, 8, 32) if name in ("tiny", "40M") else (1, 8)


def bench_training(name: str, peft: PeftTrainer, jobs: Sequence[FitJob], out: Path, sizes: Sizes) -> None:
    model, loaded = peft.model, (peft.tokenizer, peft.network)  # one in memory for all
    official = f"official recipe, padded to {PADDED} (scaled from {sizes['PADDED_STEPS']} steps)"
    steps = sizes["EPOCHS"] * sum(len(job.lesson.examples) for job in jobs)
    works: dict[str, Work] = {
        official: lambda: hf_trainer(peft, jobs[0], out, pad=PADDED, steps=sizes["PADDED_STEPS"]),
        "HF Trainer, un-padded": lambda: [hf_trainer(peft, job, out) for job in jobs],
        "lean loop (PeftTrainer)": lambda: list(peft.fit(jobs)),
    }
    for slots in slots_of(name):
        many = BatchedLoraTrainer(model, slots=slots, loaded=loaded)
        works[f"BatchedLoraTrainer, {slots} at once"] = lambda many=many: list(many.fit(jobs))  # type: ignore[misc]
    if torch.cuda.is_available() or has_fast_bfloat16():
        half = BatchedLoraTrainer(model, slots=slots, device=Device(dtype="bfloat16"))
        works[f"BatchedLoraTrainer, {slots} at once, bfloat16"] = lambda: list(half.fit(jobs))
    dense, weights = dense_rate(peft.network.device, peft.network.dtype, now), linear_weights(peft.network)
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
            times_one_at_once=ratio(seconds["BatchedLoraTrainer, 1 at once"], times),
            of_dense_rate=round(4 * weights * tokens / taken / dense, 2),
            dense_gflops=round(dense / 1e9, 1),
        )


def linear_weights(network: Any) -> int:
    """Weights of all linear layers, the output layer among them: a token multiplies each once."""
    return sum(part.weight.numel() for part in network.modules() if isinstance(part, torch.nn.Linear))


def bench_growth(name: str, peft: PeftTrainer, lines: Sequence[Record], out: Path, sizes: Sizes) -> None:
    """Jobs × {1, 2, 4, 8}: what a real token costs should not depend on how many there are."""
    few = {**sizes, "JOBS": max(1, sizes["JOBS"] // 8)}
    works: dict[str, Work] = {}
    tokens = {}
    for times in GROWTH:
        jobs = make_jobs(lines, out, few, times=times)
        many = BatchedLoraTrainer(peft.model, slots=few["JOBS"], loaded=(peft.tokenizer, peft.network))
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


def bench_memory(name: str, peft: PeftTrainer, jobs: Sequence[FitJob]) -> None:
    """What each adapter and each token of a pass take: the stack's and the optimizer's bytes, autograd's, the loss's.

    `logits_kb` is what a token's logits in float32 would be.
    """
    plans: list[dict[str, float]] = []
    own = TrainingLoop._count_fitting_tokens

    def plan(self: TrainingLoop) -> int:
        tokens = own(self)
        weights = self.stack.weights
        each = self.measure_saved(48) - self.measure_saved(16)
        adapter = 4 * weights[0].numel() * weights.element_size()  # weights, gradient, two moments
        head = self.network.get_output_embeddings()
        kept = {"adapter_mb": adapter / 1e6, "token_kb": each / 32 / 1e3, "loss_kb": get_loss_bytes(head) / 1e3}
        plans.append({**kept, "logits_kb": len(head.weight) * 4 / 1e3, "tokens_per_step": tokens})
        return tokens

    TrainingLoop._count_fitting_tokens = plan  # type: ignore[method-assign]
    try:
        next(iter(BatchedLoraTrainer(peft.model, loaded=(peft.tokenizer, peft.network)).fit(jobs[:1])))
    finally:
        TrainingLoop._count_fitting_tokens = own  # type: ignore[method-assign]
    say(bench="memory", model=name, **{key: round(value, 3) for key, value in plans[0].items()})


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    lines = edit_lines()
    texts = [f"{line.task.context}\n{line.edit.completion}" for line in lines if line.edit]
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            out = Path(folder) / name
            peft = PeftTrainer(str(model_of(name, out / "model", texts)))
            sizes = {key: int(os.environ.get(key, usual)) for key, usual in USUAL.get(name, USUAL[LARGE[-1]]).items()}
            jobs = make_jobs(lines, out, sizes)
            if "memory" in PARTS:
                bench_memory(name, peft, jobs)
            if "growth" in PARTS:
                bench_growth(name, peft, lines, out, sizes)
            if "training" in PARTS:
                bench_training(name, peft, jobs, out / "hf", sizes)


if __name__ == "__main__":
    main()
