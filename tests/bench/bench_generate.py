"""Answers and self-edits of a model without adapters, at the same batch as transformers' own generate(); and a step.

    OMP_NUM_THREADS=1 python tests/bench/bench_generate.py
    MODELS=qwen2.5-0.5b,gemma3-270m ROWS=24 TOKENS=16 python …      real vocabularies: some minutes
    CLOCK=cpu python …                     seconds of this process alone, on a machine that others use too

One JSON line a contender. Answers are greedy, closed-book, of unlike questions; self-edits are drawn (temperature 1,
top_p 0.95, SEAL App. B), 3 of a passage. Neither ends early: the random models never say their end token, the tiny one
is not let. The last line says where a token's time goes at this batch: the whole pass, the output layer, the draw, and
how fast the layer's weights are read beside the machine's rates of reading and of products.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_inner_loop import now, ratio, say, turns
from bench_paper_round import dense_rate, edit_lines
from shapes import model_of
from transformers.utils import logging

from stages.domains.qa import QA
from stages.engines.hf_decoding import Decoder, Row, chunked_output, complete, left_padded
from stages.engines.hf_sampling import SeededSampling
from stages.interfaces import Prompt, Sampling
from stages.models.loading import Device, load_model, load_tokenizer
from stages.records.record import Record
from stages.tokens.tokenization import prompt_ids

MODELS = os.environ.get("MODELS", "tiny,40M").split(",")
ROWS, TOKENS, REPEATS = (
    int(os.environ.get(key, usual)) for key, usual in (("ROWS", 24), ("TOKENS", 16), ("REPEATS", 3))
)
SAMPLES = 3  # of a passage
Prompts = Sequence[Sequence[int]]


def prompts_of(tokenizer: Any, lines: Sequence[Record]) -> dict[str, tuple[Prompts, Sampling]]:
    """{part: (ROWS prompts, how they are completed)}"""
    tasks = list({line.task.id: line.task for line in lines}.values())
    questions = [query.prompt for task in tasks for query in QA().queries(task, in_context=False, chat=False)]
    passages = [QA().edit_prompt(task, "implications", chat=False) for task in tasks for _ in range(SAMPLES)]
    drawn = Sampling(temperature=1.0, top_p=0.95, max_tokens=TOKENS)
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=TOKENS)

    def ids(prompts: Sequence[Prompt]) -> Prompts:
        return [prompt_ids(tokenizer, prompt) for prompt in prompts[:ROWS]]

    return {"answers": (ids(questions), greedy), "self-edits": (ids(passages), drawn)}


@torch.inference_mode()
def generate(network: Any, prompts: Prompts, sampling: Sampling) -> None:
    """transformers' own loop and sampling."""
    ids, mask = left_padded(prompts, 0, network.device)
    how: dict[str, Any] = {"do_sample": False}
    if sampling.temperature:
        how = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    settings = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "pad_token_id": 0, **how}
    network.generate(input_ids=ids, attention_mask=mask, **settings)


def ours(network: Any, prompts: Prompts, sampling: Sampling) -> None:
    rows = [Row(prompt, TOKENS) for prompt in prompts]
    sampler = SeededSampling(
        [Sampling(sampling.temperature, sampling.top_p, TOKENS, seed) for seed in range(ROWS)], network.device
    )
    complete(network, rows, sampler, ends=(), pad=0, lay=lambda slots: None)


def bench(name: str, network: Any, tokenizer: Any, lines: Sequence[Record]) -> None:
    for part, (prompts, sampling) in prompts_of(tokenizer, lines).items():
        ways = {
            "transformers' generate": partial(generate, network, prompts, sampling),
            "ours": partial(ours, network, prompts, sampling),
        }
        seconds = turns(ways, REPEATS)
        for way, times in seconds.items():
            taken = sorted(times)[len(times) // 2]
            say(
                bench=part,
                model=name,
                engine=way,
                rows=len(prompts),
                prompt_tokens=sum(map(len, prompts)),
                tokens=TOKENS,
                repeats=REPEATS,
                seconds=round(taken, 3),
                tokens_per_s=round(len(prompts) * TOKENS / taken, 2),
                times_generate=ratio(seconds["transformers' generate"], times),
            )


@torch.inference_mode()
def bench_step(name: str, network: Any, prompts: Prompts) -> None:
    """One more token of each row, and its parts."""
    head, rows = network.get_output_embeddings(), [Row(prompt, TOKENS) for prompt in prompts]
    decoder = Decoder(network, 0, lambda slots: None, most=2 * max(map(len, prompts)) + 64)
    drawn = SeededSampling([Sampling(1.0, 0.95, TOKENS, seed) for seed in range(len(rows))], network.device)
    with chunked_output(network):
        logits = decoder.read(rows)
        one = torch.ones(len(rows), 1, dtype=torch.long, device=network.device)
        states = torch.randn(len(rows), 1, head.in_features, dtype=network.dtype, device=network.device)
        whole, layer = best_of(lambda: decoder.step(one, one)), best_of(lambda: head(states))
    stored = head.weight.nbytes
    reading = reading_rate(network.device)
    dense = dense_rate(network.device, network.dtype, now)
    say(
        bench="step",
        model=name,
        rows=len(rows),
        pass_ms=round(1e3 * whole, 1),
        output_layer_ms=round(1e3 * layer, 1),
        draw_ms=round(1e3 * best_of(lambda: drawn(None, logits.float()).argmax(-1)), 1),
        output_layer_gb_per_s=round(stored / layer / 1e9, 2),
        machine_gb_per_s=round(reading / 1e9, 2),
        of_reading_rate=round(stored / layer / reading, 2),
        of_dense_rate=round(2 * head.weight.numel() * len(rows) / layer / dense, 2),
    )


def best_of(work: Callable[[], object], times: int = 5) -> float:
    """Seconds of the fastest, after one that warms up."""
    work()
    found = []
    for _ in range(times):
        start = now()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(now() - start)
    return min(found)


def reading_rate(device: torch.device) -> float:
    """Bytes a second in which a tensor that no cache holds is read."""
    large = torch.ones(2**27, device=device)
    return large.nbytes / best_of(large.sum)


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    lines = edit_lines()
    texts = [line.task.context + "\n" + (line.edit.completion if line.edit else "") for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            model = str(model_of(name, Path(folder) / name, texts))
            network, tokenizer = load_model(model, Device()), load_tokenizer(model)
            bench(name, network, tokenizer, lines)
            bench_step(name, network, prompts_of(tokenizer, lines)["answers"][0])


if __name__ == "__main__":
    main()
