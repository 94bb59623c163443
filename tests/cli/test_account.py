"""What a run has cost, in its manifest: of the lines that this try made, and how many there were before."""

import json
from pathlib import Path
from typing import Any

import pytest

from seal_cli.runs.account import Account, measure_folder
from seal_cli.runs.manifest import get_manifest_path
from seal_cli.terminal.progress import ProgressMeter
from stages.records.record import Record
from tests.cli.conftest import SMALL_LORA, jsonl, seal
from tests.invented import a_task

GENERATE = ("generate", "tasks.jsonl", "--model", "model", "--max-tokens", "5", "-k", "2")


@pytest.fixture
def place(tmp_path: Path, model_dir: Path) -> Path:
    (tmp_path / "model").symlink_to(model_dir)
    (tmp_path / "tasks.jsonl").write_text(jsonl([Record(task=a_task(title)) for title in ("Ada", "Bo", "Cy")]))
    return tmp_path


def manifest(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get_manifest_path(file).read_text())
    return found


def test_a_run_counts_what_the_model_read_and_wrote(place: Path) -> None:
    done = seal(*GENERATE, "-o", "edits.jsonl", cwd=place)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (place / "edits.jsonl").read_text().splitlines()]
    actual = manifest(place / "edits.jsonl")["actual"]
    assert (actual["lines"], actual["lines_before"], actual["requests"]) == (6, 0, 6)
    assert actual["tokens_out"] == sum(line["edit"]["tokens"] for line in lines)
    assert actual["tokens_in"] > 6 * 10
    assert actual["line_bytes"] == (place / "edits.jsonl").stat().st_size
    assert actual["peak_bytes"] > 50e6
    assert actual["joules"] is None or min(actual["joules"].values()) >= 0  # told by the machine, or not
    assert actual["load_s"] > 0 and actual["work_s"] > 0 and actual["work_cpu_s"] > 0
    assert (actual["trainings"], actual["calls"], actual["cost"]) == (0, 0, None)


def test_a_try_that_goes_on_counts_its_own_lines_alone(place: Path) -> None:
    seal(*GENERATE, "-o", "edits.jsonl", "--limit", "2", cwd=place)
    whole = (place / "edits.jsonl").read_text()
    (place / "edits.jsonl.part").write_text("".join(whole.splitlines(keepends=True)[:3]))
    (place / "edits.jsonl.part.json").write_text(json.dumps(manifest(place / "edits.jsonl")["settings"]))
    (place / "edits.jsonl").unlink()
    done = seal(*GENERATE, "-o", "edits.jsonl", "--limit", "2", cwd=place)
    assert "3 of 4 lines" in done.err
    assert (place / "edits.jsonl").read_text() == whole
    actual = manifest(place / "edits.jsonl")["actual"]
    assert (actual["lines"], actual["lines_before"], actual["requests"]) == (1, 3, 1)


def test_a_run_counts_its_trainings_and_their_bytes(place: Path) -> None:
    seal("generate", "tasks.jsonl", "-t", "none", "-o", "edits.jsonl", cwd=place)
    done = seal("adapt", "edits.jsonl", "--model", "model", "--out", "ad", *SMALL_LORA, "-o", "a.jsonl", cwd=place)
    assert done.code == 0, done.err
    lines = [json.loads(line)["adapter"] for line in (place / "a.jsonl").read_text().splitlines()]
    actual = manifest(place / "a.jsonl")["actual"]
    assert actual["trainings"] == 3
    assert actual["steps"] == sum(line["train"]["steps"] for line in lines)
    assert actual["tokens_trained"] == 2 * sum(line["train"]["tokens"] for line in lines)  # two epochs
    assert actual["model_bytes"] == measure_folder(place / "ad")


def test_nothing_is_told_of_gpus_and_of_prices_that_are_not_known() -> None:
    account, meter = Account(), ProgressMeter("generate")
    account.begin()
    account.end()
    told = account.describe(meter, 0, 3)
    assert (told["cost"], told["device_peak_bytes"], told["lines_before"]) == (None, None, 3)
