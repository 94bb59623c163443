"""`make plan`: the scripts' own choreography, with forecasts instead of files."""

import json
import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT

FAKE = """#!/bin/bash
echo "$@" >> "$LOG"
case "$1 $*" in
  tasks*|filter*|*" --exam "*) mkdir -p "$(dirname "${@: -1}")"; touch "${@: -1}" ;;
  plan*) echo "a table of $(wc -l < "$2") stages" ;;
  *--calibrate*) echo '{"stage": "'$1'", "calibrated": true}' ;;
  generate*) echo '{"stage": "'$1'", "calibrated": true}' ;;
  *) echo '{"stage": "'$1'", "calibrated": false}' ;;
esac
"""


def plan(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script for its plan, with RUN and LOG in this folder."""
    fake = folder / "seal"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    where = {"PLAN": "1", "SEAL": str(fake), "LOG": str(folder / "log"), "RUN": str(folder / "run"), **variables}
    return subprocess.run([script], cwd=ROOT, env={**os.environ, **where}, capture_output=True, text=True, check=False)


def test_a_plan_forecasts_every_stage_of_the_rounds_and_makes_no_file_of_theirs(tmp_path: Path) -> None:
    log, run = tmp_path / "log", tmp_path / "run"
    done = plan("examples/round.sh", tmp_path, ROUND="2")
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


def test_a_plan_of_documents_ends_where_the_exam_is_not_known_and_never_has_a_card(tmp_path: Path) -> None:
    done = plan("examples/documents/run.sh", tmp_path)
    assert (done.returncode, done.stdout) == (0, "a table of 3 stages\n"), done.stderr
    assert "give EXAM=FILE" in done.stderr
    exam = tmp_path / "run/plan/exam.jsonl"
    exam.write_text("{}\n")  # as the real `seal tasks` would leave it; touching it again changes nothing
    done = plan("examples/documents/run.sh", tmp_path, EXAM="theirs.jsonl")
    told = [json.loads(line)["stage"] for line in (tmp_path / "run/plan/plan.jsonl").read_text().splitlines()]
    assert done.returncode == 0, done.stderr
    assert told == ["quiz", "generate", "adapt", "eval", "generate", "adapt", *["eval"] * 7]
    assert not any(call.startswith("card") for call in (tmp_path / "log").read_text().splitlines())
