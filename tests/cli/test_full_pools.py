"""Pools that are trained in full: one model directory on many lines, through all stages, and behind its checkpoint."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.bits import assert_same
from tests.cli.conftest import seal, surroundings
from tests.cli.inside import run_inside
from tests.cli.test_pools import EVAL, contents, lines_of, make_scores
from tests.forked import forked_seal

TITLES = ("Ada", "Bo")
FULL = ("adapt", "edits.jsonl", "--model", "model", "--out", "ad", "--pool", "--method", "full", "--epochs", "2")
TRAIN = (*FULL, "--batch-size", "4", "--learning-rate", "1e-3", "--device", "cpu", "-o", "adapters.jsonl")


@pytest.fixture(scope="module")
def done(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the self-edits of two tasks, the model that they made, and scores."""
    return make_scores(tmp_path_factory.mktemp("full"), model_dir, TITLES, TRAIN)


@pytest.fixture
def place(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "run", symlinks=True)
    (tmp_path / "run/scores.jsonl").unlink()
    return tmp_path / "run"


def test_every_line_names_the_one_model_which_answers_for_all_tasks(done: Path) -> None:
    lines = lines_of(done, "adapters.jsonl")
    (adapter,) = {json.dumps(line["adapter"]): line["adapter"] for line in lines}.values()
    (model,) = (done / "ad").iterdir()
    assert model.name == adapter["id"] == Path(adapter["path"]).name
    fit = adapter["fit"]
    assert (fit["method"], fit["learning_rate"], fit["pool"]["edits"]) == ("full", 1e-3, 4)
    assert fit.keys().isdisjoint({"rank", "alpha", "dropout", "targets", "warmup_ratio"})
    plain = run_inside("eval", "edits.jsonl", "--model", str(model), *EVAL[2:8], cwd=done, stdin="")
    assert plain.code != 0  # lines with self-edits need their adapters; tasks alone are asked of the model itself
    tasks = {line["task"]["id"]: {"v": 1, "task": line["task"]} for line in lines}
    text = "".join(json.dumps(line) + "\n" for line in tasks.values())
    asked = run_inside("eval", "--model", str(model), *EVAL[2:8], cwd=done, stdin=text)
    assert asked.code == 0, asked.err
    own = {
        line["task"]["id"]: [(a["prediction"], a["correct"]) for a in line["score"]["answers"]] for line in asked.lines
    }
    scores = lines_of(done, "scores.jsonl")
    assert len(scores) == 4
    for line in scores:
        answers = [(a["prediction"], a["correct"]) for a in line["score"]["answers"]]
        assert answers == own[line["task"]["id"]]
    assert any(a["prediction"] != a["baseline_prediction"] for line in scores for a in line["score"]["answers"])


def test_the_likelihoods_of_a_model_are_measured_and_its_directory_is_kept_by_gc(place: Path) -> None:
    measured = run_inside(*EVAL[:2], "--likelihood", "answers", "--device", "cpu", cwd=place)
    assert (measured.code, len(measured.lines)) == (0, 4), measured.err
    (model,) = (place / "ad").iterdir()
    assert model.name not in run_inside("gc", ".", cwd=place).out
    for name in ("fedcba9876543210", "fedcba9876543211.abcdefgh.part"):
        shutil.copytree(model, place / "ad" / name)
    about = json.loads((model / "seal.json").read_text())
    (place / "ad/fedcba9876543210/seal.json").write_text(json.dumps({**about, "adapter": "fedcba9876543210"}))
    (place / "ad/fedcba9876543211.abcdefgh.part/mine.txt").touch()  # which somebody has put there
    shutil.copytree(model, place / "ad/fedcba9876543212.abcdefgh.part")
    found = run_inside("gc", ".", cwd=place).out.split()
    assert [Path(name).name for name in found] == ["fedcba9876543210", "fedcba9876543212.abcdefgh.part"]


