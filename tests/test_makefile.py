"""The Makefile's promises that need no model: its help, its set-up, and what a failing recipe leaves behind."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def make(*arguments: str, path: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment = {**inherited, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def script(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def test_help_is_the_default_and_names_every_target_of_the_readme() -> None:
    text = make().stdout
    for target in ("demo", "test", "setup", "check", "round", "ladder", "bench", "clean", "tiny-model"):
        assert f"make {target} " in text


def test_vllm_is_installed_only_where_a_gpu_is(tmp_path: Path) -> None:
    script(tmp_path, "nvidia-smi", 'echo "GPU 0: some card"')
    with_gpu = make("-n", "-B", "setup", path=str(tmp_path)).stdout
    assert "'.[plot,dev,vllm]'" in with_gpu
    script(tmp_path, "nvidia-smi", "exit 9")
    assert "'.[plot,dev]'" in make("-n", "-B", "setup", path=str(tmp_path)).stdout


def test_an_old_python_is_refused_with_the_way_out(tmp_path: Path) -> None:
    as_if_old = "import sys; sys.version_info = (3, 10, 0); exec(sys.argv[1])"
    script(tmp_path, "old-python", f'exec {sys.executable} -c "{as_if_old}" "$2"')
    done = make("-B", "setup", f"PYTHON={tmp_path}/old-python", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed: make PYTHON=python3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


WRITES = 'for last; do :; done; mkdir -p "$(dirname "$last")"; echo a line > "$last"; [ $1 != adapt ] || exit '


def run_with(seal: str, folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """A round with a script in place of seal."""
    script(folder, "seal", seal)
    return make("round", "INSTALLED=", f"SEAL={folder}/seal", f"RUN={folder}/run", "ROUND=1", *settings)


def test_a_recipe_that_fails_leaves_no_target_behind(tmp_path: Path) -> None:
    assert run_with(f"{WRITES} 70", tmp_path).returncode != 0
    assert (tmp_path / "run/round-1/edits.jsonl").exists()
    assert not (tmp_path / "run/round-1/adapters.jsonl").exists()


def test_a_stage_that_finished_with_some_failures_keeps_its_file_and_the_round_goes_on(tmp_path: Path) -> None:
    assert run_with(f"{WRITES} 3", tmp_path).returncode == 0
    assert (tmp_path / "run/round-1/adapters.jsonl").exists()
    assert (tmp_path / "run/round-1/model.jsonl").exists()


def test_a_run_refuses_to_go_on_with_other_settings(tmp_path: Path) -> None:
    assert run_with(f"{WRITES} 0", tmp_path, "SEED=1").returncode == 0
    done = run_with(f"{WRITES} 0", tmp_path, "SEED=2", "-B")
    assert done.returncode != 0
    assert "< SEED=1" in done.stderr
    assert "take another RUN" in done.stderr


def test_the_tiny_recipe_is_for_the_tiny_model_alone() -> None:
    recipe = "--learning-rate 6e-3"
    tiny = make("-n", "round", "INSTALLED=", "RUN=/nowhere").stdout
    other = make("-n", "round", "INSTALLED=", "RUN=/nowhere", "MODEL=owner/name").stdout
    assert recipe in tiny
    assert recipe not in other


def test_the_recipe_is_the_same_in_the_makefile_the_readme_and_the_script() -> None:
    recipe = "--rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs 4"
    for name in ("Makefile", "README.md", "examples/tiny/loop.sh", "seal_cli/app.py"):
        text = " ".join((ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ").split())
        assert recipe in text, name


def test_recipes_write_lines_with_o_and_never_by_a_redirection() -> None:
    """A shell would make the file before the stage has said that it can be made."""
    recipes = make("-n", "-B", "round", "ladder", "INSTALLED=", "RUN=/nowhere", "ROUND=2").stdout
    stages = [line for line in recipes.splitlines() if re.match(r"\S*bin/seal (?!report)", line)]
    assert len(stages) >= 15
    for line in stages:
        assert "-o /nowhere/" in line
        assert not re.search(r"[^&2]>", line)
    in_pipes = [part for line in stages for part in line.split(" | {")[:-1] if "--template none" not in part]
    assert len(in_pipes) >= 7
    assert all("--journal /nowhere/" in part for part in in_pipes)
