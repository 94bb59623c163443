"""Updates of a service that speaks Tinker's protocol beside those of the peft trainer, from the same first weights.

python -m tests.bench.tinker_updates DIR --base-url URL [--base-model NAME]

The first weights are those of a training at rate 0 from the same seed. The local LoRA has one lora_A for q, k and v,
and one for gate and up, as SkyRL's server has them; --apart: one each, as peft. A line for each setting: how far
weights moved at most, and by how much the two differ at most.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import set_peft_model_state_dict
from safetensors.torch import load_file

from stages.errors import SealError
from stages.models.loading import load_model, load_tokenizer
from stages.settings import FitConfig
from stages.trainers.jobs import encode_jobs
from stages.trainers.peft import _train, add_lora
from stages.trainers.tinker.trainer import TinkerTrainer
from tests.trainers.exact import FLOAT32
from tests.trainers.jobs import Notes, make_job

PLAIN = FitConfig(rank=4, alpha=32.0, targets=("all-linear",), learning_rate=1e-2, epochs=2, max_grad_norm=0.0)
SETTINGS = {
    "plain": replace(PLAIN, warmup_steps=1),
    "weight decay": replace(PLAIN, weight_decay=0.1, schedule="cosine"),
    "batches of 2": replace(PLAIN, batch_size=2),
    "clip": replace(PLAIN, max_grad_norm=0.05),
    "attention alone": replace(PLAIN, targets=("q_proj", "k_proj", "v_proj", "o_proj")),
}
SHARED = (("self_attn", ("q_proj", "k_proj", "v_proj")), ("mlp", ("gate_proj", "up_proj")))
Weights = Mapping[str, torch.Tensor]


def train_here(model: str, job: Any, start: Weights, *, apart: bool) -> Weights:
    """The trained LoRA, from these first weights."""
    network = load_model(model, FLOAT32)
    student = add_lora(network, job.config)
    set_peft_model_state_dict(student, dict(start))
    for block in () if apart else student.get_base_model().model.layers:
        for part, names in SHARED:
            first, *others = (getattr(getattr(block, part), name).lora_A["default"] for name in names)
            for other in others:
                other.weight = first.weight
    (active,) = run_to_end(encode_jobs(load_tokenizer(model), network, [job]))
    _train(student, active, Notes())
    own = student.state_dict()
    return {name: own[name.replace(".weight", ".default.weight")] for name in start}


def run_to_end(steps: Any) -> Any:
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--base-model")
    parser.add_argument("--apart", action="store_true")
    given = parser.parse_args()
    trainer = TinkerTrainer(given.model, base_url=given.base_url, base_model=given.base_model, slots=1)
    with TemporaryDirectory() as folder:
        for number, (name, config) in enumerate(SETTINGS.items()):
            still = make_job(Path(folder, f"still-{number}"), 3, replace(config, learning_rate=0.0))
            job = make_job(Path(folder, f"moved-{number}"), 3, config)
            try:
                start, there = (fetch(trainer, each) for each in (still, job))
            except SealError as error:
                print(json.dumps({"setting": name, "refused": str(error)}), flush=True)
                continue
            here = train_here(given.model, job, start, apart=given.apart)
            moved, differ = (
                max(float((here[key] - other[key]).abs().max()) for key in here) for other in (start, there)
            )
            print(json.dumps({"setting": name, "moved": moved, "differ": differ}), flush=True)


def fetch(trainer: TinkerTrainer, job: Any) -> Weights:
    (result,) = trainer.fit([job])
    assert result.path, result.error
    return load_file(result.path / "adapter_model.safetensors")


if __name__ == "__main__":
    main()
