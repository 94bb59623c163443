"""`seal merge` on the files that --shard and -o wrote."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.records.frozen import content_id
from tests.cli.conftest import Finished, seal


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for part in (1, 2, 3):
        assert seal("tasks", source, "--shard", f"{part}/3", "-o", folder / f"tasks-{part}.jsonl").code == 0
    return folder


@pytest.fixture
def shards(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "shards"))


def test_the_shards_of_a_run_are_the_whole_run(source: Path, shards: Path) -> None:
    done = seal("merge", "tasks-2.jsonl", "tasks-3.jsonl", "tasks-1.jsonl", "-o", "tasks.jsonl", cwd=shards)
    assert done.code == 0, done.err
    whole = seal("tasks", source).out
    assert sorted((shards / "tasks.jsonl").read_text().splitlines()) == sorted(whole.splitlines())
    again = seal("merge", "tasks-1.jsonl", "tasks-2.jsonl", "tasks-3.jsonl", "-o", "tasks.jsonl", cwd=shards)
    assert (again.code, "complete already" in again.err) == (0, True)


def test_missing_shards_are_printed_for_a_job_array(shards: Path) -> None:
    asked = seal("merge", "tasks-2.jsonl", "--missing", cwd=shards)
    assert (asked.code, asked.out) == (0, "1,3\n")
    refused = seal("merge", "tasks-2.jsonl", "-o", "tasks.jsonl", cwd=shards)
    assert (refused.code, refused.err) == (
        66,
        "seal: shards 1,3 of 3 are missing: run these (sbatch --array=1,3)\n",
    )
    assert not list(shards.glob("tasks.jsonl*"))


def test_files_that_are_not_what_a_shard_wrote_are_refused(shards: Path) -> None:
    (shards / "tasks-1.jsonl").write_text("")
    changed = seal("merge", "tasks-1.jsonl", "tasks-2.jsonl", "tasks-3.jsonl", cwd=shards)
    assert (changed.code, "tasks-1.jsonl: was changed since it was written" in changed.err) == (65, True)
    (shards / "tasks-1.jsonl.manifest.json").unlink()
    bare = seal("merge", "tasks-1.jsonl", cwd=shards)
    assert (bare.code, "tasks-1.jsonl: has no manifest beside it" in bare.err) == (65, True)
    (shards / "tasks-1.jsonl").rename(shards / "tasks-1.jsonl.part")
    unfinished = seal("merge", "tasks-1.jsonl", cwd=shards)
    assert unfinished.code == 66
    assert "tasks-1.jsonl: it is not finished (tasks-1.jsonl.part is there: run its command again)" in unfinished.err


def test_the_manifest_of_the_whole_says_how_its_shards_were_made(shards: Path) -> None:
    seal("merge", *(f"tasks-{part}.jsonl" for part in (1, 2, 3)), "-o", "tasks.jsonl", cwd=shards)
    manifest = json.loads((shards / "tasks.jsonl.manifest.json").read_text())
    assert manifest["stage"] == "merge"
    assert (manifest["settings"]["of"]["stage"], manifest["settings"]["shards"]) == ("tasks", 3)
    assert manifest["counts"]["written"] == 12


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The manifest beside a file, changed in place."""
    manifest = path.with_name(f"{path.name}.manifest.json")
    found = json.loads(manifest.read_text())
    change(found)
    manifest.write_text(json.dumps(found))


def test_the_manifest_does_not_depend_on_the_order_of_the_files(shards: Path) -> None:
    rewrite(shards / "tasks-1.jsonl", lambda made: made["settings"].pop("seed"))  # as a shard without lines has it
    told = []
    for order in ("123", "321", "213"):
        done = seal("merge", *(f"tasks-{part}.jsonl" for part in order), "-o", f"{order}.jsonl", cwd=shards)
        assert done.code == 0, done.err
        told.append(json.loads((shards / f"{order}.jsonl.manifest.json").read_text())["settings"])
    assert told[0] == told[1] == told[2]
    assert told[0]["of"]["seed"] == 0


def test_lines_that_the_shards_rejected_are_counted_in_the_whole(shards: Path) -> None:
    rewrite(shards / "tasks-1.jsonl", lambda made: made["counts"].update(rejected=2))
    rewrite(shards / "tasks-2.jsonl", lambda made: made["counts"].pop("rejected"))
    rewrite(shards / "tasks-3.jsonl", lambda made: made["counts"].update(rejected=1))
    names = [f"tasks-{part}.jsonl" for part in (1, 2, 3)]
    done = seal("merge", *names, "-o", "tasks.jsonl", cwd=shards)
    assert (done.code, ", 3 rejected, " in done.err) == (3, True)
    assert json.loads((shards / "tasks.jsonl.manifest.json").read_text())["counts"]["rejected"] == 3


def test_a_shard_of_other_input_is_refused_until_its_command_has_run_again(source: Path, tmp_path: Path) -> None:
    def run(part: int) -> Finished:
        return seal(
            "generate", "tasks.jsonl", "-t", "none", "--shard", f"{part}/2", "-o", f"{part}.jsonl", cwd=tmp_path
        )

    lines = seal("tasks", source).out.splitlines(keepends=True)
    last = json.loads(lines[-1])["task"]["id"]
    grown = 1 if int(content_id("shard", last), 16) % 2 == 0 else 2
    (tmp_path / "tasks.jsonl").write_text("".join(lines[:-1]))
    assert [run(part).code for part in (1, 2)] == [0, 0]
    (tmp_path / "tasks.jsonl").write_text("".join(lines))
    assert run(grown).code == 0
    stale = seal("merge", "1.jsonl", "2.jsonl", cwd=tmp_path)
    assert (stale.code, stale.out) == (65, "")
    assert "seal: 2.jsonl: was made of other input than 1.jsonl; run both commands again\n" in stale.err
    assert run(3 - grown).code == 0  # its own lines are the same
    merged = seal("merge", "1.jsonl", "2.jsonl", cwd=tmp_path)
    assert (merged.code, len(merged.lines)) == (0, 12), merged.err


def test_nothing_is_out_before_all_shards_are_seen_to_be_good(shards: Path) -> None:
    (first,) = (shards / "tasks-1.jsonl").read_text().splitlines(keepends=True)[:1]
    text = (shards / "tasks-3.jsonl").read_text() + first
    (shards / "tasks-3.jsonl").write_text(text)
    rewrite(shards / "tasks-3.jsonl", lambda made: made.update(sha256=hashlib.sha256(text.encode()).hexdigest()))
    done = seal("merge", *(f"tasks-{part}.jsonl" for part in (1, 2, 3)), cwd=shards)
    assert (done.code, done.out, "that is in tasks-1.jsonl too" in done.err) == (65, "", True)


def test_nothing_is_printed_when_no_shard_is_missing(shards: Path) -> None:
    asked = seal("merge", *(f"tasks-{part}.jsonl" for part in (1, 2, 3)), "--missing", cwd=shards)
    assert (asked.code, asked.out, asked.err) == (0, "", "")


def test_a_folder_is_no_shard(shards: Path) -> None:
    for name in (".", "/"):
        done = seal("merge", "tasks-1.jsonl", name, cwd=shards)
        assert (done.code, f"seal: {name}: a folder; give the files that the shards wrote" in done.err) == (65, True)
