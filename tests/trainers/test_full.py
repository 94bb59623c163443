"""Training in full: against a plain loop over all weights, in bfloat16 with masters, and behind its checkpoints."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from stages.errors import NoSpace, OutOfMemory
from stages.files import TRAINING, TRAINING_FILE, remove_partials
from stages.interfaces import Example, FitJob, TrainingSet
from stages.models import device as device_module
from stages.models.device import Device
from stages.models.tuned_models import read_tuned_model
from stages.settings import FitConfig
from stages.trainers import full
from stages.trainers.batched import memory
from stages.trainers.full import FullTrainer
from stages.trainers.master_weights import CHECKPOINT_BYTES, MasterWeights
from tests.bits import LARGEST, promised
from tests.invented import Notes
from tests.models.architectures import make_architecture
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT32, FLOAT64, distance, exact_norms
from tests.trainers.jobs import Dying, by_id, make_job
from tests.trainers.plain import encoded, plain_full_loop, step_orders

SMALL = FitConfig(method="full", learning_rate=1e-3, epochs=2)
LONG = replace(SMALL, epochs=3, batch_size=2, weight_decay=0.1)  # 9 steps for five texts
BFLOAT16 = Device("cpu", "bfloat16")
Weights = dict[str, torch.Tensor]


def weights_of(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, batch_size=2, accumulation=2, warmup_steps=2, weight_decay=0.3, max_grad_norm=0.05),
        replace(SMALL, batch_size=3, schedule="constant", max_grad_norm=0.0, pad_mode="none"),
    ],
)
def test_a_model_is_what_a_plain_loop_makes_of_it(model_dir: Path, tmp_path: Path, config: FitConfig) -> None:
    job = make_job(tmp_path, 1, config, texts=5)
    trainer = FullTrainer(str(model_dir), device=FLOAT64, tokens_per_step=40)  # several passes a step
    exact_norms(trainer.network)
    notes = Notes()
    (result,) = trainer.fit([job], notes)
    expected, losses = plain_full_loop(model_dir, job)
    assert (result.error, result.path, result.steps, result.sequences) == (None, job.out, len(losses), 5)
    assert (result.loss_first, result.loss_last) == pytest.approx((losses[0], losses[-1]), abs=BEYOND_ROUNDING)
    assert distance(weights_of(job.out), expected) < BEYOND_ROUNDING
    assert (notes.steps, notes.stepped, sum(notes.tokens)) == (len(losses), len(losses), notes.expected)


@pytest.mark.parametrize("kind", ["mamba", "gemma2"])  # a state instead of attention; tied weights and capped logits
def test_architectures_that_cannot_be_packed_are_trained_too(tmp_path: Path, kind: str) -> None:
    model = make_architecture(kind, tmp_path / kind)
    job = make_job(tmp_path, 1, replace(SMALL, batch_size=3, epochs=1), texts=3)
    trainer = FullTrainer(str(model), device=FLOAT64)
    exact_norms(trainer.network)
    (result,) = trainer.fit([job])
    expected, losses = plain_full_loop(model, job)
    found = weights_of(job.out)
    assert result.loss_last == pytest.approx(losses[-1], abs=1e-6)  # parts of these compute in float32
    assert max(float((weight - expected[name]).abs().max()) for name, weight in found.items()) < 1e-5


def test_a_directory_is_a_plain_model_that_says_what_it_was_trained_on(model_dir: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, 1, SMALL)
    list(FullTrainer(str(model_dir), device=FLOAT32).fit([job]))
    network, report = AutoModelForCausalLM.from_pretrained(job.out, output_loading_info=True)
    assert (network.dtype, set(map(len, report.values()))) == (torch.float32, {0})
    about = read_tuned_model(job.out)
    assert (about["adapter"], about["model"]) == ("1", str(model_dir.resolve()))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_each_job_begins_with_the_weights_of_the_models_directory(model_dir: Path, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / "both", number, SMALL) for number in (1, 2)]
    trainer = FullTrainer(str(model_dir), device=FLOAT32)
    assert [result.error for result in trainer.fit(jobs)] == [None, None]
    again = make_job(tmp_path / "alone", 2, SMALL)
    list(trainer.fit([again]))
    for name in ("model.safetensors", "seal.json"):
        assert (again.out / name).read_bytes() == (jobs[1].out / name).read_bytes()
    assert weights_of(again.out).keys() == weights_of(jobs[0].out).keys()


def test_a_training_that_diverges_or_cannot_begin_has_no_directory(model_dir: Path, tmp_path: Path) -> None:
    wild = replace(SMALL, learning_rate=1e30, max_grad_norm=0.0)
    long = replace(make_job(tmp_path, 2, SMALL), lesson=TrainingSet((Example("", "a " * 900),)))
    found = by_id(FullTrainer(str(model_dir), device=FLOAT32).fit([make_job(tmp_path, 1, wild), long]))
    assert "training diverged" in (found["1"].error or "")
    assert "the model's context of 512" in (found["2"].error or "")
    assert [found["1"].path, found["2"].path, *tmp_path.iterdir()] == [None, None]


# ---- bfloat16 with float32 masters


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """This CPU may only emulate it, which is refused."""
    monkeypatch.setattr(device_module, "has_fast_bfloat16", lambda: True)


def masters_by_hand(folder: Path, job: FitJob, *, masters: bool = True) -> Weights:
    """One sequence a step in bfloat16; without masters AdamW updates the bfloat16 weights themselves."""
    wide = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).train()
    weights = dict(network.named_parameters())
    own = {name: wide[name].clone().requires_grad_() for name in weights} if masters else weights
    optimizer = torch.optim.AdamW(own.values(), lr=job.config.learning_rate, weight_decay=0, fused=True)
    rows = encoded(job)
    for step in step_orders(job, len(rows)):
        ids, labels = (torch.tensor([each]) for each in rows[step[0]])
        logits = network(input_ids=ids, use_cache=False).logits[0, :-1].float()
        cross_entropy(logits, labels[0, 1:]).backward()
        for name, weight in weights.items():
            own[name].grad = weight.grad.to(own[name].dtype)  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(own.values(), job.config.max_grad_norm)
        optimizer.step()
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(own[name])
                weight.grad = own[name].grad = None
    return {name: weight.detach() for name, weight in weights.items()}


def test_bfloat16_computes_beside_float32_masters(model_dir: Path, tmp_path: Path, bfloat16: None) -> None:
    job = make_job(tmp_path, 1, replace(SMALL, schedule="constant", learning_rate=1e-4, epochs=3))
    (result,) = FullTrainer(str(model_dir), device=BFLOAT16).fit([job])
    assert result.error is None
    found = weights_of(job.out)
    expected, rounded = masters_by_hand(model_dir, job), masters_by_hand(model_dir, job, masters=False)
    assert {weight.dtype for weight in found.values()} == {torch.bfloat16}

    def count_differences(other: Weights) -> int:
        return sum(int((found[name] != other[name]).sum()) for name in other)

    total = sum(weight.numel() for weight in expected.values())
    assert count_differences(expected) <= total // 1000  # the loss is summed in another order
    assert count_differences(rounded) > total // 10  # most updates are less than its last digit


# ---- a training that died


@pytest.fixture(scope="module")
def drawing(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that draws numbers while it is trained."""
    folder = tmp_path_factory.mktemp("drawing") / "model"
    shutil.copytree(model_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.2}))
    return folder


