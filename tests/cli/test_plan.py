"""`seal plan` adds up forecasts and manifests."""

import json
from pathlib import Path

from tests.cli.conftest import seal
from tests.conftest import ROOT

FORECAST = {
    **{"stage": "generate", "model": "m", "calibrated": True, "lines": 6, "requests": 6, "tokens_in": 600},
    **{"tokens_out": 1000, "trainings": 0, "steps": 0, "tokens_trained": 0, "calls": 0, "call_tokens_in": 0},
    **{"call_tokens_out": 0, "cost": None, "model_bytes": 0, "line_bytes": 2_000_000, "load_s": 2.0, "work_s": 100.0},
    **{"load_cpu_s": 1.0, "work_cpu_s": 50.0, "peak_bytes": 400_000_000, "device_peak_bytes": None, "assumed": []},
}
ADAPT = {
    **{**FORECAST, "stage": "adapt", "requests": 0, "tokens_in": 0, "tokens_out": 0, "trainings": 3},
    **{"peak_bytes": 900_000_000, "cost": 0.25},
}


def test_forecasts_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "plan.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (FORECAST, ADAPT)))
    done = seal("plan", "plan.jsonl", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [line["name"] for line in done.lines] == ["generate", "adapt", "sum"]
    whole = done.lines[-1]["predicted"]
    assert (whole["work_s"], whole["trainings"], whole["peak_bytes"], whole["cost"]) == (200.0, 3, 900_000_000, 0.25)
    assert done.lines[-1]["actual"] is None
    told = seal("plan", "plan.jsonl", cwd=tmp_path).out
    assert "3 min 24 s" in told and "900.0 MB" in told and "4.0 MB" in told


def test_what_a_stage_does_not_know_leaves_the_sum_open(tmp_path: Path) -> None:
    unknown = {**ADAPT, "work_s": None, "load_s": None}
    (tmp_path / "plan.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (FORECAST, unknown)))
    done = seal("plan", "plan.jsonl", "--json", cwd=tmp_path)
    assert done.lines[-1]["predicted"]["work_s"] is None
    assert "?" in seal("plan", "plan.jsonl", cwd=tmp_path).out


def test_a_manifest_shows_the_forecast_beside_what_it_cost(tmp_path: Path) -> None:
    actual = {**FORECAST, "work_s": 110.0, "lines_before": 0}
    made = {"settings": {}, "counts": {}, "predicted": FORECAST, "actual": actual}
    (tmp_path / "edits.jsonl.manifest.json").write_text(json.dumps(made, indent=1))
    done = seal("plan", "edits.jsonl.manifest.json", cwd=tmp_path)
    assert "1 min 42 s → 1 min 52 s" in done.out
    assert any(line.startswith("edits.jsonl") for line in done.out.splitlines())


def test_the_manifests_of_a_round_are_taken_with_those_of_stages_that_cost_nothing(tmp_path: Path) -> None:
    tasks, sft = ROOT / "examples/tiny/heldout.jsonl", "sft.jsonl.manifest.json"
    assert seal("tasks", str(tasks), "--limit", "2", "-o", "tasks.jsonl", cwd=tmp_path).code == 0
    (tmp_path / sft).write_text(json.dumps({"stage": "filter", "settings": {}, "counts": {}}))
    made = {"stage": "generate", "settings": {}, "predicted": None, "actual": FORECAST}
    (tmp_path / "edits.jsonl.manifest.json").write_text(json.dumps(made))
    done = seal("plan", "tasks.jsonl.manifest.json", sft, "edits.jsonl.manifest.json", "--json", cwd=tmp_path)
    assert [line["name"] for line in done.lines] == ["edits.jsonl", "sum"], done.err


def test_what_is_no_forecast_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text('{"task": {}}\n')
    done = seal("plan", "lines.jsonl", cwd=tmp_path)
    assert done.code == 65 and "lines.jsonl:1: is no forecast" in done.err
    (tmp_path / "old.manifest.json").write_text('{"settings": {}, "counts": {}}')
    assert seal("plan", "old.manifest.json", cwd=tmp_path).code == 65
    assert seal("plan", "absent", cwd=tmp_path).code == 66


def test_what_cannot_be_added_up_is_named_and_stdin_is_read(tmp_path: Path) -> None:
    plain = {"stage": "generate", "requests": 2, "trainings": 0}
    for name, value in (
        ("cost", -1),
        ("cost", "much"),
        ("work_s", float("nan")),
        ("peak_bytes", 1e999),
        ("calls", True),
    ):
        (tmp_path / "plan.jsonl").write_text(json.dumps(plain) + "\n" + json.dumps({**plain, name: value}))
        done = seal("plan", "plan.jsonl", cwd=tmp_path)
        assert done.code == 65 and f"plan.jsonl:2: {name} is {json.dumps(value)}, no count or cost" in done.err
    (tmp_path / "plan.jsonl").write_text(json.dumps({**plain, "stage": "a\u2028b"}, ensure_ascii=False))
    first, _, _ = seal("plan", "plan.jsonl", "--json", cwd=tmp_path).out.partition("\n")
    assert json.loads(first)["name"] == "a\u2028b"
    done = seal("plan", "-", "--json", cwd=tmp_path, stdin=json.dumps(plain))
    assert [json.loads(line)["name"] for line in done.out.splitlines()] == ["generate", "sum"]
    assert "stdin: empty" in seal("plan", "-", cwd=tmp_path, stdin="").err
