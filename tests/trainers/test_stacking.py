"""Self-edits onto the model so far: held against a model into which the LoRA before was merged on disk."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from stages.errors import BadConfig
from stages.trainers import stacking
from stages.trainers.batched.trainer import BatchedLoraTrainer
from stages.trainers.peft import PeftTrainer
from stages.trainers.stacking import LoraSum, StackingTrainer
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT32, FLOAT64, exact_model, exact_norms
from tests.trainers.jobs import SMALL, make_job

Weights = dict[str, torch.Tensor]


def weights_of(path: Path | None) -> Weights:
    assert path is not None
    return load_file(path / "adapter_model.safetensors")


@pytest.fixture(params=[PeftTrainer, BatchedLoraTrainer], ids=["peft", "batched"])
def trainer(request: pytest.FixtureRequest, model_dir: Path) -> StackingTrainer:
    return StackingTrainer(request.param(str(model_dir), device=FLOAT32))


def merge_to_disk(model_dir: Path, adapter: Path | None, folder: Path) -> Path:
    """The base with an adapter merged by peft, as a model directory."""
    network = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    PeftModel.from_pretrained(network, str(adapter)).merge_and_unload().save_pretrained(folder)
    for file in model_dir.glob("tokenizer*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_step_is_trained_on_the_model_so_far(trainer: StackingTrainer, model_dir: Path, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in trainer.trainer.network.state_dict().items()}
    first = trainer.fit_on(None, make_job(tmp_path, 1))
    second = trainer.fit_on(first.path, make_job(tmp_path, 2))
    third = trainer.fit_on(second.path, make_job(tmp_path, 3))
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.trainer.network.state_dict().items())
    merged = PeftTrainer(str(merge_to_disk(model_dir, second.path, tmp_path / "merged")), device=FLOAT32)
    (oracle,) = merged.fit([make_job(tmp_path / "oracle", 3)])
    assert third.loss_first == pytest.approx(oracle.loss_first, rel=1e-5)
    assert third.loss_last == pytest.approx(oracle.loss_last, rel=1e-4)
    own, stack = weights_of(oracle.path), weights_of(third.path)
    for name, weight in own.items():
        mine = stack[name][6:] if "lora_A" in name else stack[name][:, 6:]
        torch.testing.assert_close(mine, weight, rtol=1e-3, atol=1e-5)
    for name, weight in weights_of(second.path).items():  # what was there is there, bit by bit
        mine = stack[name][:6] if "lora_A" in name else stack[name][:, :6]
        assert torch.equal(mine, weight)
    found = LoraSum.read(third.path or Path())
    assert (found.rank, found.alpha) == (9, 18.0)


def test_the_stack_is_the_function_that_merging_each_lora_into_the_weights_gives(
    model_dir: Path, tmp_path: Path
) -> None:
    """The paper's way, by peft itself in float64: train, merge, train the next on the merged weights."""
    stacking, merging = (PeftTrainer(str(model_dir), device=FLOAT64) for _ in range(2))
    exact_norms(stacking.network)
    exact_norms(merging.network)
    before: Path | None = None
    for number in range(3):
        before = StackingTrainer(stacking).fit_on(before, make_job(tmp_path / "stack", number)).path
        (own,) = merging.fit([make_job(tmp_path / "own", number)])
        merging.network = PeftModel.from_pretrained(merging.network, str(own.path)).merge_and_unload()
        merging.network.requires_grad_(False)
    ids = torch.arange(5, 45)[None]
    stacked = PeftModel.from_pretrained(exact_model(model_dir), str(before))
    merged, plain = merging.network(ids).logits, exact_model(model_dir)(ids).logits
    assert (stacked(ids).logits - merged).abs().max() < BEYOND_ROUNDING
    assert (plain - merged).abs().max() > 1e6 * BEYOND_ROUNDING


def test_an_update_that_is_not_accepted_is_seen_whole_and_leaves_nothing(
    trainer: StackingTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trainer.fit_on(None, make_job(tmp_path, 1))
    plain = {name: weight.clone() for name, weight in trainer.trainer.network.state_dict().items()}
    shown: list[Weights] = []

    def accept(path: Path, verdict: bool) -> bool:
        assert all(torch.equal(weight, plain[name]) for name, weight in trainer.trainer.network.state_dict().items())
        shown.append(weights_of(path))
        return verdict

    refused = trainer.fit_on(first.path, make_job(tmp_path, 2), accept=lambda path: accept(path, False))
    written, write = list[Path](), stacking.write_adapter
    monkeypatch.setattr(stacking, "write_adapter", lambda out, *of: written.append(out) or write(out, *of))
    grown = trainer.fit_on(first.path, make_job(tmp_path, 3), accept=lambda path: accept(path, True))
    assert len(written) == 1  # what was accepted is what is kept
    for found, wanted in ((refused.path, weights_of(first.path)), (grown.path, shown[1])):
        own = weights_of(found)
        assert own.keys() == wanted.keys() and all(torch.equal(own[name], weight) for name, weight in wanted.items())
    assert {weight.shape[0] for name, weight in shown[0].items() if "lora_A" in name} == {6}
    assert refused.error is None and refused.steps
    assert not list(tmp_path.glob("*.part"))


def test_a_training_that_diverges_leaves_the_model_as_it_was(trainer: StackingTrainer, tmp_path: Path) -> None:
    wild = replace(SMALL, learning_rate=1e39, epochs=1, batch_size=5)
    first = trainer.fit_on(None, make_job(tmp_path, 1, wild))
    assert str(first.error).startswith("training diverged")
    nothing = LoraSum.read(first.path or Path())
    assert nothing.rank == 3
    assert all(not weight.any() for side in (nothing.down, nothing.up) for weight in side.values())
    second = trainer.fit_on(None, make_job(tmp_path, 2))
    third = trainer.fit_on(second.path, make_job(tmp_path, 3, wild))
    assert third.error is not None
    after, before = weights_of(third.path), weights_of(second.path)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_a_layer_that_cannot_hold_a_stack_is_named(model_dir: Path, tmp_path: Path) -> None:
    trainer = StackingTrainer(PeftTrainer(str(model_dir), device=FLOAT32))
    first = trainer.fit_on(None, make_job(tmp_path, 1))
    layer = next(iter(LoraSum.read(first.path or Path()).down))
    parent, _, name = layer.rpartition(".")
    setattr(trainer.trainer.network.get_submodule(parent), name, torch.nn.Identity())
    with pytest.raises(BadConfig, match="Identity cannot hold a stack of LoRAs"):
        trainer.fit_on(first.path, make_job(tmp_path, 2))