def count_weights(folder: Path) -> int:
    return sum(weight.numel() for weight in weights_of(folder).values())


def train(model: Path, job: FitJob, notes: Notes, *, every: int | None = 4, device: Device = FLOAT32) -> Notes:
    list(FullTrainer(str(model), device=device, tokens_per_step=60, checkpoint_every=every).fit([job], notes))
    return notes


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "that draws numbers"])
def test_a_training_that_died_goes_on_behind_its_last_checkpoint_to_the_same_bits(
    model_dir: Path, drawing: Path, tmp_path: Path, kind: str, bfloat16: None
) -> None:
    model, device = drawing if "draws" in kind else model_dir, BFLOAT16 if kind == "bfloat16" else FLOAT32
    whole, job = make_job(tmp_path / "whole", 1, LONG, texts=5), make_job(tmp_path / "died", 1, LONG, texts=5)
    train(model, whole, Notes(), every=None, device=device)
    with pytest.raises(KeyboardInterrupt):
        train(model, job, Dying(7), device=device)
    remove_partials(job.out.parent, ["1"])  # as a run does that goes on
    size = (job.out.parent / f"1{TRAINING}" / TRAINING_FILE).stat().st_size
    assert size // count_weights(whole.out) == CHECKPOINT_BYTES[device.resolve()[1]]
    notes = train(model, job, Notes(), device=device)
    assert notes.notes == ["adapter 1 goes on behind step 4 of 9"]
    assert (notes.stepped, sum(notes.tokens)) == (9, notes.expected)
    assert distance(weights_of(job.out), weights_of(whole.out)) <= (0.0 if promised() else LARGEST)
    assert [path.name for path in job.out.parent.iterdir()] == ["1"]


