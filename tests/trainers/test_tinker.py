"""The tinker trainer against a service of its protocol: the same updates as here, whatever the service does wrong."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages.errors import BadConfig, Denied, Unavailable
from stages.interfaces import FitJob, FitResult
from stages.models.adapter_checks import make_adapter_check
from stages.settings import FitConfig
from stages.trainers.peft import PeftTrainer
from stages.trainers.tinker.archive import read_archive
from stages.trainers.tinker.trainer import TinkerTrainer
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT64
from tests.trainers.jobs import ALL, Notes, by_id, make_job
from tests.trainers.tinker_server import (
    ALPHA,
    ATTENTION,
    MLP,
    NAME,
    Exchange,
    Fault,
    Service,
    delay,
    forget,
    lose_the_answer,
    lose_the_number,
    say,
    serving,
    status,
)

SMALL = FitConfig(rank=2, alpha=ALPHA, targets=ALL, learning_rate=1e-2, epochs=1)
UNCLIPPED = replace(SMALL, max_grad_norm=0.0)  # gradients that count twice change it
WEIGHTS = "adapter_model.safetensors"
ARCHIVE = "training_runs/model_1/checkpoints/0-5"  # of the first job, behind its two steps
KEY = "tml-canary-0123456789"
Faults = Mapping[tuple[str, int], Fault]


def train(
    url: str, model: Path, jobs: list[FitJob], *, progress: Notes | None = None, **named: Any
) -> dict[str, FitResult]:
    limits = {"timeout_s": 5.0, "retry_for_s": 2.0, **named}
    trainer = TinkerTrainer(str(model), base_url=url, base_model=NAME, **limits)
    return by_id(trainer.fit(jobs, progress or Notes()))


def jobs_in(folder: Path, config: FitConfig = SMALL, count: int = 2) -> list[FitJob]:
    return [make_job(folder, number, config, texts=2) for number in range(count)]


@pytest.fixture(scope="module")
def expected(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The adapters of a service that does nothing wrong."""
    folder = tmp_path_factory.mktemp("expected")
    with serving(model_dir) as service:
        found = train(service.url, model_dir, jobs_in(folder, UNCLIPPED))
    return {name: (result.path / WEIGHTS).read_bytes() for name, result in found.items() if result.path}


# ---- the same training


@pytest.mark.parametrize(
    "config",
    [
        replace(SMALL, epochs=2, batch_size=2, weight_decay=0.1, warmup_steps=1),
        replace(SMALL, targets=ATTENTION, schedule="cosine", max_grad_norm=0.05),
        replace(SMALL, targets=MLP, pad_mode="none", max_grad_norm=0.0, accumulation=3, schedule="constant"),
    ],
    ids=["batches", "attention, clipped", "MLP, unclipped"],
)
def test_its_updates_are_those_of_the_peft_trainer(model_dir: Path, tmp_path: Path, config: FitConfig) -> None:
    job = make_job(tmp_path / "here", 3, config, texts=5)
    (here,) = PeftTrainer(str(model_dir), device=FLOAT64).fit([job])
    with serving(model_dir, dtype=torch.float64) as service:
        there = train(service.url, model_dir, [replace(job, out=tmp_path / "there")])["3"]
    found, wanted = (load_file(path / WEIGHTS) for path in (tmp_path / "there", job.out))
    assert found.keys() == wanted.keys()
    assert max(float((found[name] - wanted[name]).abs().max()) for name in found) < BEYOND_ROUNDING
    assert max(float(weight.abs().max()) for name, weight in found.items() if "lora_B" in name) > 1e-3
    assert (there.loss_first, there.loss_last) == pytest.approx((here.loss_first, here.loss_last), abs=BEYOND_ROUNDING)
    assert replace(there, loss_first=0, loss_last=0, path=None) == replace(here, loss_first=0, loss_last=0, path=None)


