"""Architectures other than the usual: answers in a batch, and what is said of those that cannot share one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from stages.engines.hf import HFEngine
from stages.errors import BadConfig, BadInput
from stages.interfaces import Request
from stages.models.adapter_checks import make_adapter_check, make_usability_check
from stages.models.lora_targets import NEVER_CALLED
from stages.settings import Sampling
from stages.trainers.peft import PeftTrainer
from tests.conftest import make_tokenizer
from tests.invented import Notes
from tests.models.architectures import make_architecture
from tests.trainers.exact import FLOAT32, snapshot
from tests.trainers.jobs import SMALL, make_job

TOLD = "other prompts in a batch change what this model says: it completes"
PROMPTS = ["A house.", "What colour is the inn by the bridge?", "Both houses.", "Who keeps bees?", "Courtyards."]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("rwkv", [f"{TOLD} one prompt at a time"]),
        ("recurrent_gemma", [f"{TOLD} prompts of one length together"]),
        ("mamba", []),
    ],
)
def test_no_answer_depends_on_the_prompts_beside_it(tmp_path: Path, kind: str, told: list[str]) -> None:
    model, notes = str(make_architecture(kind, tmp_path / "model")), Notes()
    requests = [
        Request(f"{n}/{temperature}", prompt, Sampling(temperature=temperature, max_tokens=6, seed=n))
        for n, prompt in enumerate(PROMPTS)
        for temperature in (0.0, 1.0)
    ]
    texts = [
        {each.id: each.text for each in HFEngine(model, device=FLOAT32, batch_size=size).sample(requests, notes)}
        for size in (1, 12)
    ]
    assert texts[0] == texts[1]
    assert notes.notes == told


# ---- targets


@pytest.mark.parametrize(
    ("kind", "target", "words"),
    [
        ("gpt2", "q_proj", "--target q_proj: not in this model, which has c_attn, c_fc, c_proj, lm_head"),
        ("mamba", "dt_proj", f"--target dt_proj: {NEVER_CALLED}; take of in_proj, lm_head, x_proj"),
        (
            "mamba",
            "out_proj",
            "--target out_proj: .* incompatible with Mamba-based models .*; take of in_proj, lm_head, ",
        ),
        ("llama4_text", "router", "--target router: it puts out more than a linear layer does; take of "),
    ],
)
def test_a_target_that_the_model_cannot_have_is_refused_with_the_names_that_it_can(
    tmp_path: Path, kind: str, target: str, words: str
) -> None:
    trainer = PeftTrainer(str(make_architecture(kind, tmp_path / "model")), device=FLOAT32)
    before = snapshot(trainer.network)
    with pytest.raises(BadConfig, match=words):
        list(trainer.fit([make_job(tmp_path, 1, replace(SMALL, targets=(target,)))]))
    assert snapshot(trainer.network) == before


@pytest.mark.parametrize("kind", ["mamba", "llama4_text", "mixtral", "gpt2"])
def test_an_adapter_of_every_linear_layer_passes_the_check_of_those_who_use_it(tmp_path: Path, kind: str) -> None:
    """Of Mamba's and Llama 4's layers some are left out; of Mixtral's experts peft adapts the stacked weights."""
    model = str(make_architecture(kind, tmp_path / "model"))
    (result,) = PeftTrainer(model, device=FLOAT32).fit([make_job(tmp_path, 1, replace(SMALL, targets=("all-linear",)))])
    assert result.path
    make_adapter_check(model)(result.path, model)
    assert make_usability_check(model)(result.path)
    prompt, sampling = "What colour is the inn?", Sampling(temperature=0.0, max_tokens=6)
    (own,) = HFEngine(model, device=FLOAT32).sample([Request("0", prompt, sampling, result.path)])
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), result.path).eval()
    ids = make_tokenizer()(prompt, return_tensors="pt")["input_ids"]
    grown = network.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6)
    assert own.text == make_tokenizer().decode(grown[0, ids.shape[1] :], skip_special_tokens=True)


def test_what_would_not_be_accepted_is_not_written(model_dir: Path, tmp_path: Path) -> None:
    def refuse(path: Path, model: str) -> None:
        raise BadInput(f"adapter {path.name}: does not fit {model}")

    trainer = PeftTrainer(str(model_dir), device=FLOAT32)
    trainer.base = replace(trainer.base, check=refuse)
    with pytest.raises(BadConfig, match=r"cannot be used as it was trained: adapter .* does not fit .*--target"):
        list(trainer.fit([make_job(tmp_path, 1)]))
    assert not list(tmp_path.iterdir())


def test_a_model_that_mixes_rows_answers_with_each_ones_own_adapter(tmp_path: Path) -> None:
    model, asked = str(make_architecture("rwkv", tmp_path / "model")), Sampling(temperature=0.0, max_tokens=6)
    jobs = [make_job(tmp_path / "out", n, replace(SMALL, targets=("all-linear",), learning_rate=0.1)) for n in (1, 2)]
    paths = [result.path for result in PeftTrainer(model, device=FLOAT32).fit(jobs)]
    requests = [Request(f"{n}/{prompt}", prompt, asked, path) for n, path in enumerate(paths) for prompt in PROMPTS[:3]]
    texts = [
        {each.id: each.text for each in HFEngine(model, device=FLOAT32, batch_size=size).sample(requests)}
        for size in (1, 6)
    ]
    assert texts[0] == texts[1]
    assert [texts[0][f"0/{prompt}"] for prompt in PROMPTS[:3]] != [texts[0][f"1/{prompt}"] for prompt in PROMPTS[:3]]
