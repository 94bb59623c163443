"""Whole rounds in the shell, with random small models: what each command adds, and that the same seed repeats it."""

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.engines.hf import HFEngine
from stages.interfaces import Request
from stages.records.record import Record
from stages.records.schema import Checkpoint, SftExample
from stages.settings import Sampling
from tests.bits import assert_same
from tests.cli.conftest import SMALL_LORA, Finished, jsonl, pipe, seal
from tests.conftest import PAPER
from tests.invented import a_line, a_task, numbered

ROUND = (
    "seal generate tasks.jsonl --model model -k 2 --max-tokens 12 --seed 3 | "
    "seal adapt --out adapters --seeds 2 --seed 3 " + " ".join(SMALL_LORA) + " | "
    "seal eval --judge lexical --max-tokens 8"
)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


@pytest.fixture(scope="module")
def round_one(model_dir: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one round has run, a command at a time, each with -o: two inns, and two passages of SQuAD."""
    folder = tmp_path_factory.mktemp("round")
    shutil.copytree(model_dir, folder / "model")
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    squad = PAPER / "squad_val.json"
    real = f"seal tasks {squad} --sample 2 --seed 4" if squad.is_file() else "true"
    commands = [
        f"(seal tasks {source} --limit 2; {real}) > both.jsonl && seal tasks both.jsonl -o tasks.jsonl",
        "seal generate tasks.jsonl --model model -k 2 --max-tokens 12 --seed 3 -o edits.jsonl",
        f"seal adapt edits.jsonl --out adapters --seeds 2 --seed 3 {' '.join(SMALL_LORA)} -o adapters.jsonl",
        "seal eval adapters.jsonl --judge lexical --max-tokens 8 -o scores.jsonl",
        "seal filter scores.jsonl -o sft.jsonl",
        "seal sft sft.jsonl --model model --out next --rank 2 --epochs 1 -o checkpoint.jsonl",
    ]
    for command in commands:
        run = pipe(command, cwd=folder)
        assert (run.code, run.out) == (0, ""), run.err
        assert all(line.startswith("seal ") for line in run.err.splitlines()), run.err  # no library says a word
    return folder


def test_each_stage_adds_its_section_and_changes_no_other(round_one: Path) -> None:
    tasks, edits, adapters, scores = (rows(round_one / f"{n}.jsonl") for n in ("tasks", "edits", "adapters", "scores"))
    assert [len(tasks), len(edits), len(adapters), len(scores)] == [len(tasks) * n for n in (1, 2, 4, 4)]
    assert [line.keys() for line in (tasks[0], edits[0], adapters[0], scores[0])] == [
        {"v", "task"},
        {"v", "task", "edit"},
        {"v", "task", "edit", "adapter"},
        {"v", "task", "edit", "adapter", "score"},
    ]
    assert [{**line, "score": None} for line in scores] == [{**line, "score": None} for line in adapters]
    assert {json.dumps(line["edit"]) for line in adapters} == {json.dumps(line["edit"]) for line in edits}
    assert len({line["adapter"]["seed"] for line in adapters}) == len(adapters)
    for line in scores:
        Record.model_validate_json(json.dumps(line))
        assert {answer["id"] for answer in line["score"]["answers"]} == {q["id"] for q in line["task"]["questions"]}
        assert (round_one / line["adapter"]["path"] / "adapter_model.safetensors").is_file()


def test_a_round_ends_in_a_model_that_the_next_one_loads(round_one: Path) -> None:
    pairs = rows(round_one / "sft.jsonl")
    (made,) = rows(round_one / "checkpoint.jsonl")
    assert sorted(SftExample.model_validate_json(json.dumps(pair)).task_id for pair in pairs) == sorted(
        line["task"]["id"] for line in rows(round_one / "tasks.jsonl")
    )
    checkpoint = Checkpoint.model_validate_json(json.dumps(made))
    assert (checkpoint.model, checkpoint.base, checkpoint.examples) == ("next", "model", len(pairs))
    (answer,) = HFEngine(str(round_one / "next")).sample([Request("a", "Who?", Sampling(max_tokens=4))])
    assert answer.tokens <= 4


def test_every_output_of_a_round_has_a_true_manifest(round_one: Path) -> None:
    n = len(rows(round_one / "tasks.jsonl"))
    counts = {"tasks": (n, n), "edits": (n, 2 * n), "adapters": (2 * n, 4 * n), "scores": (4 * n, 4 * n)}
    for name, (read, written) in {**counts, "sft": (4 * n, n), "checkpoint": (n, 1)}.items():
        manifest = json.loads((round_one / f"{name}.jsonl.manifest.json").read_text())
        assert manifest["sha256"] == hashlib.sha256((round_one / f"{name}.jsonl").read_bytes()).hexdigest()
        assert (manifest["counts"]["read"], manifest["counts"]["written"]) == (read, written)
    assert not list(round_one.rglob("*.part"))


def test_the_same_round_in_one_pipe_gives_the_same_lines_and_weights(round_one: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(round_one / "model")
    (tmp_path / "tasks.jsonl").write_text((round_one / "tasks.jsonl").read_text())
    again = pipe(ROUND, cwd=tmp_path)
    assert again.code == 0, again.err
    here, there = (sorted(text.splitlines(True)) for text in (again.out, (round_one / "scores.jsonl").read_text()))
    assert_same({"scores.jsonl": "".join(here).encode()}, {"scores.jsonl": "".join(there).encode()})
    for line in again.lines:
        weights = f"{line['adapter']['path']}/adapter_model.safetensors"
        assert_same(*({weights: (folder / weights).read_bytes()} for folder in (tmp_path, round_one)))


def test_a_training_that_diverges_is_recorded_and_ends_with_3(round_one: Path) -> None:
    wild = ("--learning-rate", "1e30", "--target", "q_proj", "--target", "k_proj", "--rank", "2", "--epochs", "3")
    run = seal("adapt", "edits.jsonl", "--limit", "1", "--out", "wild", *wild, cwd=round_one)
    (line,) = run.lines
    assert run.code == 3, run.err
    assert (line["adapter"]["fault"], line["adapter"]["path"], line["adapter"]["train"]) == ("training", None, None)
    assert line["adapter"]["error"].startswith("training diverged: ")
    assert "seal adapt: 1 in, 1 out, 1 failed, 0 unscored, " in run.err


def test_show_data_prints_the_training_sequences_and_trains_nothing(round_one: Path) -> None:
    shown = seal("adapt", "edits.jsonl", "--show-data", "--out", "none", cwd=round_one)
    assert shown.code == 0
    assert [line["edit_id"] for line in shown.lines] == [line["edit"]["id"] for line in rows(round_one / "edits.jsonl")]
    assert shown.lines[0]["sequences"][-1] == "Inn 0\nInn number 0 has a colour."
    assert not (round_one / "none").exists()


# ---- schema and report


def test_the_schema_describes_the_lines_that_stages_write(round_one: Path) -> None:
    schemas = json.loads(seal("schema").out)
    assert schemas.keys() == {"record", "sft", "checkpoint", "training_data", "arc_training_data", "preference"}
    assert json.loads(seal("schema", "record").out) == schemas["record"]
    for kind, name in (("record", "scores"), ("sft", "sft"), ("checkpoint", "checkpoint")):
        for line in rows(round_one / f"{name}.jsonl"):
            assert_fits(line, schemas[kind], schemas[kind])


def assert_fits(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> None:
    """The part of JSON Schema that names keys: properties, required, additionalProperties, $ref, anyOf, items."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema and isinstance(value, dict):
        schema = next(choice for choice in schema["anyOf"] if "$ref" in choice)
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        for item in value:
            assert_fits(item, schema.get("items", {}), whole)
    if isinstance(value, dict) and "properties" in schema:
        assert schema["additionalProperties"] is False
        assert set(schema.get("required", [])) <= value.keys() <= schema["properties"].keys()
        for key, item in value.items():
            assert_fits(item, schema["properties"][key], whole)


@pytest.fixture
def score_files(tmp_path: Path) -> Path:
    tasks = [numbered(f"Town {n}", 4) for n in range(6)]
    (tmp_path / "none.jsonl").write_text(jsonl(a_line(task, [True, False, False, False]) for task in tasks))
    (tmp_path / "self.jsonl").write_text(jsonl(a_line(task, [True, True, True, False]) for task in tasks))
    return tmp_path


def reported(*arguments: str, cwd: Path) -> Finished:
    run = seal("report", *arguments, cwd=cwd, COLUMNS="200")
    assert run.code == 0, run.err
    return run


def test_a_report_is_a_table_on_stdout(score_files: Path) -> None:
    run = reported("none.jsonl", "ours=self.jsonl", "--against", "none", cwd=score_files)
    assert run.err == ""
    cells = {line.split()[0]: line.split() for line in run.out.splitlines() if line.strip()}
    assert cells["none"][1:4] == ["6", "24", "25.0"]
    assert cells["ours"][1:4] == ["6", "24", "75.0"]
    assert "+50.0" in cells["ours"]
    assert "\x1b" not in run.out


def test_a_report_in_csv_has_every_field_unrounded(score_files: Path) -> None:
    run = reported("none.jsonl", "self.jsonl", "--format", "csv", cwd=score_files)
    first, second = csv.DictReader(io.StringIO(run.out))
    assert (first["label"], first["mean"], first["gain"]) == ("none", "0.25", "")
    assert second["by_question"] == "0.75"
    refused = seal("report", "none.jsonl", "--format", "csv", "--view", cwd=score_files)
    assert (refused.code, refused.out) == (78, "")
    assert "--format csv is for programs; leave one of them out" in refused.err


def test_a_file_is_not_two_runs_of_one_row(score_files: Path) -> None:
    twice = seal("report", "a=none.jsonl", "a=./none.jsonl", cwd=score_files)
    assert (twice.code, twice.out) == (78, "")
    assert twice.err == "seal: none.jsonl: given twice as 'a': a file is not two runs; leave one out\n"
    told = reported("a=none.jsonl", "b=none.jsonl", cwd=score_files)
    assert told.err == "seal report: note: a and b are the same file, none.jsonl\n"


def test_a_row_has_a_label_on_one_line_or_the_name_of_its_file(score_files: Path) -> None:
    run = reported("=none.jsonl", "a\n\x1b[1mb=self.jsonl", cwd=score_files)
    assert [line.split("  ")[0] for line in run.out.splitlines()[2:]] == ["none", "a [1mb"]


def test_rows_for_a_program_need_scores_even_where_lines_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(jsonl([Record(task=a_task())]))
    for form in ("csv", "jsonl"):
        refused = seal("report", "tasks.jsonl", "--arc", "grids.png", "--format", form, cwd=tmp_path)
        assert (refused.code, refused.out) == (65, "")
        assert "tasks.jsonl:1: has a task but no score" in refused.err


def test_a_line_about_a_passage_is_viewed_with_all_that_is_known_of_it(score_files: Path) -> None:
    first = (score_files / "none.jsonl").read_text().splitlines(keepends=True)[0]
    seen = seal("report", "-", "--view", stdin=first)
    assert (seen.code, seen.err) == (0, "")
    for words in (
        "passage\nTown 0 was born in Velm.",
        "self-edit by editor, implications\nA line.\n",
        "2 training sequences\n  1  Town 0\n     A line.\n  2  Town 0\n     Town 0 was born",
        "score 0.25, without the adapter 0.00, by the judge exact\n",
        "Question 0 about Town 0?\n  gold      answer 0\n  ✓ answer  Velm\n  ✗ before  a town\n",
    ):
        assert words in seen.out
    bare = seal("report", "-", "--view", stdin=jsonl([Record(task=a_task())]))
    assert "not answered yet: " in bare.out


def test_a_report_gives_its_rows_as_json_lines_and_as_a_picture(score_files: Path) -> None:
    pytest.importorskip("matplotlib")
    run = reported("none.jsonl", "self.jsonl", "--json", "--plot", "ladder.png", cwd=score_files)
    assert [(row["label"], row["mean"], row["tasks"]) for row in run.lines] == [("none", 0.25, 6), ("self", 0.75, 6)]
    assert (score_files / "ladder.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "seal report: plot in ladder.png" in run.err


def test_rows_over_a_number_are_a_curve_and_the_smallest_that_keeps_up_is_told(score_files: Path) -> None:
    pytest.importorskip("matplotlib")
    files = ("rank 8=self.jsonl", "rank 4=self.jsonl", "rank 1=none.jsonl")
    run = reported(*files, "--over", "rank", "--plot", "curve.png", cwd=score_files)
    assert (score_files / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "seal report: rank 4 is the smallest within the 95 % interval of the best: 75.0 % accuracy" in run.err
    refused = seal("report", *files, "--over", "lr", cwd=score_files)
    assert (refused.code, "--over lr: two labels at least must be lr and a number" in refused.err) == (78, True)


def test_the_unscored_are_told_and_end_with_3(tmp_path: Path) -> None:
    lines = [a_line(a_task("Ada"), [True, False]), a_line(a_task("Bo"), [True, None])]
    (tmp_path / "scores.jsonl").write_text(jsonl(lines))
    told = seal("report", "scores.jsonl", "--json", cwd=tmp_path)
    assert (told.code, told.lines[0]["mean"], told.lines[0]["unscored"]) == (3, 0.75, 1)
    kept = seal("filter", "scores.jsonl", cwd=tmp_path)
    assert (kept.code, len(kept.lines)) == (3, 1)
    assert "seal filter: 2 in, 1 out, 0 failed, 1 unscored, " in kept.err


def test_a_self_edit_too_long_for_the_model_ends_alone_and_is_never_a_reward(
    round_one: Path, model_dir: Path, tmp_path: Path
) -> None:
    edits = rows(round_one / "edits.jsonl")[:2]
    edits[1]["edit"]["completion"] = "word " * 900  # one sequence beyond a context of 512
    (tmp_path / "edits.jsonl").write_text("".join(json.dumps(edit) + "\n" for edit in edits))
    trained = pipe(f"seal adapt edits.jsonl --model {model_dir} {' '.join(SMALL_LORA)}", cwd=tmp_path)
    assert trained.code == 3
    assert "seal adapt: 2 in, 2 out, 1 failed" in trained.err
    assert "seal adapt: failed, once: a training sequence of 4506 tokens" in trained.err
    lost, fine = sorted(trained.lines, key=lambda line: line["adapter"]["path"] is not None)
    assert lost["edit"]["id"] == edits[1]["edit"]["id"]
    assert (lost["adapter"]["fault"], lost["adapter"]["train"]) == ("training", None)
    assert "is longer than the model's context of 512; split the passage" in lost["adapter"]["error"]
    assert fine["adapter"]["error"] is None
    scored = seal("eval", "--max-tokens", 4, stdin=trained.out, cwd=tmp_path)
    assert scored.code == 3
    assert [line["score"]["value"] is None for line in scored.lines] == [
        line["adapter"]["path"] is None for line in trained.lines
    ]


@pytest.mark.parametrize("mode", ["none", "sampled:4", "full"])
def test_pads_and_the_tokens_of_a_step_are_flags_and_the_record_says_which_pads(
    round_one: Path, model_dir: Path, tmp_path: Path, mode: str
) -> None:
    edits = (round_one / "edits.jsonl").read_text().splitlines(keepends=True)[0]
    common = ["--model", model_dir, "--pad-mode", mode, "--pad-to", 500, "--rank", 2, "--epochs", 1]
    (line,) = seal("adapt", *common, "--tokens-per-step", 600, stdin=edits, cwd=tmp_path).lines
    assert (line["adapter"]["fit"]["pad_mode"], line["adapter"]["fit"]["pad_to"]) == (mode, 500)
    (again,) = seal("adapt", *common, "--trainer", "peft", stdin=edits, cwd=tmp_path).lines
    first, second = (each["adapter"]["train"] for each in (line, again))
    assert first["loss_first"] == pytest.approx(second["loss_first"], rel=1e-5)
    assert first["loss_last"] == pytest.approx(second["loss_last"], rel=1e-4)


def test_quiet_leaves_errors_and_rejected_lines(source: Path, tmp_path: Path) -> None:
    loud, quiet = (seal("tasks", source, "--sample", 2, *more) for more in ((), ("-q",)))
    assert (quiet.code, quiet.out, quiet.err) == (0, loud.out, "")
    assert "seal tasks: 2 in, 2 out" in loud.err
    bad = seal("filter", "--quiet", stdin="nonsense\n" + quiet.out)
    assert bad.code == 65
    assert [line for line in bad.err.splitlines() if "stdin:" not in line and "rejected" not in line] == []
    assert seal("tasks", tmp_path / "nope.json", "-q").err.startswith("seal: ")