def test_what_it_leaves_behind_is_an_adapter_like_any_other(model_dir: Path, tmp_path: Path) -> None:
    progress = Notes()
    with serving(model_dir) as service:
        found = train(service.url, model_dir, jobs_in(tmp_path), progress=progress, key=KEY)
        heads = [{key.lower(): value for key, value in head.items()} for _, _, head in service.asked]
        names = {
            body["lora_config"].pop("seed"): body["lora_config"]
            for _, body, _ in service.asked
            if "lora_config" in body
        }
        paths = service.count()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["0", "1"]
    for result in found.values():
        assert result.path is not None and result.error is None
        assert sorted(each.name for each in result.path.iterdir()) == ["adapter_config.json", WEIGHTS]
        make_adapter_check(str(model_dir))(result.path, str(model_dir))
        settings = json.loads((result.path / "adapter_config.json").read_text())
        assert (settings["r"], settings["lora_alpha"]) == (2, ALPHA)
        assert settings["base_model_name_or_path"] == str(model_dir.resolve())
    assert sum(progress.tokens) == progress.expected and sorted(progress.started) == ["0", "1"]
    assert all(head.get("x-api-key") == KEY and "authorization" not in head for head in heads)
    wanted = {"rank": 2, "train_unembed": False, "train_attn": True, "train_mlp": True}
    assert names == {0: wanted, 17: wanted}  # each from the seed of its job
    assert paths["create_session"] == 1 and paths["unload_model"] == 2