def test_a_weight_without_a_gradient_at_some_steps_goes_on_with_its_own_count_of_updates(tmp_path: Path) -> None:
    def update(weights: MasterWeights, names: Sequence[str]) -> None:
        for name in names:
            weights.weights[name].square().sum().backward()  # type: ignore[no-untyped-call]
        weights.step(1e-2, 1.0)

    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    whole = MasterWeights(network, torch.float32, 0.1)
    update(whole, ["weight", "bias"])
    update(whole, ["weight"])  # as of an expert that no token of the step was sent to
    save_file(whole.get_state(), tmp_path / "state")
    resumed = MasterWeights(torch.nn.Linear(3, 2), torch.float32, 0.1)
    with safe_open(tmp_path / "state", "pt") as file:
        resumed.set_state(file)
    for each in (whole, resumed):
        update(each, ["weight", "bias"])
    assert all(torch.equal(resumed.masters[name], master) for name, master in whole.masters.items())


def test_the_memory_that_a_pass_may_take_is_counted_before_the_moments_of_a_checkpoint_take_theirs(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, notes, told = make_job(tmp_path, 1, LONG, texts=5), Notes(), list[list[str]]()
    with pytest.raises(KeyboardInterrupt):
        train(model_dir, job, Dying(4))
    monkeypatch.setattr(memory, "get_free_bytes", lambda device: told.append(list(notes.notes)) or 10**9)
    list(FullTrainer(str(model_dir), device=FLOAT32, checkpoint_every=4).fit([job], notes))
    assert (told, notes.notes) == ([[]], ["adapter 1 goes on behind step 4 of 9"])


@pytest.mark.parametrize("damage", ["torn", "another job", "another precision", "another trainer's"])
def test_a_checkpoint_that_is_torn_or_another_trainings_is_not_taken_up(
    model_dir: Path, tmp_path: Path, damage: str
) -> None:
    job = make_job(tmp_path, 1, replace(LONG, epochs=2), texts=5)
    with pytest.raises(KeyboardInterrupt):
        other = replace(job, id="2") if damage == "another job" else job
        train(model_dir, other, Dying(4), device=FLOAT64 if damage == "another precision" else FLOAT32)
    (file,) = tmp_path.glob(f"1{TRAINING}/{TRAINING_FILE}")
    data = file.read_bytes()
    if damage == "torn":
        file.write_bytes(data[:-40])
    elif damage == "another trainer's":
        file.write_bytes(data.replace(b"cpu torch.float32 full", b"cpu torch.float32 bmmm"))
    assert train(model_dir, job, Notes()).notes == []
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


# ---- memory and disk


def test_a_pass_that_does_not_fit_is_halved_and_nothing_counts_twice(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, plain = replace(SMALL, batch_size=5), full.sum_losses

    def sum_some(network: Any, batch: Any) -> Any:
        if len(batch) > 2:
            raise RuntimeError("out of memory")
        return plain(network, batch)

    notes = Notes()
    found, expected = (make_job(tmp_path / name, 1, config, texts=5) for name in ("small", "large"))
    list(FullTrainer(str(model_dir), device=FLOAT64, tokens_per_step=999).fit([expected]))
    monkeypatch.setattr(full, "sum_losses", sum_some)
    list(FullTrainer(str(model_dir), device=FLOAT64, tokens_per_step=999).fit([found], notes))
    assert distance(weights_of(found.out), weights_of(expected.out)) < 1e-9  # norms are of float32
    assert notes.notes[0].startswith("memory ran out: from here on about ")
    assert sum(notes.tokens) == notes.expected
    monkeypatch.setattr(full, "sum_losses", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(OutOfMemory, match="does not fit into the device's memory; take --dtype bfloat16"):
        list(FullTrainer(str(model_dir), device=FLOAT64, tokens_per_step=999).fit([expected]))


def test_what_the_device_or_the_disk_cannot_hold_is_refused_before_the_training(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = FullTrainer(str(model_dir), device=FLOAT32, checkpoint_every=1)
    monkeypatch.setattr(full, "get_free_bytes", lambda place: 1000)
    with pytest.raises(OutOfMemory, match=r"--method full: .* weights with masters, .* GB are free on cpu"):
        FullTrainer(str(model_dir), device=FLOAT32)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 0, 500_000))  # type: ignore[attr-defined]
        with pytest.raises(NoSpace, match="1 models and their checkpoints need"):
            list(trainer.fit([make_job(tmp_path, 1, SMALL)]))
    assert not any(tmp_path.iterdir())
