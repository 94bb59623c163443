"""Weighted cross-entropy and preferences: against plain torch in double precision, and against trl's own tokens."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from stages import filter as filter_stage
from stages.errors import BadConfig
from stages.interfaces import Example
from stages.models.device import Device
from stages.models.loading import load_model, load_tokenizer
from stages.records.jsonl import to_json
from stages.records.record import Message
from stages.settings import SftConfig
from stages.sources.training_pairs import read_pair
from stages.tokens.tokenization import Tokens
from stages.trainers import outer_losses
from stages.trainers.batched import chunked_loss
from stages.trainers.outer_losses import EncodedRow, encode_rows, make_outer_trainer
from stages.trainers.sft import SupervisedTrainer
from tests.conftest import END, make_tokenizer
from tests.invented import a_line, numbered
from tests.models.architectures import make_architecture
from tests.models.broken import edit
from tests.trainers.test_sft import Loss, Weights, distance, plain_loop, weights_of

DOUBLE = Device("cpu", "float64")
BATCH = 4  # all examples at once: whatever their order, a step is the same
FULL = SftConfig(full=True, learning_rate=1e-3, epochs=3, batch_size=BATCH)
LORA = SftConfig(
    rank=2, alpha=8.0, targets=("q_proj", "down_proj"), learning_rate=1e-2, epochs=3, batch_size=BATCH, micro_batch=2
)
EXAMPLES = [
    Example("Passage: The inn is red.\nImplications:\n", "The inn has a colour.", weight=1.25, rejected="It is."),
    Example("Passage:\n", "It is old, and nobody has painted it for years.", weight=-0.5, rejected="It is new."),
    Example("Passage: Who painted it? It was Ada, in spring.\n", "Ada paints.", weight=0.0, rejected="No, nobody did."),
    Example("P", "a", weight=-0.75, rejected="b"),
]
EVEN = [replace(each, weight=1.0) for each in EXAMPLES]


def tune(model: Path, out: Path, config: SftConfig, examples: list[Example] = EXAMPLES) -> tuple[Weights, list[float]]:
    made = SupervisedTrainer(str(model), device=DOUBLE).finetune(examples, config, out)
    return weights_of(out), [made.loss_first, made.loss_last]


def log_chances(network: Any, prompt: str, completion: str) -> torch.Tensor:
    """The log-probability of each token of the completion and of its end."""
    tokenizer = make_tokenizer()
    front, text = (tokenizer(part)["input_ids"] for part in (prompt, completion + END))
    chances = network(input_ids=torch.tensor([front + text])).logits[0].log_softmax(-1)
    picked: torch.Tensor = chances[range(len(front) - 1, len(front) + len(text) - 1), text]
    return picked


def weighted_loss(student: Any, _before: Any) -> torch.Tensor:
    rows = [log_chances(student, str(each.prompt), each.completion) for each in EXAMPLES]
    weighed = [-each.weight * row.sum() for each, row in zip(EXAMPLES, rows, strict=True)]
    return torch.stack(weighed).sum() / sum(len(row) for row in rows)


def preference_loss(beta: float) -> Loss:
    def gain(student: Any, before: Any, prompt: str, completion: str) -> torch.Tensor:
        with torch.no_grad():
            known = log_chances(before, prompt, completion).sum()
        return log_chances(student, prompt, completion).sum() - known

    def compute(student: Any, before: Any) -> torch.Tensor:
        margins = [
            gain(student, before, str(each.prompt), each.completion)
            - gain(student, before, str(each.prompt), str(each.rejected))
            for each in EXAMPLES
        ]
        return -torch.nn.functional.logsigmoid(beta * torch.stack(margins)).mean()

    return compute


@pytest.mark.parametrize("config", [FULL, LORA], ids=["full", "lora"])
def test_a_weighted_training_is_that_of_plain_torch(model_dir: Path, tmp_path: Path, config: SftConfig) -> None:
    made, told = tune(model_dir, tmp_path / "tuned", replace(config, loss="weighted"))
    expected, losses = plain_loop(model_dir, config, weighted_loss, torch.float64)
    assert distance(made, expected) < 1e-9
    assert told == pytest.approx([losses[0], losses[-1]], abs=1e-6)


@pytest.mark.parametrize("config", [FULL, LORA], ids=["full", "lora"])
def test_a_training_on_preferences_is_that_of_plain_torch(model_dir: Path, tmp_path: Path, config: SftConfig) -> None:
    made, told = tune(model_dir, tmp_path / "tuned", replace(config, loss="dpo", beta=0.3))
    expected, losses = plain_loop(model_dir, config, preference_loss(0.3), torch.float64)
    assert distance(made, expected) < 1e-5  # trl's log-probabilities are in single precision
    assert told == pytest.approx([losses[0], losses[-1]], abs=1e-5)
    assert told[0] == pytest.approx(0.693147, abs=1e-5)  # nothing is preferred yet


@pytest.mark.parametrize("loss", ["dpo", "weighted"])
def test_a_last_pass_that_is_short_changes_no_loss(model_dir: Path, tmp_path: Path, loss: Any) -> None:
    config = replace(LORA, loss=loss, epochs=2)
    one, two = (
        tune(model_dir, tmp_path / f"{size}", replace(config, micro_batch=size), EXAMPLES[:3])[0] for size in (1, 2)
    )
    assert distance(one, two) < 1e-5


def test_with_all_weights_1_it_is_the_default_loss(model_dir: Path, tmp_path: Path) -> None:
    config = replace(LORA, batch_size=2, micro_batch=1)
    plain, losses = tune(model_dir, tmp_path / "plain", config, EVEN)
    made, told = tune(model_dir, tmp_path / "weighted", replace(config, loss="weighted"), EVEN)
    assert distance(made, plain) < 1e-6
    assert told == pytest.approx(losses, abs=1e-5)


@pytest.mark.parametrize("loss", ["sft", "weighted"])
def test_the_losses_are_those_of_targets_and_no_word_of_the_prompt_meets_the_output_layer(
    model_dir: Path, tmp_path: Path, loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, take = list[int](), chunked_loss.ChunkedCrossEntropy.apply

    def count(states: torch.Tensor, *rest: Any) -> Any:
        taken.append(len(states))
        return take(states, *rest)

    monkeypatch.setattr(chunked_loss.ChunkedCrossEntropy, "apply", count)
    tune(model_dir, tmp_path / "tuned", replace(LORA, epochs=1, loss=loss))
    targets = sum(len(make_tokenizer()(each.completion + END)["input_ids"]) for each in EXAMPLES)
    assert sum(taken) == targets
    tune(model_dir, tmp_path / "full", replace(FULL, epochs=1, loss=loss))
    assert sum(taken) == targets, "an output layer that is trained needs a gradient of its own"


def mean_loss(student: Any, _before: Any) -> torch.Tensor:
    return -torch.cat([log_chances(student, str(each.prompt), each.completion) for each in EVEN]).mean()


@pytest.mark.parametrize("loss", ["sft", "weighted"])
@pytest.mark.parametrize("kind", ["gemma3_text", "llama4_text", "cohere", "gemma2"])
def test_logits_that_are_scaled_or_capped_behind_the_output_layer_are_learned_as_such(
    tmp_path: Path, kind: str, loss: Any
) -> None:
    """Gemma 3 and Llama 4 end in their output layers, Cohere scales the logits, Gemma 2 caps them."""
    folder, config = make_architecture(kind, tmp_path / kind), replace(LORA, loss=loss)
    if kind == "cohere":
        edit(folder / "config.json", logit_scale=0.3)  # with a power of 2, the states may as well be scaled
    if kind == "llama4_text":
        config = replace(config, targets=("q_proj",))
    made, told = tune(folder, tmp_path / "tuned", config, EVEN)
    expected, losses = plain_loop(folder, config, mean_loss, torch.float64)
    assert told == pytest.approx([losses[0], losses[-1]], abs=1e-5)
    assert distance(made, {name: expected[name] for name in made}) < 1e-5  # trl's losses are in single precision


@pytest.mark.parametrize("loss", ["sft", "weighted"])
def test_a_model_that_looks_at_its_output_layer_keeps_it(tmp_path: Path, loss: Any) -> None:
    folder = make_architecture("mamba", tmp_path / "mamba")
    config = replace(LORA, loss=loss, epochs=1, targets=("in_proj",))
    _, (told, _) = tune(folder, tmp_path / "tuned", config, EVEN)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    assert told == pytest.approx(mean_loss(network, network).item(), abs=1e-5)


@pytest.mark.parametrize("loss", ["sft", "weighted"])
def test_states_that_autocast_has_widened_meet_a_narrow_output_layer(
    model_dir: Path, tmp_path: Path, loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU in bfloat16."""
    config, narrow = replace(LORA, loss=loss, epochs=1), Device("cpu", "bfloat16")
    plain = SupervisedTrainer(str(model_dir), device=narrow).finetune(EVEN, config, tmp_path / "plain")
    make = outer_losses._make_settings
    monkeypatch.setattr(outer_losses, "_make_settings", lambda *given: {**make(*given), "bf16": True})
    mixed = SupervisedTrainer(str(model_dir), device=narrow).finetune(EVEN, config, tmp_path / "mixed")
    assert mixed.loss_first == pytest.approx(plain.loss_first, rel=0.01)


