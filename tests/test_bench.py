"""The benchmarks run, at sizes that say nothing, and print one JSON object a line."""

import json
import os
import runpy
import sys
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.forked import forked_seal

BENCH = ROOT / "tests/bench"
SMALL = {
    "MODELS": "tiny",
    "JOBS": "2",
    "EPOCHS": "1",
    "REPEATS": "1",
    "PADDED_STEPS": "1",
    "EXAMPLES": "1",
    "ADAPTERS": "2",
    "PASSAGES": "1",
    "SAMPLES": "2",
    "TASKS": "1",
    "LINES": "60",
    "TOKENS": "2",
    "RECORDS": "60",
}


def run_script(script: str, arguments: list[str], out: Path, seal: Path) -> None:
    """In a forked child: torch is imported already, where other tests have needed it; the tests are not found."""
    os.environ.update({**SMALL, "SEAL": str(seal), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
    sys.argv = [script, *arguments]
    sys.path[:] = [str(BENCH), *(each for each in sys.path if each not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    with out.open("w") as file, redirect_stdout(file):
        runpy.run_path(str(BENCH / script), run_name="__main__")


@pytest.mark.parametrize(
    ("script", "arguments", "kinds"),
    [
        ("bench_inner_loop.py", [], {"inner training", "growth", "memory"}),
        ("bench_answers.py", [], {"answers"}),
        ("bench_generate.py", [], {"generate"}),
        ("bench_sft.py", [], {"sft"}),
        ("bench_cluster.py", [], {"cluster, adapt", "cluster, eval", "driver"}),
        ("bench_lines.py", [], {"filter", "tasks", "judge", "merge", "report"}),
        (
            "bench_paper_round.py",
            ["--epochs", "1", "--profile", "--slice", "1/250"],
            {"paper round, adapt", "paper round, eval"},
        ),
    ],
)
def test_a_benchmark_runs_and_measures_what_it_names(
    script: str, arguments: list[str], kinds: set[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    child = get_context("fork").Process(target=run_script, args=(script, arguments, tmp_path / "out", forked_seal()))
    child.start()
    child.join(300)
    assert child.exitcode == 0, capfd.readouterr().err
    found = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert {line["bench"] for line in found} == kinds
    assert all(line["seconds"] > 0 for line in found if "seconds" in line)
