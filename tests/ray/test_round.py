"""`make round` on a cluster: the files of a round on this machine alone."""

import subprocess
from pathlib import Path

from tests.cli.conftest import surroundings
from tests.conftest import ROOT
from tests.forked import forked_seal
from tests.ray.conftest import NEEDS_RAY
from tests.ray.nodes import OPEN

pytestmark = NEEDS_RAY
SMALL = {"CONTEXTS": "2", "K": "2", "SEEDS": "1", "GENERATE": "--max-tokens 24", "EVAL": "--max-tokens 4 --judge exact"}
QUICK = {"ADAPT": "--rank 2 --learning-rate 1e-3 --epochs 1", "SFT": "--rank 2 --epochs 1"}


def test_a_round_on_a_cluster_makes_the_files_of_one_alone(address: str, tmp_path: Path) -> None:
    for place in ({}, {"RAY": f"{address} --workers 2"}):
        run = {"SEAL": str(forked_seal()), "RUN": str(tmp_path / ("spread" if place else "alone"))}
        around = surroundings(**OPEN, **SMALL, **QUICK, **run, **place)
        done = subprocess.run([ROOT / "examples/round.sh"], env=around, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    for name in ("edits", "adapters", "scores"):
        assert "--ray" in (tmp_path / f"spread/round-1/{name}.jsonl.manifest.json").read_text()
    for name in ("edits", "adapters", "scores", "sft"):
        alone, spread = ((tmp_path / where / f"round-1/{name}.jsonl").read_text() for where in ("alone", "spread"))
        assert alone.replace("/alone/", "/spread/") == spread, name