def test_a_pass_without_targets_has_no_loss_and_a_gradient_of_zeros(model_dir: Path, tmp_path: Path) -> None:
    network = load_model(str(model_dir), DOUBLE)
    rows = encode_rows(load_tokenizer(str(model_dir)), EVEN)
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    trainer = make_outer_trainer(network, make_tokenizer(), rows, LORA, lora, str(tmp_path))
    ids = torch.tensor([rows[0].tokens.ids])
    inputs = {"input_ids": ids, "labels": torch.full_like(ids, -100), "weight": torch.ones(1)}
    with outer_losses._without_head(network) as trainer.head:
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
    grads = [weight.grad for weight in trainer.model.parameters() if weight.requires_grad]
    assert loss.item() == 0 and all(grad is not None and not grad.any() for grad in grads)


def test_an_output_layer_with_a_way_of_its_own_stays_in_the_model(model_dir: Path) -> None:
    class Louder(torch.nn.Linear):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(states)

    network = load_model(str(model_dir), DOUBLE).requires_grad_(False)
    assert outer_losses._ends_in_frozen_head(network)
    network.lm_head.__class__ = Louder
    assert not outer_losses._ends_in_frozen_head(network)


def test_the_settings_of_another_loss_are_not_those_of_the_default(model_dir: Path) -> None:
    assert {"loss", "beta"}.isdisjoint(LORA.get_used_settings())
    assert replace(LORA, loss="dpo").get_used_settings() == {**LORA.get_used_settings(), "loss": "dpo", "beta": 0.1}
    assert replace(LORA, loss="weighted").get_used_settings() == {**LORA.get_used_settings(), "loss": "weighted"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (replace(LORA, beta=0.5), "--beta 0.5: is of --loss dpo; leave it out, or give that"),
        (replace(LORA, loss="dpo", beta=0.0), "--beta 0: with 0 no pair teaches anything"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config: SftConfig, words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        config.check()
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("prompt", ["Read about Ødegård.\n", (Message(role="user", content="Read about Ødegård."),)])
def test_trl_itself_takes_the_pairs_of_filter_and_learns_the_same(
    chat_dir: Path, tmp_path: Path, prompt: str | tuple[Message, ...]
) -> None:
    task = numbered("Ada", 2)
    lines = [
        a_line(task, [True, sample == 1], sample=sample, completion=f"An inn.\nIt is {sample}.") for sample in (0, 1)
    ]
    asked = [line.grow(edit=line.edit.model_copy(update={"prompt": prompt})) for line in lines if line.edit]
    (pair,) = (json.loads(to_json(line)) for line in filter_stage.run(asked, form="pairs").lines())
    tokenizer = load_tokenizer(str(chat_dir))
    (ours,) = encode_rows(tokenizer, list(read_pair(pair, "dpo").examples))
    trainer = DPOTrainer(
        model=str(chat_dir),
        args=DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[]),
        train_dataset=Dataset.from_list([{key: pair[key] for key in ("prompt", "chosen", "rejected")}]),
        processing_class=tokenizer,
    )
    (theirs,) = trainer.train_dataset
    for key, ids in ours.preference.items():
        assert theirs[key][: len(ids)] == ids
        blank = "" if isinstance(prompt, str) or key == "prompt_ids" else "\n"  # behind the end of a turn
        assert tokenizer.decode(theirs[key][len(ids) :]) == blank


def test_a_preference_without_its_other_half_or_with_two_prompts_is_refused() -> None:
    row = EncodedRow(Tokens((1, 2, 3), 2), 1.0, None)
    with pytest.raises(BadConfig, match="an example without a rejected completion; run `seal filter --pairs`"):
        _ = row.preference
    with pytest.raises(BadConfig, match="writes another prompt before chosen than before rejected"):
        _ = replace(row, rejected=Tokens((1, 7, 3), 2)).preference
