"""No lines in: no output from none, unless told; whose doing it is, is said; nothing stands in the right run's way."""

import json
from pathlib import Path

import pytest

from seal_cli.app import COMMANDS
from seal_cli.runs.input import in_shard
from stages.records.record import Record
from tests.cli.conftest import jsonl, passages
from tests.cli.inside import run_inside
from tests.invented import a_line, a_task

SCORES = jsonl(a_line(a_task(f"Town {n}"), [True, n % 2 == 0]) for n in range(3))
TASKS = jsonl([Record(task=a_task(f"Town {n}")) for n in range(3)])
STAGES = {  # with a model that there is not: nothing may be said of it
    "tasks": ["tasks", "-"],
    "tasks-ids": ["tasks", "-", "--ids", "a"],
    "tasks-sample": ["tasks", "-", "--sample", "3"],
    "quiz": ["quiz", "--model", "absent"],
    "quiz-exam": ["quiz", "--exam"],
    "rate": ["rate", "--model", "absent"],
    "rate-program": ["rate", "--program", "cat"],
    "generate": ["generate", "--model", "absent"],
    "generate-unnamed": ["generate"],
    "generate-dry": ["generate", "--model", "absent", "--dry-run"],
    "generate-unique": ["generate", "--model", "absent", "--unique"],
    "generate-none": ["generate", "-t", "none"],
    "adapt": ["adapt", "--model", "absent"],
    "adapt-unnamed": ["adapt", "--shard", "1/3"],
    "adapt-pool": ["adapt", "--model", "absent", "--pool"],
    "adapt-sequential": ["adapt", "--model", "absent", "--sequential"],
    "adapt-shown": ["adapt", "--show-data"],
    "eval": ["eval", "--model", "absent"],
    "eval-dry": ["eval", "--dry-run"],
    "judge": ["judge"],
    "filter": ["filter"],
    "sft": ["sft", "--model", "absent", "--out", "next"],
}


def test_every_stage_that_reads_lines_is_among_these() -> None:
    own_tests = {"report", "merge", "card", "accept"}
    no_lines = {*own_tests, "gc", "doctor", "schema", "ask", "plan", "rollback", "export", "import"}
    assert {stage.partition("-")[0] for stage in STAGES} == COMMANDS.keys() - no_lines


@pytest.mark.parametrize("stage", STAGES)
def test_no_lines_are_bad_input_and_the_stage_before_is_named(stage: str, tmp_path: Path) -> None:
    output = [] if "shown" in stage or "dry" in stage else ["-o", "out.jsonl"]
    stdin = "" if len(stage) % 2 else "\n \r\n\n"  # blank lines are none
    ended = run_inside(*STAGES[stage], *output, stdin=stdin, cwd=tmp_path)
    words = "no task in it; give another source" if "tasks" in stage else "no lines came; see what the stage before (`"
    assert (ended.code, ended.out) == (65, "")
    assert ended.err.startswith(f"seal: stdin: {words}")
    assert ended.err.endswith(", or --allow-empty where none is right\n" if "tasks" in stage else "none is right\n")
    assert ended.err.count("\n") == 1
    assert "--model" not in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "generate-unique"])
def test_told_to_take_none_a_stage_writes_none_and_asks_for_no_model(stage: str, tmp_path: Path) -> None:
    plain = "shown" in stage or "dry" in stage
    output = [] if plain else ["-o", "out.jsonl"]
    ended = run_inside(*STAGES[stage], *output, "--allow-empty", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, ""), ended.err
    assert ": 0 in, 0 out, 0 failed, 0 unscored, " in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == (
        [] if plain else ["out.jsonl", "out.jsonl.manifest.json"]
    )
    assert plain or (tmp_path / "out.jsonl").read_bytes() == b""


