"""Inner training on real self-edits, from the official recipe to many adapters at once; then their answers.

    python tests/bench/bench_inner_loop.py
    JOBS=64 SEQUENCES=100 EPOCHS=10 REPEATS=5 MODELS=tiny python …     whole lessons

One JSON line a measurement: the median of REPEATS runs, in which the contenders take turns; `times_hf_trainer` is the
median of the ratios within a turn, to HF Trainer un-padded on the same jobs. `tokens` are real ones (times epochs),
pads not counted; every way includes what it does once a job (set-up, the written adapter). The official recipe pads
each sequence to 2048 end tokens and trains on them all: PADDED_STEPS of its steps are measured and scaled to the jobs,
which it says. Self-edits: the official iter0_train.json where present, else invented ones; the first SEQUENCES examples
of one self-edit a passage.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from bench_paper_round import edit_lines, make_tokenizer
from transformers import PrinterCallback, Qwen3Config, Qwen3ForCausalLM, Trainer, TrainingArguments, set_seed
from transformers.utils import logging

from stages.domains.qa import QA
from stages.engines.base import FitConfig, FitJob, Request, Sampling
from stages.engines.hf import HFEngine
from stages.engines.lora import PeftTrainer, add_lora
from stages.engines.many import ManyTrainer
from stages.engines.text import example_tokens
from stages.records import Record

ROOT = Path(__file__).parents[2]
PADDED = 2048  # official TTT server


USUAL = {
    "tiny": {"JOBS": 32, "SEQUENCES": 4, "EPOCHS": 2, "REPEATS": 3, "PADDED_STEPS": 4, "ADAPTERS": 16},
    "40M": {"JOBS": 32, "SEQUENCES": 2, "EPOCHS": 1, "REPEATS": 1, "PADDED_STEPS": 1, "ADAPTERS": 8},
}  # a few minutes on one slow core
MODELS = os.environ.get("MODELS", "tiny,40M").split(",")
GREEDY = Sampling(0.0, 1.0, 16)
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


def make_jobs(lines: Sequence[Record], out: Path, sizes: Sizes) -> list[FitJob]:
    """One job for each self-edit of a passage of its own, cut to SEQUENCES examples."""
    firsts = {line.task.id: line for line in reversed(lines)}
    chosen = [*firsts.values(), *lines][: sizes["JOBS"]]
    lessons = [QA().lesson(line.task, line.edit) for line in chosen if line.edit]
    most, config = sizes["SEQUENCES"], FitConfig(epochs=sizes["EPOCHS"])  # else SEAL App. B
    return [
        FitJob(f"{place}", replace(lesson, examples=lesson.examples[:most]), config, place, out / f"{place}")
        for place, lesson in enumerate(lessons)
    ]


def hf_trainer(trainer: PeftTrainer, job: FitJob, out: Path, *, pad: int = 0, steps: int = -1) -> None:
    """The job by transformers' Trainer, as the official code runs it; padded to `pad` tokens, all of them targets."""
    end = trainer.tokenizer.eos_token_id
    data = []
    for example in job.lesson.examples:
        ids = list(example_tokens(trainer.tokenizer, example, end=True).ids)
        ids += [end] * (pad - len(ids))
        data.append({"input_ids": ids, "labels": ids})
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
    works: dict[str, Work] = {
        "HF Trainer, un-padded": lambda: [hf_trainer(peft, job, out) for job in jobs],
        "PeftTrainer": lambda: list(peft.fit(jobs)),
    }
    for slots in (1, 8, 32):
        many = ManyTrainer(str(model), slots=slots)
        works[f"ManyTrainer, {slots} slots"] = lambda many=many: list(many.fit(jobs))  # type: ignore[misc]
    seconds = turns(works, sizes["REPEATS"])
    results = list(peft.fit(jobs))
    tokens, steps = sizes["EPOCHS"] * sum(result.tokens for result in results), sum(result.steps for result in results)
    about = {"bench": "inner training", "model": name, "jobs": len(jobs), "steps": steps, "tokens": tokens}
    about["repeats"] = sizes["REPEATS"]
    base = seconds["HF Trainer, un-padded"]
    start = time.perf_counter()
    hf_trainer(peft, jobs[0], out, pad=PADDED, steps=sizes["PADDED_STEPS"])
    padded = (time.perf_counter() - start) / sizes["PADDED_STEPS"] * steps
    rows = {
        f"official recipe, padded to {PADDED} (scaled from {sizes['PADDED_STEPS']} steps)": [padded] * sizes["REPEATS"],
        **seconds,
    }
    for trainer, times in rows.items():
        taken = statistics.median(times)
        rates = {"jobs_per_s": round(len(jobs) / taken, 3), "tokens_per_s": round(tokens / taken, 1)}
        say(**about, trainer=trainer, seconds=round(taken, 3), **rates, times_hf_trainer=ratio(base, times))


def bench_answers(name: str, model: Path, lines: Sequence[Record], adapters: Sequence[Path], repeats: int) -> None:
    """The questions of a passage to each adapter: by peft one adapter after the other, and many in a batch."""
    engine = HFEngine(str(model))
    firsts = list({line.task.id: line for line in lines}.values())
    groups = [
        [
            Request(f"{path.name} {q.id}", q.prompt, GREEDY, path)
            for q in QA().queries(line.task, in_context=False, chat=False)
        ]
        for path, line in zip(adapters, firsts, strict=False)
    ]
    together = [request for group in groups for request in group]
    works: dict[str, Work] = {
        "peft, one adapter after the other": lambda: [list(engine._alone(group[0].adapter, group)) for group in groups],
        "many adapters in a batch": lambda: list(engine.sample(together)),
    }
    seconds = turns(works, repeats)
    for way, times in seconds.items():
        taken = statistics.median(times)
        figures = {"adapters": len(groups), "answers": len(together), "answers_per_s": round(len(together) / taken, 2)}
        faster = ratio(seconds["peft, one adapter after the other"], times)
        say(
            bench="answers",
            model=name,
            engine=way,
            seconds=round(taken, 3),
            repeats=repeats,
            **figures,
            times_peft=faster,
        )


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    lines = edit_lines()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            out = Path(folder) / name
            texts = [
                example.completion
                for line in lines
                if line.edit
                for example in QA().lesson(line.task, line.edit).examples
            ]
            model = (
                ROOT / "examples/tiny/model"
                if name == "tiny"
                else make_40m(out / "model", [str(text) for text in texts])
            )
            sizes = {key: int(os.environ.get(key, usual)) for key, usual in USUAL[name].items()}
            jobs = make_jobs(lines, out, sizes)
            bench_training(name, model, jobs, out / "hf", sizes)
            bench_answers(name, model, lines, [job.out for job in jobs[: sizes["ADAPTERS"]]], max(3, sizes["REPEATS"]))


if __name__ == "__main__":
    main()
