"""The stages' defaults by domain: the paper's settings. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.settings import ANSWERING, FitConfig, Sampling


@dataclass(frozen=True)
class Defaults:
    """How self-edits are asked for, trained on and measured."""

    template: str
    samples: int  # self-edits per task
    writing: Sampling
    answering: Sampling
    fit: FitConfig
    chat: bool  # whether prompts are chats, where neither a flag nor the engine says so


DEFAULTS: Mapping[str, Defaults] = {
    "qa": Defaults(
        template="implications",
        samples=5,  # SEAL App. B: k = 5
        writing=Sampling(),
        answering=ANSWERING,
        fit=FitConfig(),
        chat=False,
    ),
    "arc": Defaults(
        template="tools",
        samples=15,  # SEAL, few-shot: 15 in training, 5 in evaluation
        writing=Sampling(temperature=0.8, top_p=1.0, max_tokens=128),  # SEAL, few-shot; top_p: vLLM's default
        answering=Sampling(temperature=0.0, top_p=1.0, max_tokens=2048),  # a 30 x 30 grid has 1,861 characters
        fit=FitConfig(
            rank=128,  # this and all that follows: official self-edit.py
            alpha=16.0,
            targets=("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"),
            learning_rate=1e-4,  # the oracle's; a self-edit chooses its own
            epochs=2,  # the oracle's, too
            batch_size=2,
            schedule="cosine",
            warmup_steps=11,
        ),
        chat=True,  # the paper's model is an instruct model
    ),
}
