"""The files that start runs on clusters: their shell text is run as the cluster would, and their commands exist."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from seal_cli.app import make_app
from tests.conftest import ROOT
from tests.forked import forked_seal

CLUSTER = ROOT / "examples/cluster"
STAND_INS = {"seal": 'exec {seal} "$@"', "scontrol": "echo node", "srun": '"$@"', "ray": "{ray}"}
RUNS_AFTER_DASHES = 'while [ "$1" != -- ]; do shift; done; shift; "$@"; exit 0'


def parse(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


@pytest.fixture
def place(tmp_path: Path, model_dir: Path) -> Path:
    """A folder with the self-edits of three tasks and their model, and a cluster's commands, of which ray is none."""
    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "bin").mkdir()
    put_commands(tmp_path, "exit 0")
    sh(f"seal tasks {ROOT}/examples/tiny/train.jsonl --sample 3 | seal generate -t none -o edits.jsonl", tmp_path)
    return tmp_path


def put_commands(place: Path, ray: str) -> None:
    for name, text in STAND_INS.items():
        (place / "bin" / name).write_text(f"#!/bin/bash\n{text.format(seal=forked_seal(), ray=ray)}\n")
        (place / "bin" / name).chmod(0o755)


def sh(text: str, place: Path, *words: str, **variables: str) -> int:
    """Run shell text in the folder and return its exit code."""
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    command = ["bash", "-o", "pipefail", "-c", text, "job", *words]
    return subprocess.run(command, cwd=place, env={**os.environ, **variables, "PATH": path}, check=False).returncode


def test_an_array_of_shards_is_the_run_alone(place: Path) -> None:
    text = (CLUSTER / "shards.sbatch").read_text(encoding="utf-8")
    words = ("part", "generate", "edits.jsonl", "-t", "none")
    for number in ("1", "2"):
        assert sh(text, place, *words, SLURM_ARRAY_TASK_ID=number, SHARDS="2") == 0
        if number == "1":
            assert sh('[ "$(seal merge part-*.jsonl --missing)" = 2 ]', place) == 0
    assert sh("seal merge part-*.jsonl -o merged.jsonl && cmp <(sort merged.jsonl) <(sort edits.jsonl)", place) == 0


def test_the_pods_of_an_indexed_job_are_the_run_alone(place: Path) -> None:
    small = "--rank 2 --epochs 1"
    assert sh(f"seal adapt edits.jsonl --model model --out adapters {small} -o alone.jsonl", place) == 0
    (container,) = parse("indexed-job.yaml")["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "-c"]
    text = container["args"][0].replace("--out", f"{small} --out")
    for index in ("0", "1"):
        assert sh(text, place, JOB_COMPLETION_INDEX=index, SHARDS="2") == 0
    assert sh("seal merge adapters-*.jsonl -o all.jsonl && cmp <(sort all.jsonl) <(sort alone.jsonl)", place) == 0


def test_a_job_with_ray_ends_as_its_command_and_one_whose_ray_does_not_start_fails(place: Path) -> None:
    text = (CLUSTER / "ray.sbatch").read_text(encoding="utf-8")
    job = {"SLURM_JOB_NODELIST": "node", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_ON_NODE": "2"}
    assert sh(text, place, "true", **job) == 69
    put_commands(place, RUNS_AFTER_DASHES)
    assert sh(text, place, "bash", "-c", "exit 3", **job) == 3
    assert sh(text, place, "seal", "tasks", "edits.jsonl", "-o", "tasks.jsonl", **job) == 0
    assert (place / "tasks.jsonl").exists()
    assert not list(place.glob(".seal-*"))


def test_a_job_has_as_many_pods_as_shards() -> None:
    job = parse("indexed-job.yaml")["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "SHARDS", "value": str(job["completions"])}]


@pytest.mark.parametrize("name", ["rayjob.yaml", "skypilot.yaml"])
def test_the_command_of_a_cluster_exists_with_all_its_flags(name: str) -> None:
    text = parse(name)["spec"]["entrypoint"] if name == "rayjob.yaml" else parse(name)["run"]
    ((stage, words),) = re.findall(r"seal (\w+) (.*?) \|\| \[ \$\? = 3 \]", text)
    command = typer.main.get_command(make_app()).commands[stage]  # type: ignore[attr-defined]
    given = command.make_context(stage, shlex.split(words)).params.values()
    assert "auto" in given or "127.0.0.1:6379" in given
