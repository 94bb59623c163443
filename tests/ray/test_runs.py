"""Stages on a cluster: the lines of a run alone, whoever dies, and words for what is not a record's doing."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from stages.records.jsonl import encode_line
from stages.records.record import Record
from tests.cli.conftest import SMALL_LORA, seal
from tests.invented import numbered
from tests.ray.conftest import NEEDS_RAY, Head

pytestmark = NEEDS_RAY
JUDGE = ("judge", "lines.jsonl", "-o", "out.jsonl", "--judge")


def read(folder: Path, name: str = "out.jsonl") -> bytes:
    return (folder / name).read_bytes()


def expected(work: Path, judge: str) -> bytes:
    found = seal("judge", "lines.jsonl", "-o", "alone.jsonl", "--judge", judge, cwd=work)
    assert found.code == 0, found.err
    return read(work, "alone.jsonl")


def test_self_edits_adapters_and_scores_are_those_of_a_run_alone(head: Head, tmp_path: Path, model_dir: Path) -> None:
    stages = [
        ("generate", "tasks.jsonl", "-k", "2", "--max-tokens", "8", "-o", "edits.jsonl", "--model", model_dir),
        ("adapt", "edits.jsonl", *SMALL_LORA, "-o", "adapters.jsonl", "--model", model_dir),
        ("eval", "adapters.jsonl", "--max-tokens", "4", "-o", "scores.jsonl", "--model", model_dir),
    ]
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        lines = [encode_line(Record(task=numbered(f"T{number}", 2))) for number in range(4)]
        (folder / "tasks.jsonl").write_bytes(b"".join(lines))
        for stage in stages:
            found = seal(*stage, cwd=folder) if name == "one" else head.seal(*stage, "--lease", "2", cwd=folder)
            assert found.code == 0, found.err
    for file in ("edits.jsonl", "adapters.jsonl", "scores.jsonl"):
        assert read(tmp_path / "one", file) == read(tmp_path / "two", file)
    assert not list((tmp_path / "two").rglob(".seal-*"))


def test_records_whose_workers_die_are_made_by_others(head: Head, work: Path) -> None:
    found = head.seal(*JUDGE, "tests.ray.judges:Mortal", cwd=work)
    assert found.code == 0, found.err
    assert "a worker died with" in found.err
    assert len(list((work / "deaths").iterdir())) == 6
    wanted = expected(work, "tests.ray.judges:Careful").replace(b'"careful"', b'"mortal"')
    assert read(work).replace(b'"careful"', b'"mortal"') == wanted


def test_a_record_that_kills_every_worker_is_rejected_alone(head: Head, work: Path) -> None:
    lines = read(work, "lines.jsonl").replace(b"Question 1 about T5", b"poison 1 about T5")
    (work / "lines.jsonl").write_bytes(lines)
    found = head.seal(*JUDGE, "tests.ray.judges:Deadly", "--rejects", "rejects.jsonl", cwd=work)
    assert found.code == 3, found.err
    titles = [json.loads(line)["task"]["title"] for line in read(work).splitlines()]
    assert titles == [f"T{number}" for number in range(12) if number != 5]
    (rejected,) = read(work, "rejects.jsonl").splitlines()
    assert json.loads(rejected)["reason"] == "its worker died twice"


def test_a_model_that_kills_its_worker_is_told_and_no_record_is_blamed(head: Head, work: Path) -> None:
    found = head.seal(*JUDGE, "tests.ray.judges:Hopeless", cwd=work)
    assert found.code == 70
    assert "workers died 3 times before their model was loaded" in found.err
    assert not (work / "out.jsonl").exists()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_and_makes_nothing_twice(head: Head, work: Path, signum: signal.Signals) -> None:
    run = head.start(*JUDGE, "tests.ray.judges:Careful", cwd=work)
    part = work / "out.jsonl.part"
    until = time.monotonic() + 120
    while not (part.exists() and read(work, part.name).count(b"\n") >= 3):
        assert run.poll() is None and time.monotonic() < until, run.communicate()[1].decode()
        time.sleep(0.005)
    os.kill(run.pid, signum)
    run.communicate(timeout=60)
    assert run.returncode == (-signum if signum == signal.SIGKILL else 130)
    found = head.seal(*JUDGE, "tests.ray.judges:Careful", cwd=work)
    assert found.code == 0, found.err
    assert "goes on:" in found.err
    assert read(work) == expected(work, "tests.ray.judges:Careful")


def test_a_cluster_that_is_not_there_is_told(work: Path) -> None:
    found = Head("127.0.0.1:6390").seal(*JUDGE, "exact", cwd=work)
    assert found.code == 69
    assert "127.0.0.1:6390: no cluster there (Connection refused)" in found.err


def test_a_node_that_does_not_share_the_folder_is_told(head: Head, work: Path) -> None:
    hidden = ("unshare", "--mount", "--propagation", "private", "sh", "-c", f"mount -t tmpfs none {work} && exec $0 $@")
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("no folder can be hidden from a process here")
    with head.add_node(*hidden, cpus=3):
        found = head.seal(*JUDGE, "exact", "--cpus-per-worker", "3", cwd=work)
    assert found.code == 78, found.err
    assert f"{work}: the worker on" in found.err
    assert "does not share it (it holds other files there)" in found.err


def test_a_cluster_of_this_machine_is_started_and_ended(work: Path) -> None:
    found = Head("local").seal(*JUDGE, "exact", cwd=work)
    assert found.code == 0, found.err
    assert read(work) == expected(work, "exact")
