"""Short answers of many LoRA adapters: peft one prompt at a time, peft in batches, and all adapters in one batch.

    OMP_NUM_THREADS=1 python tests/bench/bench_answers.py
    ADAPTERS=64 TOKENS=64 BATCH=256 REPEATS=5 MODELS=tiny python …      longer answers, larger batches
    MODELS=qwen2.5-0.5b,gemma3-270m python …      real vocabularies: some minutes; or the directory of a model

One JSON line a contender: the median of REPEATS runs, in which the contenders take turns; `times_one_by_one` is the
median of the ratios within a turn, to peft one prompt at a time. Every way includes reading its adapters from disk.
The questions are those of the paper's passages (invented ones where the file is absent), each passage's to an adapter
of its own: SEAL App. B's shape (r 32 on q and v), random on both sides, so that each answers differently. `same` counts
the answers that are token by token those of peft one prompt at a time. An answer ends after TOKENS tokens, or at an end
token, which the random 40M model never says and the tiny one often does.
"""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from bench_inner_loop import ratio, say, turns
from bench_paper_round import edit_lines
from peft import LoraConfig, PeftModel, get_peft_model
from shapes import LARGE, model_of
from transformers import AutoModelForCausalLM, set_seed
from transformers.utils import logging

from stages.domains.qa import QA
from stages.engines.hf import HFEngine
from stages.interfaces import Request
from stages.records.record import Record
from stages.settings import FitConfig, Sampling
from stages.tokens.tokenization import encode_prompt, get_stop_ids

USUAL = {
    "tiny": {"ADAPTERS": 32, "TOKENS": 16, "BATCH": 0, "REPEATS": 3},
    "40M": {"ADAPTERS": 12, "TOKENS": 16, "BATCH": 0, "REPEATS": 3},
    **{key: {"ADAPTERS": 4, "TOKENS": 8, "BATCH": 0, "REPEATS": 1} for key in LARGE},
}  # two minutes on one core; BATCH 0 is the engine's own default
MODELS = os.environ.get("MODELS", "tiny,40M").split(",")
NOISE = {"tiny": 0.02}  # else 0.05: the size of B's weights: answers change, and stay answers
Answers = dict[str, str]


def make_adapters(base: Path, out: Path, count: int, noise: float) -> list[Path]:
    """PEFT directories of SEAL App. B's shape."""
    config, network = FitConfig(), AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = LoraConfig(r=config.rank, lora_alpha=int(config.alpha), task_type="CAUSAL_LM")
    student = get_peft_model(network, settings)
    folders = [out / f"adapter-{number}" for number in range(count)]
    for seed, folder in enumerate(folders):
        set_seed(seed)
        for name, weight in student.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=noise if "lora_B" in name else weight.shape[1] ** -0.5)
        student.save_pretrained(folder, save_embedding_layers=False)
    return folders


def make_requests(lines: Sequence[Record], adapters: Sequence[Path], tokens: int) -> list[list[Request]]:
    """Each passage's questions, closed-book, to an adapter of its own."""
    passages = {line.task.id: line.task for line in lines}.values()
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=tokens)
    return [
        [
            Request(f"{path.name} {query.id}", query.prompt, greedy, path)
            for query in QA().queries(task, in_context=False, chat=False)
        ]
        for path, task in zip(adapters, passages, strict=False)
    ]


