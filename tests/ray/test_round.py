"""`make round` on a cluster: the files of a round on this machine alone."""

import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import surroundings
from tests.conftest import ROOT
from tests.ray.conftest import ALONE, NEEDS_RAY, Head

pytestmark = NEEDS_RAY
SMALL = {"CONTEXTS": "2", "K": "2", "SEEDS": "1", "GENERATE": "--max-tokens 24", "EVAL": "--max-tokens 4 --judge exact"}
QUICK = {"ADAPT": "--rank 2 --learning-rate 1e-3 --epochs 1", "SFT": "--rank 2 --epochs 1"}


def test_a_round_on_a_cluster_makes_the_files_of_one_alone(head: Head, tmp_path: Path) -> None:
    seal = tmp_path / "seal"
    seal.write_text(f'#!/bin/sh\nexec {sys.executable} -m seal_cli "$@"\n')
    seal.chmod(0o755)
    for place in ({}, {"RAY": f"{head.address} --workers 2"}):
        run = {"SEAL": str(seal), "RUN": str(tmp_path / ("spread" if place else "alone"))}
        around = surroundings(**ALONE, **SMALL, **QUICK, **run, **place)
        done = subprocess.run([ROOT / "examples/round.sh"], env=around, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    assert done.stderr.count("working on 2 workers") >= 3
    for name in ("edits", "adapters", "scores", "sft"):
        alone, spread = ((tmp_path / where / f"round-1/{name}.jsonl").read_text() for where in ("alone", "spread"))
        assert alone.replace("/alone/", "/spread/") == spread, name
