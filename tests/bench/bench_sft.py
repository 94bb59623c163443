"""The outer update of a LoRA: with trl's loss, which has logits of every token on a CPU, and with ours.

    python tests/bench/bench_sft.py
    MODELS=DIR DTYPE=bfloat16 EXAMPLES=12 EPOCHS=2 REPEATS=3 CLOCK=cpu python …      a model of yours, in less time

One JSON line a contender: the median of REPEATS trainings, in which the contenders take turns, from the loading of the
model to its new directory. EXAMPLES self-edits of the paper's round, each with the prompt that it was written for.
`times_trl` is the median of the ratios within a turn.
"""

import os
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench_inner_loop import ratio, say, turns
from bench_paper_round import edit_lines
from shapes import model_of

from stages.domains.qa import QA
from stages.interfaces import Example
from stages.models.device import Device
from stages.models.libraries import quiet_libraries
from stages.settings import SftConfig
from stages.tokens.tokenization import encode_example
from stages.trainers import outer_losses
from stages.trainers.sft import SupervisedTrainer

MODELS = os.environ.get("MODELS", "tiny").split(",")
EXAMPLES, EPOCHS = int(os.environ.get("EXAMPLES", "8")), int(os.environ.get("EPOCHS", "1"))
DEVICE = Device("cpu", os.environ.get("DTYPE", "float32"))
REPEATS = int(os.environ.get("REPEATS", "3"))


def make_examples() -> list[Example]:
    domain = QA()
    lines = [line for line in edit_lines() if line.edit and line.edit.completion][:EXAMPLES]
    return [
        Example(domain.edit_prompt(line.task, "implications", chat=False), line.edit.completion or "")
        for line in lines
        if line.edit
    ]


def train(model: Path, examples: Sequence[Example], out: Path, keeps_head: bool) -> None:
    """Train once. `keeps_head`: no output layer passes for one that can be set aside, so the loss is trl's."""
    own = outer_losses._ends_in_frozen_head
    if keeps_head:
        outer_losses._ends_in_frozen_head = lambda network: False
    try:
        with tempfile.TemporaryDirectory(dir=out) as folder:
            config = SftConfig(epochs=EPOCHS, batch_size=4)
            SupervisedTrainer(str(model), device=DEVICE).finetune(examples, config, Path(folder) / "model")
    finally:
        outer_losses._ends_in_frozen_head = own


def main() -> None:
    quiet_libraries()
    examples, texts = make_examples(), [line.task.context for line in edit_lines()]
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(MODELS):
            model = model_of(name, Path(folder) / str(number), texts)
            tokenizer = SupervisedTrainer(str(model), device=DEVICE).tokenizer
            tokens = EPOCHS * sum(len(encode_example(tokenizer, each, end=True).ids) for each in examples)
            ways = {"trl": True, "ours": False}
            seconds = turns(
                {way: partial(train, model, examples, Path(folder), keeps) for way, keeps in ways.items()}, REPEATS
            )
            for way in ways:
                say(
                    bench="sft",
                    model=Path(name).name,
                    dtype=DEVICE.dtype,
                    loss=way,
                    examples=len(examples),
                    tokens=tokens,
                    repeats=REPEATS,
                    seconds=round(statistics.median(seconds[way]), 2),
                    tokens_per_s=round(tokens / statistics.median(seconds[way]), 1),
                    times_trl=ratio(seconds["trl"], seconds[way]),
                )


if __name__ == "__main__":
    main()
