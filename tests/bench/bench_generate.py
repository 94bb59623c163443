"""Self-edits: transformers one prompt at a time and in batches, our engine, and llama.cpp's server.

    python tests/bench/bench_generate.py
    MODELS=DIR PASSAGES=8 SAMPLES=4 TOKENS=128 REPEATS=3 python …      a model of yours, by its directory
    MODELS=DIR GGUF=a.gguf,b.gguf LLAMA=.venv-llamacpp/bin/python python …      and llama.cpp's server, with these files

One JSON line a contender: the median of REPEATS runs, in which the contenders take turns. SAMPLES self-edits for each
of PASSAGES passages, drawn as in the paper (temperature 1, top_p 0.95), of TOKENS tokens at most. What is drawn differs
between contenders, so `tokens_per_s` counts what each has written; `times_one_by_one` is the median of the ratios of
these within a turn. Where the processor computes in bfloat16, so does one more of our engines. llama.cpp (`make
test-llamacpp` installs it) computes with the numbers of its file and as many threads as torch, and takes PARALLEL
prompts at once; loading is not counted for anybody.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from bench_inner_loop import say, turns
from bench_paper_round import edit_lines
from shapes import model_of
from transformers import set_seed
from transformers.utils import logging

from stages.domains.qa import QA
from stages.engines.hf import HFEngine
from stages.engines.openai import OpenAIEngine
from stages.interfaces import Engine, Request
from stages.models.device import Device, has_fast_bfloat16
from stages.records.record import Record
from stages.services.client import Server
from stages.settings import Sampling
from stages.tokens.tokenization import encode_prompt

MODELS = os.environ.get("MODELS", "tiny").split(",")
PASSAGES, SAMPLES = int(os.environ.get("PASSAGES", "4")), int(os.environ.get("SAMPLES", "4"))
TOKENS, REPEATS = int(os.environ.get("TOKENS", "64")), int(os.environ.get("REPEATS", "3"))
GGUF = [Path(name) for name in os.environ.get("GGUF", "").split(",") if name]
PARALLEL = int(os.environ.get("PARALLEL", "8"))
BY_ONE = "transformers, one prompt at a time"
Way = Callable[[], int]  # returns the tokens that were written


def make_requests(lines: Sequence[Record]) -> list[Request]:
    """The prompts for a self-edit (SEAL App. B.1), SAMPLES times each."""
    domain = QA()
    tasks = list({line.task.id: line.task for line in lines}.values())[:PASSAGES]
    return [
        Request(
            f"{task.id} {sample}",
            domain.edit_prompt(task, "implications", chat=False),
            Sampling(temperature=1.0, top_p=0.95, max_tokens=TOKENS, seed=sample),
        )
        for task in tasks
        for sample in range(SAMPLES)
    ]


@torch.inference_mode()
def write_plainly(engine: HFEngine, requests: Sequence[Request], size: int) -> int:
    """With transformers' own generate, on the network of an engine, which then lies in memory once."""
    written, tokenizer = 0, engine.tokenizer
    for start in range(0, len(requests), size):
        prompts = [encode_prompt(tokenizer, request.prompt) for request in requests[start : start + size]]
        padded = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        width = padded["input_ids"].shape[1]
        drawn = {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 0, "max_new_tokens": TOKENS}
        ends = {"eos_token_id": sorted(engine.ends), "pad_token_id": tokenizer.pad_token_id}
        rows = engine.network.generate(**padded, **drawn, **ends)[:, width:].tolist()
        written += sum(next((place for place, token in enumerate(row) if token in engine.ends), TOKENS) for row in rows)
    return written


def write(engine: Engine, requests: Sequence[Request]) -> int:
    completions = list(engine.sample(requests))
    failed = [each.error for each in completions if each.finish == "failed"]
    if failed:
        raise RuntimeError(f"{len(failed)} requests failed, such as: {failed[0]}")
    return sum(each.tokens or 0 for each in completions)


def list_ways(model: Path, requests: Sequence[Request], stack: ExitStack, folder: Path) -> Iterator[tuple[str, Way]]:
    engine = HFEngine(str(model), device=Device("cpu", "float32"))
    yield BY_ONE, partial(write_plainly, engine, requests, 1)
    yield f"transformers, {PARALLEL} prompts at a time", partial(write_plainly, engine, requests, PARALLEL)
    yield "ours, float32", partial(write, engine, requests)
    if has_fast_bfloat16():
        yield "ours, bfloat16", partial(write, HFEngine(str(model), device=Device("cpu", "bfloat16")), requests)
    sys.path.append(str(Path(__file__).parents[2]))  # a script is told of its own folder only
    from tests.llamacpp.server import serving_llama

    for file in GGUF:
        served = serving_llama(
            folder / f"{file.stem}.log",
            file,
            python=os.environ.get("LLAMA", ".venv-llamacpp/bin/python"),
            threads=torch.get_num_threads(),
            parallel=PARALLEL,
        )
        server = Server(stack.enter_context(served), key=None, retry_for_s=0.0, concurrency=PARALLEL)
        yield f"llama.cpp, {file.stem}", partial(write, OpenAIEngine("model", server), requests)


def bench(name: str, model: Path, requests: Sequence[Request], folder: Path) -> None:
    with ExitStack() as stack:
        ways, counts = dict(list_ways(model, requests, stack, folder)), dict[str, list[int]]()

        def count(way: str) -> None:
            set_seed(0)
            counts.setdefault(way, []).append(ways[way]())

        seconds = turns({way: partial(count, way) for way in ways}, REPEATS)
    rates = {way: [n / s for n, s in zip(counts[way], seconds[way], strict=True)] for way in ways}
    for way in ways:
        say(
            bench="generate",
            model=name,
            engine=way,
            self_edits=len(requests),
            tokens=counts[way],
            repeats=REPEATS,
            seconds=round(statistics.median(seconds[way]), 2),
            tokens_per_s=round(statistics.median(rates[way]), 1),
            times_one_by_one=round(statistics.median(a / b for a, b in zip(rates[way], rates[BY_ONE], strict=True)), 2),
        )


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    lines = edit_lines()
    texts = [line.task.context for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(MODELS):
            model = model_of(name, Path(folder) / str(number), texts)
            bench(Path(name).name, model, make_requests(lines), Path(folder))


if __name__ == "__main__":
    main()