def test_a_model_that_was_replaced_or_damaged_answers_nothing_and_is_made_again(place: Path, done: Path) -> None:
    (model,) = (place / "ad").iterdir()
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "model.safetensors").write_bytes(data)
    evaluated = run_inside(*EVAL, cwd=place)
    assert evaluated.code == 65, evaluated.err
    assert "its files are not those that were written; make it again" in " ".join(evaluated.err.split())
    assert not (place / "scores.jsonl").exists()
    doctor = run_inside("doctor", "--adapter", f"ad/{model.name}", "--model", "model", "--device", "cpu", cwd=place)
    assert "its files are not those that were written" in " ".join(doctor.err.split())
    (place / "adapters.jsonl").unlink()
    assert seal(*TRAIN, cwd=place).code == 0
    assert_same(contents(place / "ad"), contents(done / "ad"))


def test_doctor_and_other_engines_say_what_such_a_directory_is(done: Path) -> None:
    (model,) = (done / "ad").iterdir()
    told = run_inside("doctor", "--adapter", f"ad/{model.name}", "--device", "cpu", "--json", cwd=done)
    row = next(line for line in told.lines if line["check"] == "adapter")
    assert (row["ok"], "a whole model, trained in full on" in row["found"]) == (True, True)
    way = ("--engine", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9")
    refused = run_inside(*EVAL[:2], *way, "--judge", "exact", cwd=done)
    assert "a whole model (--method full), no adapter; --engine hf can use it" in " ".join(refused.err.split())


def test_a_training_that_was_killed_goes_on_behind_its_last_checkpoint(done: Path, tmp_path: Path) -> None:
    for name in ("model", "edits.jsonl"):
        (tmp_path / name).symlink_to((done / name).resolve())
    shutil.copytree(tmp_path, tmp_path / "whole", symlinks=True)
    command = [word if word != "2" else "40" for word in TRAIN] + ["--checkpoint-every", "1"]
    process = subprocess.Popen([forked_seal(), *command], cwd=tmp_path, env=surroundings(), stderr=subprocess.DEVNULL)
    until = time.monotonic() + 200
    while not list(tmp_path.glob("ad/*.training.part/training.safetensors")) and time.monotonic() < until:
        time.sleep(0.01)
    there = [each.pid for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(tmp_path)]
    (leader,) = {os.getpgid(pid) for pid in there} - {os.getpgrp()}
    os.killpg(leader, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    again = seal(*command, cwd=tmp_path)
    assert again.code == 0, again.err
    assert "goes on behind step" in again.err
    assert seal(*command[:-2], cwd=tmp_path / "whole").code == 0
    assert_same(contents(tmp_path / "ad"), contents(tmp_path / "whole/ad"))


REFUSED = {
    "no pool": (["--method", "full"], 78, "--method full: every self-edit would have a model directory of its own"),
    "a sequence": (["--method", "full", "--sequential"], 78, "--method full: a sequence stacks LoRAs"),
    "a rank": (
        ["--pool", "--method", "full", "--rank", "8"],
        78,
        "--rank 8: is a LoRA's, and --method full trains all weights",
    ),
    "targets": (["--pool", "--method", "full", "--target", "q_proj"], 78, "--target q_proj: is a LoRA's"),
    "another trainer": (
        ["--pool", "--method", "full", "--trainer", "peft"],
        78,
        "--trainer peft: --method full has a trainer of its own",
    ),
    "slots": (["--pool", "--method", "full", "--slots", "2"], 78, "--slots 2: --method full trains one model at a"),
    "two warm-ups": (
        ["--pool", "--method", "full", "--warmup-ratio", "0.1", "--warmup-steps", "3"],
        78,
        "--warmup-ratio 0.1 and --warmup-steps 3: both are the warm-up; give one",
    ),
    "a warm-up beyond all": (
        ["--pool", "--warmup-ratio", "1.5"],
        2,
        "--warmup-ratio 1.5: should be less than or equal to 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_training_in_full_cannot_be_is_refused(name: str, done: Path) -> None:
    flags, code, told = REFUSED[name]
    made = run_inside("adapt", "edits.jsonl", "--model", "model", *flags, "-o", "refused.jsonl", cwd=done)
    assert (made.code, told in " ".join(made.err.split())) == (code, True), made.err
    assert not (done / "refused.jsonl").exists()


def test_a_dry_run_says_that_models_are_made_and_with_which_rate(done: Path) -> None:
    dry = run_inside(*FULL, "--dry-run", cwd=done)
    assert "would train 1 models in full from model, on 8 sequences of 4 self-edits in one pool;" in dry.err
    assert '"learning_rate": 7e-05' in dry.err
