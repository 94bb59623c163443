"""`make plan`: the scripts' own choreography, with forecasts instead of files."""

import json
import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT

FAKE = """#!/bin/bash
echo "$@" >> "$LOG"
case "$1 $*" in
  tasks*|filter*) mkdir -p "$(dirname "${@: -1}")"; touch "${@: -1}" ;;
  plan*) echo "a table of $(wc -l < "$2") stages" ;;
  *--calibrate*) echo '{"stage": "'$1'", "calibrated": true}' ;;
  generate*) echo '{"stage": "'$1'", "calibrated": true}' ;;
  *) echo '{"stage": "'$1'", "calibrated": false}' ;;
esac
"""


def test_a_plan_forecasts_every_stage_of_the_rounds_and_makes_no_file_of_theirs(tmp_path: Path) -> None:
    fake, log, run = tmp_path / "seal", tmp_path / "log", tmp_path / "run"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    where = {"PLAN": "1", "SEAL": str(fake), "LOG": str(log), "RUN": str(run), "ROUND": "2"}
    done = subprocess.run(
        ["examples/round.sh"], cwd=ROOT, env={**os.environ, **where}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "a table of 8 stages\n"), done.stderr
    told = [json.loads(line) for line in (run / "plan/plan.jsonl").read_text().splitlines()]
    assert [each["stage"] for each in told] == ["generate", "adapt", "eval", "sft"] * 2
    assert all(each["calibrated"] for each in told)
    assert [path.name for path in run.iterdir()] == ["plan"]
    calls = log.read_text().splitlines()
    assert [call.split()[0] for call in calls if "--dry-run" not in call] == ["tasks", "filter"] * 2 + ["plan"]
    (adapt, again) = [call for call in calls if call.startswith("adapt") and "round-1" in call]
    assert again == f"{adapt} --calibrate"
    assert f"--suppose {run}/plan/round-1/adapters.jsonl" in adapt
    assert not any("--suppose" in call for call in calls if call.startswith("sft"))
    assert all("--model examples/tiny/model" in call for call in calls if call.startswith("eval"))