class Peft:
    """peft's own ways, on a model that stays in memory: adapters come from disk and leave again."""

    def __init__(self, model: Path, engine: HFEngine) -> None:
        self.base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.tokenizer, self.ends = engine.tokenizer, get_stop_ids(engine.tokenizer, self.base)

    def one_by_one(self, groups: Sequence[Sequence[Request]]) -> Answers:
        return self._in_turn(groups, [[request] for group in groups for request in group])

    def adapter_by_adapter(self, groups: Sequence[Sequence[Request]]) -> Answers:
        return self._in_turn(groups, groups)

    def _in_turn(self, groups: Sequence[Sequence[Request]], batches: Sequence[Sequence[Request]]) -> Answers:
        found: Answers = {}
        for group in groups:
            student = PeftModel.from_pretrained(self.base, str(group[0].adapter)).eval()
            for batch in batches:
                if batch[0].adapter == group[0].adapter:
                    found |= self._generate(student, batch)
            student.unload()
        return found

    def mixed(self, groups: Sequence[Sequence[Request]], size: int) -> Answers:
        """peft's mixed batches: all adapters on the model, each row with the name of its own."""
        student = PeftModel.from_pretrained(self.base, str(groups[0][0].adapter), adapter_name="adapter-0").eval()
        for group in groups[1:]:
            student.load_adapter(str(group[0].adapter), str(group[0].adapter and group[0].adapter.name))
        requests = [request for group in groups for request in group]
        found: Answers = {}
        for start in range(0, len(requests), size):
            batch = requests[start : start + size]
            names = [str(request.adapter and request.adapter.name) for request in batch]
            found |= self._generate(student, batch, adapter_names=names)
        student.unload()
        return found

    @torch.inference_mode()
    def _generate(self, student: Any, batch: Sequence[Request], **more: Any) -> Answers:
        prompts = [encode_prompt(self.tokenizer, request.prompt) for request in batch]
        padded = self.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        most = batch[0].sampling.max_tokens
        settings = {"max_new_tokens": most, "do_sample": False, "pad_token_id": self.tokenizer.pad_token_id}
        grown = student.generate(**padded, **settings, **more)[:, padded["input_ids"].shape[1] :].tolist()
        return {request.id: self._text(row) for request, row in zip(batch, grown, strict=True)}

    def _text(self, row: Sequence[int]) -> str:
        stop = next((place for place, token in enumerate(row) if token in self.ends), len(row))
        return str(self.tokenizer.decode(row[:stop], skip_special_tokens=True))


def bench(name: str, model: Path, lines: Sequence[Record], out: Path) -> None:
    sizes = {key: int(os.environ.get(key, usual)) for key, usual in USUAL.get(name, USUAL[LARGE[-1]]).items()}
    groups = make_requests(lines, make_adapters(model, out, sizes["ADAPTERS"], NOISE.get(name, 0.05)), sizes["TOKENS"])
    requests = [request for group in groups for request in group]
    engine = HFEngine(str(model), **({"batch_size": sizes["BATCH"]} if sizes["BATCH"] else {}))
    peft, answers = Peft(model, engine), dict[str, Answers]()
    ways: Mapping[str, Callable[[], Answers]] = {
        "peft, one prompt at a time": lambda: peft.one_by_one(groups),
        "peft, one adapter after the other": lambda: peft.adapter_by_adapter(groups),
        "peft, mixed adapter_names": lambda: peft.mixed(groups, engine.batch_size),
        "many adapters in a batch": lambda: {answer.id: answer.text for answer in engine.sample(requests)},
    }
    works = {way: lambda way=way: answers.__setitem__(way, ways[way]()) for way in ways}  # type: ignore[misc]
    seconds = turns(works, sizes["REPEATS"])
    first = "peft, one prompt at a time"
    for way, times in seconds.items():
        taken = sorted(times)[len(times) // 2]
        say(
            bench="answers",
            model=name,
            engine=way,
            adapters=len(groups),
            answers=len(requests),
            same=sum(answers[way][request.id] == answers[first][request.id] for request in requests),
            different=len(set(answers[way].values())),
            max_tokens=sizes["TOKENS"],
            batch=engine.batch_size,
            repeats=sizes["REPEATS"],
            seconds=round(taken, 3),
            answers_per_s=round(len(requests) / taken, 2),
            times_one_by_one=ratio(seconds[first], times),
        )


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    lines = edit_lines()
    texts = [line.task.context + "\n" + (line.edit.completion if line.edit else "") for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            out = Path(folder) / name
            bench(name, model_of(name, out / "model", texts), lines, out)


if __name__ == "__main__":
    main()