def test_the_service_hears_while_we_live(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_slowly(*given: Any) -> dict[str, torch.Tensor]:
        time.sleep(0.3)
        return read_archive(*given)

    monkeypatch.setattr("stages.services.tinker._HEARTBEAT_S", 0.02)
    monkeypatch.setattr("stages.trainers.tinker.trainer.read_archive", read_slowly)
    with serving(model_dir) as service:
        train(service.url, model_dir, jobs_in(tmp_path, count=1))
        asked = [path for path, _, _ in service.asked]
    assert asked[asked.index(f"{ARCHIVE}/download") :].count("session_heartbeat") > 1


def test_a_run_that_is_broken_off_leaves_no_model_there(model_dir: Path, tmp_path: Path) -> None:
    with serving(model_dir, faults={("optim_step", 3): delay(1.0)}) as service:
        results = TinkerTrainer(str(model_dir), base_url=service.url, base_model=NAME, slots=1).fit(jobs_in(tmp_path))
        assert next(results).path
        while service.count()["optim_step"] < 3:
            time.sleep(0.01)
        results.close()  # type: ignore[attr-defined]
        assert service.count()["unload_model"] == service.made == 2
    assert [each.name for each in tmp_path.iterdir()] == ["0"]


# ---- a service that fails


FAULTS: dict[str, Faults] = {
    "too many requests": {("forward_backward", 1): status(429, Retry_After="0.1"), ("optim_step", 2): status(429)},
    "errors": {(path, 1): status(500) for path in ("create_session", "create_model", "optim_step", "retrieve_future")},
    "a step whose answer is lost": {("optim_step", 1): lose_the_answer, ("forward_backward", 2): lose_the_answer},
    "gradients whose number is lost": {("forward_backward", 4): lose_the_number},
    "a step whose number is lost": {("optim_step", 1): lose_the_number},
    "a save whose answer is lost": {("save_weights_for_sampler", 1): lose_the_answer},
    "answers out of order": {("retrieve_future", n): delay(0.1 if n % 2 else 0) for n in range(1, 9)},
    "patience": {
        ("retrieve_future", n): say({"type": "try_again", "request_id": "0", "queue_state": "paused_capacity"})
        if n % 2
        else status(408)
        for n in range(1, 9)
    },
    "takes one request for another": {("optim_step", 1): say({"request_id": "2"}), ("optim_step", 3): say({})},
    "forgets the models": {("optim_step", 3): forget},
    "forgets an answer": {("retrieve_future", 4): status(404, "Future not found")},
    "forgets the weights": {("save_weights_for_sampler", 1): forget},
    "fails at a request": {("retrieve_future", 5): say({"error": "a node went away", "category": "server"})},
    "sends other answers": {("retrieve_future", 5): say({"loss_fn_outputs": []})},
    "sends broken JSON": {("retrieve_future", 5): lambda service, exchange: exchange.send(200, b'{"loss_fn')},
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_whatever_fails_the_adapters_are_the_same(
    faults: Faults, model_dir: Path, tmp_path: Path, expected: Mapping[str, bytes]
) -> None:
    with serving(model_dir, faults=faults) as service:
        found = train(service.url, model_dir, jobs_in(tmp_path, UNCLIPPED))
        asked, steps = service.count(), service.steps
    assert all(asked[path] >= number for path, number in faults)
    assert {name: (result.path / WEIGHTS).read_bytes() for name, result in found.items() if result.path} == expected
    assert max(steps) == 2  # none was taken twice
    assert sorted(each.name for each in tmp_path.iterdir()) == ["0", "1"]


def test_a_model_that_is_lost_again_and_again_ends_the_run_behind_the_others(model_dir: Path, tmp_path: Path) -> None:
    lost = {("forward_backward", number): status(404, "Model not found") for number in (3, 4, 5)}
    trainer_jobs = jobs_in(tmp_path, count=3)
    with serving(model_dir, faults=lost) as service:
        trainer = TinkerTrainer(str(model_dir), base_url=service.url, base_model=NAME, slots=1)
        results = trainer.fit(trainer_jobs, progress := Notes())
        assert [next(results).id, next(results).id] == ["0", "2"]
        with pytest.raises(
            Unavailable, match=r"1 trainings failed there \(status 404: Model not found\); the same com"
        ):
            next(results)
    assert sum("it begins anew" in note for note in progress.notes) == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["0", "2"]


def test_a_service_that_is_gone_ends_the_run(model_dir: Path, tmp_path: Path) -> None:
    with serving(model_dir) as service:
        url = service.url
    with pytest.raises(Unavailable, match="refuses the connection"):
        train(url, model_dir, jobs_in(tmp_path), retry_for_s=0.2)
    with (
        serving(model_dir, faults={("optim_step", number): status(500) for number in range(1, 99)}) as service,
        pytest.raises(Unavailable, match="status 500"),
    ):
        train(service.url, model_dir, jobs_in(tmp_path, count=4), retry_for_s=0.3)
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_refuses_us_ends_the_run(model_dir: Path, tmp_path: Path) -> None:
    refused = {("create_session", number): status(401, f"no {KEY}") for number in range(1, 9)}
    with serving(model_dir, faults=refused) as service, pytest.raises(Denied, match="TINKER_API_KEY") as told:
        train(service.url, model_dir, jobs_in(tmp_path), key=KEY)
    assert KEY not in str(told.value)


def test_what_the_service_will_not_train_is_on_its_line(model_dir: Path, tmp_path: Path) -> None:
    refusal = {("forward_backward", 1): status(422, "a sequence is too long")}
    with serving(model_dir, faults=refusal) as service:
        found = train(service.url, model_dir, jobs_in(tmp_path), slots=1)
    assert found["0"].error == "the service refuses this training: status 422: a sequence is too long"
    assert found["1"].path is not None


def test_a_service_that_refuses_every_training_alike_ends_the_run_and_leaves_no_line(
    model_dir: Path, tmp_path: Path
) -> None:
    refusals = {("forward_backward", number): status(422, "too long") for number in range(1, 9)}
    results: list[FitResult] = []
    with serving(model_dir, faults=refusals) as service, pytest.raises(BadConfig, match="every training in the same"):
        trainer = TinkerTrainer(str(model_dir), base_url=service.url, base_model=NAME)
        results.extend(trainer.fit(jobs_in(tmp_path, count=4)))
    assert results == []


def test_a_service_without_the_model_or_the_protocol_is_told_apart(model_dir: Path, tmp_path: Path) -> None:
    with serving(model_dir) as service:
        trainer = TinkerTrainer(str(model_dir), base_url=service.url, base_model="owner/other")
        with pytest.raises(BadConfig, match=r"has no model owner/other; it has owner/student: .* --base-model"):
            list(trainer.fit(jobs_in(tmp_path)))
    nobody = {("get_server_capabilities", 1): status(404, "Not Found")}
    with serving(model_dir, faults=nobody) as service, pytest.raises(BadConfig, match="speaks Tinker's protocol"):
        train(service.url, model_dir, jobs_in(tmp_path))
    full = {("create_model", 1): status(400, "rank 2 is more than 1")}
    with serving(model_dir, faults=full) as service, pytest.raises(BadConfig, match="rank 2 is more than 1"):
        train(service.url, model_dir, jobs_in(tmp_path))


@pytest.mark.parametrize(
    ("change", "sign", "words"),
    [
        ({}, "beside", "--max-grad-norm 1: SkyRL's server at .* does not clip; give 0"),
        (
            {"max_grad_norm": 0.0, "batch_size": 2},
            "metrics",
            "--batch-size 2: SkyRL's .* by sequences, not by tokens; give 1",
        ),
        ({"max_grad_norm": 0.0}, "beside", None),
    ],
)
def test_what_skyrls_server_would_pass_over_is_refused(
    change: dict[str, Any], sign: str, words: str | None, model_dir: Path, tmp_path: Path
) -> None:
    jobs = jobs_in(tmp_path, replace(SMALL, **change), count=1)
    signs: dict[str, Any] = {"metrics": {"skyrl.ai/grad_norm": 1.5}, "beside": {"future_id": "1", "status": "pending"}}
    with serving(model_dir, **{sign: signs[sign]}) as service:
        if words is None:
            assert train(service.url, model_dir, jobs)["0"].path
            return
        with pytest.raises(BadConfig, match=words):
            train(service.url, model_dir, jobs)
        assert service.count()["optim_step"] == (sign == "metrics")  # the other one is seen before
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_training_is_the_models_own(model_dir: Path, tmp_path: Path) -> None:
    def diverge(service: Service, exchange: Exchange) -> None:
        code, answer = exchange.answer()
        answer["loss_fn_outputs"][0]["logprobs"]["data"][0] = math.nan
        exchange.send(code, json.dumps(answer).encode())

    config = replace(SMALL, epochs=3)
    with serving(model_dir, faults={("retrieve_future", 4): diverge}) as service:
        found = train(service.url, model_dir, jobs_in(tmp_path, config), slots=1)
    assert found["0"].error == "training diverged: the loss is nan at step 2 of 6"
    assert found["1"].error is None


# ---- what comes back


@pytest.mark.parametrize(
    ("repack", "kind", "words"),
    [
        (lambda archive: archive[: len(archive) // 2], Unavailable, "its archive is cut off or damaged"),
        (
            lambda archive: bytes(2**25),
            BadConfig,
            "answers more than .* bytes, more than one has; does it save whole mo",
        ),
    ],
    ids=["cut off", "far too long"],
)
def test_an_archive_that_is_no_adapter_makes_no_directory(
    repack: Callable[[bytes], bytes], kind: type[Exception], words: str, model_dir: Path, tmp_path: Path
) -> None:
    with serving(model_dir, repack=repack) as service, pytest.raises(kind, match=words):
        train(service.url, model_dir, jobs_in(tmp_path, count=1))
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_no_archive_and_names_none_is_a_lost_training(model_dir: Path, tmp_path: Path) -> None:
    faults = {(f"{ARCHIVE}/archive", 1): say({"status": "pending"})}
    with serving(model_dir, faults=faults) as service:
        assert train(service.url, model_dir, jobs_in(tmp_path, count=1), progress=(progress := Notes()))["0"].path
        assert service.made == 2
    assert "lost a training (answers JSON that names no file); it begins anew" in progress.notes[0]


def test_an_address_that_a_service_names_is_asked_without_the_key_and_for_a_new_one_where_it_does_not_hold(
    model_dir: Path, tmp_path: Path
) -> None:
    expired = {(f"{ARCHIVE}/download", number): status(code) for number, code in enumerate((403, 400, 401), 1)}
    with serving(model_dir, faults=expired) as store, serving(model_dir) as service:

        def move(service: Service, exchange: Exchange) -> None:
            store.students = service.students
            _, place = exchange.answer()
            exchange.send(200, json.dumps({"url": place.replace(service.url, store.url)}).encode())

        service.faults = {(f"{ARCHIVE}/archive", number): move for number in range(1, 9)}
        found = train(service.url, model_dir, jobs_in(tmp_path, count=1), key=KEY)
        assert store.count() == {f"{ARCHIVE}/download": 4} and service.made == 1
    assert found["0"].path is not None
    assert KEY not in str(store.asked)


# ---- what the protocol has no words for


@pytest.mark.parametrize("targets", [("q_proj",), ("q_proj", "v_proj"), (*ATTENTION, "up_proj"), ()])
def test_single_layers_are_refused(targets: tuple[str, ...], model_dir: Path, tmp_path: Path) -> None:
    config = replace(SMALL, targets=targets)
    with pytest.raises(BadConfig, match="adapts attention, MLP or both; give --target all-linear, all of --target "):
        train("http://127.0.0.1:9", model_dir, jobs_in(tmp_path, config))
