"""Architectures other than the usual: answers in a batch, and what is said of those that cannot share one."""

from pathlib import Path

import pytest

from stages.engines.base import Request, Sampling
from stages.engines.hf import HFEngine
from tests.engines.architectures import make_architecture
from tests.engines.exact import FLOAT32
from tests.engines.jobs import Notes

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