def test_an_empty_file_is_named_with_the_stage_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "sft.jsonl").touch()
    ended = run_inside("sft", "sft.jsonl", "--model", "absent", "--out", "next", cwd=tmp_path)
    words = "sft.jsonl: no lines in it; run the stage before (`seal filter`; if it kept nothing, loosen --keep) again"
    assert (ended.code, words in ended.err) == (65, True)
    (tmp_path / "none.json").write_text("[]")
    ended = run_inside("tasks", "none.json", "-o", "tasks.jsonl", cwd=tmp_path)
    assert (ended.code, ended.err) == (
        65,
        "seal: none.json: no task in it; give another source, or --allow-empty where none is right\n",
    )
    ended = run_inside("report", "self=sft.jsonl", cwd=tmp_path)
    assert (ended.code, ended.err) == (
        65,
        "seal: self: no lines in it; run the stage before (`seal eval`) again, or give --allow-empty\n",
    )


def test_a_report_may_leave_out_a_row_without_lines(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").touch()
    (tmp_path / "self.jsonl").write_text(SCORES)
    told = run_inside("report", "none.jsonl", "self.jsonl", "--json", "--allow-empty", cwd=tmp_path)
    assert (told.code, [row["label"] for row in told.lines]) == (0, ["self"])
    assert "seal report: none: no lines in it; left out\n" in told.err
    alone = run_inside("report", "none.jsonl", "--plot", "p.png", "--arc", "a.png", "--allow-empty", cwd=tmp_path)
    assert (alone.code, alone.out) == (0, "")


def test_an_empty_calls_file_for_a_batch_is_written_only_when_told(tmp_path: Path) -> None:
    asked = ("judge", "-j", "openai:m@http://localhost:1/v1", "--cache", "none", "--emit-batch", "calls.jsonl")
    assert run_inside(*asked, cwd=tmp_path).code == 65
    assert not list(tmp_path.iterdir())
    assert run_inside(*asked, "--allow-empty", cwd=tmp_path).code == 0
    assert (tmp_path / "calls.jsonl").read_bytes() == b""


# ---- what an empty pipe leaves


def test_an_output_without_a_line_does_not_stand_in_the_way_of_one_with_lines(tmp_path: Path) -> None:
    """As seal used to publish, whatever the settings were."""
    for more in ((), ("--keep", "gain")):
        run_inside("filter", "-o", "sft.jsonl", "--allow-empty", cwd=tmp_path)
        assert (tmp_path / "sft.jsonl").stat().st_size == 0
        right = run_inside("filter", *more, "-o", "sft.jsonl", stdin=SCORES, cwd=tmp_path)
        assert (right.code, (tmp_path / "sft.jsonl").stat().st_size > 0) == (0, True), right.err
        assert json.loads((tmp_path / "sft.jsonl.manifest.json").read_text())["counts"]["read"] == 3
        assert not list(tmp_path.glob("*.part*"))
        (tmp_path / "sft.jsonl").unlink()


def test_lines_that_are_there_are_not_given_up_for_none(tmp_path: Path) -> None:
    assert run_inside("filter", "-o", "sft.jsonl", stdin=SCORES, cwd=tmp_path).code == 0
    before = (tmp_path / "sft.jsonl").read_bytes()
    for more, code in (((), 65), (("--overwrite",), 65), (("--allow-empty",), 73)):
        assert run_inside("filter", "-o", "sft.jsonl", *more, cwd=tmp_path).code == code
        assert (tmp_path / "sft.jsonl").read_bytes() == before


def test_a_file_that_no_stage_wrote_is_in_the_way_even_if_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "sft.jsonl").touch()
    assert run_inside("filter", "-o", "sft.jsonl", stdin=SCORES, cwd=tmp_path).code == 73


def test_filter_may_keep_nothing_of_lines_and_says_what_follows(tmp_path: Path) -> None:
    kept = run_inside("filter", "--keep", "above:0.999", "-o", "sft.jsonl", stdin=SCORES.splitlines()[1], cwd=tmp_path)
    assert (kept.code, (tmp_path / "sft.jsonl").read_bytes()) == (0, b"")
    assert "note: nothing is kept, and `seal sft` has nothing to train on; loosen --keep\n" in kept.err


