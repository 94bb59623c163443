"""The Makefile's promises that need no model: its help, its set-up, and what a failing recipe leaves behind."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("begins", "scripts"),
    [
        ("Variables of a round", ["examples/round.sh"]),
        ("Variables of make docs", ["examples/documents/run.sh", "examples/documents/capacity.sh"]),
        ("Variables of make demo-real", ["examples/gemma/run.sh"]),
    ],
)
def test_help_lists_every_variable_of_a_script(begins: str, scripts: list[str]) -> None:
    texts = [(ROOT / script).read_text(encoding="utf-8") for script in scripts]
    read = {name for text in texts for line in text.splitlines() for name in re.findall(r"\$\{?([A-Z_]+)", line)}
    told = make().stdout.partition(begins)[2].partition("\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"\b[A-Z_]+\b", told)) == read - {"SEAL", "PYTHON"}


def test_vllm_is_installed_only_where_a_gpu_is(tmp_path: Path) -> None:
    script(tmp_path, "nvidia-smi", 'echo "GPU 0: some card"')
    with_gpu = make("-n", "-B", "setup", path=str(tmp_path)).stdout
    assert "'.[docs,plot,gguf,dev,vllm]'" in with_gpu
    script(tmp_path, "nvidia-smi", "exit 9")
    assert "'.[docs,plot,gguf,dev]'" in make("-n", "-B", "setup", path=str(tmp_path)).stdout


def test_an_old_python_is_refused_with_the_way_out(tmp_path: Path) -> None:
    as_if_old = "import sys; sys.version_info = (3, 10, 0); exec(sys.argv[1])"
    script(tmp_path, "old-python", f'exec {sys.executable} -c "{as_if_old}" "$2"')
    done = make("-B", "setup", f"PYTHON={tmp_path}/old-python", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed: make PYTHON=python3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_round_waits_for_the_one_before_it_and_a_row_for_its_round() -> None:
    rules = make("-n", "-p", "ladder", "ROUNDS=3", "ROWS=none", "LAST=oracle", "INSTALLED=").stdout.splitlines()
    needs = {target: set(names.split()) for target, names in (rule.split(": ") for rule in rules if ": " in rule)}
    rows = {"measure-none", "measure-oracle", *(f"measure-round-{number}" for number in (1, 2, 3))}
    assert needs["ladder"] == {"build-1", "build-2", "build-3", *rows}
    assert all("heldout" in needs[row] for row in rows)
    for number in (1, 2, 3):
        assert f"build-{number}" in needs[f"measure-round-{number}"]
    assert ("build-1" in needs["build-2"], "build-2" in needs["build-3"]) == (True, True)
    assert not needs["measure-none"] & {"build-1", "build-2", "build-3"}
