"""The benchmarks run, at sizes that say nothing, and print one JSON object a line."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

SMALL = {
    "MODELS": "tiny",
    "JOBS": "2",
    "EPOCHS": "1",
    "REPEATS": "1",
    "PADDED_STEPS": "1",
    "ADAPTERS": "2",
    "TASKS": "1",
    "LINES": "60",
    "TOKENS": "2",
}


def lines_of(script: str, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, ROOT / "tests/bench" / script, *arguments]
    env = {**os.environ, **SMALL, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, capture_output=True, env=env, timeout=300)
    assert run.returncode == 0, run.stderr.decode()
    return [json.loads(line) for line in run.stdout.decode().splitlines()]


@pytest.mark.parametrize(
    ("script", "arguments", "kinds"),
    [
        ("bench_inner_loop.py", [], {"inner training", "growth", "memory"}),
        ("bench_answers.py", [], {"answers"}),
        ("bench_lines.py", [], {"filter", "tasks", "judge", "merge", "report"}),
        ("bench_paper_round.py", ["--epochs", "1", "--profile"], {"paper round, adapt", "paper round, eval"}),
    ],
)
def test_a_benchmark_runs_and_measures_what_it_names(script: str, arguments: list[str], kinds: set[str]) -> None:
    found = lines_of(script, *arguments)
    assert {line["bench"] for line in found} == kinds
    assert all(line["seconds"] > 0 for line in found if "seconds" in line)