def test_nothing_kept_for_want_of_scores_is_not_a_matter_of_the_rule(tmp_path: Path) -> None:
    unscored = jsonl(a_line(a_task(f"Town {n}"), [None, True]) for n in range(2))
    kept = run_inside("filter", stdin=unscored, cwd=tmp_path)
    assert (kept.code, kept.out) == (3, "")
    assert "has nothing to train on; no self-edit has a score; run the stage before again" in kept.err


# ---- shards


def test_a_task_falls_to_the_same_shard_for_ever() -> None:
    """A shard that was made yesterday is merged with one that is made tomorrow."""
    tasks = [Record(task=a_task(name)) for name in ("Ada", "Bo", "Cy", "Di", "Ed", "Flo")]
    found = [[line.task.name for line in in_shard(tasks, f"{n}/3")] for n in (1, 2, 3)]
    assert found == [["Cy", "Ed", "Flo"], [], ["Ada", "Bo", "Di"]]


def other_shard() -> str:
    """A shard that none of these tasks falls to."""
    tasks = [Record.model_validate_json(line) for line in TASKS.splitlines()]
    return next(f"{n}/9" for n in range(1, 10) if not list(in_shard(tasks, f"{n}/9")))


def test_a_shard_that_no_line_falls_to_is_whole_and_empty_and_can_be_merged(tmp_path: Path) -> None:
    empty = other_shard()
    bad = TASKS + '{"no": "record"}\n'
    done = run_inside("generate", "-t", "none", "--shard", empty, "-o", "e.jsonl", stdin=TASKS, cwd=tmp_path)
    assert (done.code, (tmp_path / "e.jsonl").read_bytes()) == (0, b"")
    done = run_inside("generate", "-t", "none", "--shard", empty, "-o", "bad.jsonl", stdin=bad, cwd=tmp_path)
    assert (done.code, (tmp_path / "bad.jsonl").read_bytes()) == (3, b""), "a bad line elsewhere is not all there is"
    names = [f"s-{n}.jsonl" for n in (1, 2)]
    for n, name in enumerate(names, 1):
        run_inside("tasks", "-", "--shard", f"{n}/2", "-o", name, stdin=passages(1), cwd=tmp_path)
    assert sorted((tmp_path / name).stat().st_size > 0 for name in names) == [False, True]
    assert run_inside("merge", *names, "-o", "all.jsonl", cwd=tmp_path).code == 0
    assert (tmp_path / "all.jsonl").read_text().count("\n") == 1


def test_shards_without_a_line_between_them_are_not_merged_unless_told(tmp_path: Path) -> None:
    names = [f"s-{n}.jsonl" for n in (1, 2)]
    for n, name in enumerate(names, 1):
        run_inside("filter", "--shard", f"{n}/2", "-o", name, "--allow-empty", cwd=tmp_path)
    refused = run_inside("merge", *names, "-o", "all.jsonl", cwd=tmp_path)
    assert (refused.code, "2 shards: no lines in it; run the stage that made the shards again" in refused.err) == (
        65,
        True,
    )
    assert not (tmp_path / "all.jsonl").exists()
    assert run_inside("merge", *names, "-o", "all.jsonl", "--allow-empty", cwd=tmp_path).code == 0


def test_shards_of_which_filter_kept_nothing_are_merged(tmp_path: Path) -> None:
    names = [f"s-{n}.jsonl" for n in (1, 2)]
    nothing = SCORES.splitlines()[1]
    for n, name in enumerate(names, 1):
        shard = ("--keep", "above:0.999", "--shard", f"{n}/2", "-o", name)
        assert run_inside("filter", *shard, stdin=nothing, cwd=tmp_path).code == 0
    assert run_inside("merge", *names, "-o", "all.jsonl", cwd=tmp_path).code == 0
