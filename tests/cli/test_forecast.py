"""What a run will cost: counted by a dry run, timed after a calibration, and in the manifest beside what it cost."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.records.record import Record
from tests.cli.conftest import SMALL_LORA, jsonl, seal
from tests.invented import a_task

GENERATE = ("generate", "tasks.jsonl", "--model", "model", "--max-tokens", "5", "-k", "2")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "model").symlink_to(model_dir)
    (folder / "tasks.jsonl").write_text(jsonl([Record(task=a_task(title)) for title in ("Ada", "Bo", "Cy")]))
    return folder


@pytest.fixture(scope="module")
def told(place: Path) -> dict[str, Any]:
    """The forecast of self-edits behind a calibration, which lies in a cache of its own."""
    flags = ("--dry-run", "--calibrate", "--json", "--suppose", "supposed.jsonl")
    done = seal(*GENERATE, *flags, cwd=place, XDG_CACHE_HOME=str(place / "cache"))
    assert done.code == 0, done.err
    (line,) = done.lines
    return line


def test_a_dry_run_counts_without_a_model(place: Path) -> None:
    done = seal(*GENERATE, "--dry-run", cwd=place)
    assert "6 lines; 6 requests of " in done.err
    assert "at most 30 tokens back" in done.err
    assert done.out == ""


def test_a_calibration_tells_seconds_and_memory(told: dict[str, Any]) -> None:
    assert told["calibrated"] is True
    assert (told["stage"], told["lines"], told["requests"]) == ("generate", 6, 6)
    assert told["work_s"] > 0 and told["work_cpu_s"] > 0
    assert told["peak_bytes"] > 50e6
    assert "tokens a completion" in told["assumed"][0]


def test_the_manifest_has_the_forecast_beside_the_account(place: Path, told: dict[str, Any]) -> None:
    done = seal(*GENERATE, "-o", "edits.jsonl", cwd=place, XDG_CACHE_HOME=str(place / "cache"))
    assert done.code == 0, done.err
    found = json.loads((place / "edits.jsonl.manifest.json").read_text())
    assert found["predicted"]["tokens_in"] == found["actual"]["tokens_in"] == told["tokens_in"]
    assert found["predicted"]["lines"] == found["actual"]["lines"] == 6
    plain = seal(*GENERATE, "-o", "plain.jsonl", cwd=place, XDG_CACHE_HOME=str(place / "none"))
    other = json.loads((place / "plain.jsonl.manifest.json").read_text())
    assert plain.code == 0 and "predicted" not in other
    assert other["digest"] == found["digest"]
    assert (place / "plain.jsonl").read_bytes() == (place / "edits.jsonl").read_bytes()


def test_a_try_that_goes_on_forecasts_its_own_lines_alone(place: Path, told: dict[str, Any]) -> None:
    around = {"XDG_CACHE_HOME": str(place / "cache")}
    seal(*GENERATE, "-o", "whole.jsonl", cwd=place, **around)
    whole = (place / "whole.jsonl").read_text()
    settings = json.loads((place / "whole.jsonl.manifest.json").read_text())["settings"]
    (place / "whole.jsonl.part").write_text("".join(whole.splitlines(keepends=True)[:4]))
    (place / "whole.jsonl.part.json").write_text(json.dumps(settings))
    (place / "whole.jsonl").unlink()
    assert seal(*GENERATE, "-o", "whole.jsonl", cwd=place, **around).code == 0
    found = json.loads((place / "whole.jsonl.manifest.json").read_text())
    assert found["predicted"]["lines"] == found["actual"]["lines"] == 2
    assert found["predicted"]["requests"] == found["actual"]["requests"] == 2


def test_supposed_lines_lead_to_the_next_dry_run(place: Path, told: dict[str, Any]) -> None:
    adapt = ("adapt", "supposed.jsonl", "--model", "model", "--out", "ad", *SMALL_LORA, "--dry-run", "--json")
    done = seal(*adapt, cwd=place, XDG_CACHE_HOME=str(place / "cache"))
    assert done.code == 0, done.err
    (line,) = done.lines
    assert (line["trainings"], line["calibrated"], line["work_s"]) == (6, False, None)
    assert line["tokens_trained"] > 0
    assert not (place / "ad").exists()


def test_prices_are_for_what_servers_are_asked(place: Path) -> None:
    served = ("generate", "tasks.jsonl", "--engine", "openai", "--base-url", "http://localhost:1/v1", "--model", "m")
    flags = ("-k", "2", "--max-tokens", "1000", "--dry-run", "--json", "--price-in", "0", "--price-out", "10")
    done = seal(*served, *flags, cwd=place)
    assert done.code == 0, done.err
    (line,) = done.lines
    assert (line["calls"], line["call_tokens_out"], line["cost"]) == (6, 6000, 0.06)


def test_a_forecast_is_of_a_dry_run(place: Path) -> None:
    done = seal(*GENERATE, "--calibrate", cwd=place)
    assert (done.code, "--calibrate" in done.err, "--dry-run" in done.err) == (78, True, True)
    (place / "there.jsonl").write_text("")
    done = seal(*GENERATE, "--dry-run", "--suppose", "there.jsonl", cwd=place)
    assert done.code == 73 and "--suppose there.jsonl: exists already" in done.err
