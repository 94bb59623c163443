"""What the stages cost on the tiny model: start-up, self-edits, adapters and answers a second. One JSON line each.

make bench                        medians of several runs; TASKS=20 REPEATS=5 set the size
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from transformers.utils import logging

from stages import adapt, generate
from stages import eval as evaluate
from stages.domains.jobs import LinePlanner
from stages.domains.qa import QA
from stages.engines.hf import HFEngine
from stages.judges.exact import ExactJudge
from stages.records.parser import read_records
from stages.settings import FitConfig, Sampling
from stages.trainers.batched.trainer import BatchedLoraTrainer

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples/tiny/model"
TASKS = int(os.environ.get("TASKS", "4"))
REPEATS = int(os.environ.get("REPEATS", "3"))
RECIPE = FitConfig(
    rank=8, alpha=16, targets=("all-linear",), learning_rate=6e-3, schedule="constant", epochs=4
)  # the tiny world's


def median_seconds(work: Callable[[], object]) -> float:
    """Median wall-clock of REPEATS runs."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def say(name: str, seconds: float, count: int, unit: str) -> None:
    line = {"bench": name, "seconds": round(seconds, 3), unit: count, f"{unit}_per_s": round(count / seconds, 2)}
    print(json.dumps({**line, "threads": torch.get_num_threads(), "repeats": REPEATS}), flush=True)


def main() -> None:
    logging.set_verbosity_error()
    help_time = median_seconds(
        lambda: subprocess.run([sys.executable, "-m", "seal_cli", "--help"], capture_output=True)
    )
    say("seal --help", help_time, 1, "starts")
    with (ROOT / "examples/tiny/heldout.jsonl").open("rb") as file:
        tasks = list(islice(read_records(file, "heldout"), TASKS))
    engine, trainer = HFEngine(str(MODEL)), BatchedLoraTrainer(str(MODEL))
    sampling = Sampling(top_p=1.0, max_tokens=170)
    writing = generate.Writing(QA(), samples=2, sampling=sampling)
    edits = list(generate.run(tasks, engine, writing))
    write = lambda: list(generate.run(tasks, engine, writing))  # noqa: E731
    say("generate, 2 a task", median_seconds(write), len(edits), "self_edits")
    with tempfile.TemporaryDirectory() as out:
        planner = LinePlanner(trainer.model, domain=QA(), out=Path(out), config=RECIPE)
        for edit in edits:
            planner.add(edit)
        train = lambda: list(adapt.run(planner.found, trainer))  # noqa: E731
        adapters = train()
        say("adapt", median_seconds(train), len(adapters), "adapters")
        answer = lambda: list(evaluate.run(adapters, engine, domain=QA(), judge=ExactJudge()))  # noqa: E731
        answers = sum(len(line.task.questions) for line in adapters)
        say("eval", median_seconds(answer), answers, "answers")


if __name__ == "__main__":
    main()
