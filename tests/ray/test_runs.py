"""What a run on a cluster says where it cannot work, and what it leaves behind."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from stages.records.jsonl import encode_line
from tests.cli.conftest import SEAL, Finished, pipe, seal, surroundings
from tests.invented import a_line, numbered
from tests.ray.conftest import NEEDS_RAY
from tests.ray.nodes import start_node
from tests.ray.worker import STRIKES

pytestmark = NEEDS_RAY
JUDGE = ("judge", "lines.jsonl", "-o", "out.jsonl", "--judge")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with score lines of twelve tasks."""
    lines = [encode_line(a_line(numbered(f"T{number}", 3), (True, False, None))) for number in range(12)]
    (tmp_path / "lines.jsonl").write_bytes(b"".join(lines))
    return tmp_path


def run_at(address: str, work: Path, judge: str, *more: str) -> Finished:
    return seal(*JUDGE, judge, "--ray", address, "--workers", "2", *more, cwd=work, RAY_AUTH_MODE="disabled")


def test_a_model_that_kills_its_worker_is_told_and_no_record_is_blamed(address: str, work: Path) -> None:
    (work / STRIKES).mkdir()
    found = run_at(address, work, "tests.ray.judges:Hopeless")
    assert found.code == 70
    assert "workers died 3 times before their model was loaded" in found.err
    assert not (work / "out.jsonl").exists()


def test_a_node_that_does_not_share_the_folder_is_told(address: str, work: Path) -> None:
    hidden = ("unshare", "--mount", "--propagation", "private", "sh", "-c", f"mount -t tmpfs none {work} && exec $0 $@")
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("no folder can be hidden from a process here")
    with start_node(*hidden, cpus=3, address=address):
        found = run_at(address, work, "exact", "--cpus-per-worker", "3")
    assert found.code == 78, found.err
    assert f"{work}: the worker on" in found.err
    assert "does not share it (it holds other files there)" in found.err


def test_who_listens_and_is_no_ray_is_told_soon(work: Path) -> None:
    began = time.monotonic()
    with socket.create_server(("", 0)) as server:  # says nothing; Ray takes a web server's answer for the same
        where = f"127.0.0.1:{server.getsockname()[1]}"
        found = run_at(where, work, "exact")
    assert found.code == 69, found.err
    assert f"--ray {where}: Failed to connect to Ray cluster" in found.err
    assert time.monotonic() - began < 30  # 13 of them are Ray's


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        ("127.0.0.1:6390", 69, "no cluster there (Connection refused)"),
        ("no.such.host:6379", 69, "no cluster there"),
        ("127.0.0.1", 69, "127.0.0.1"),
        ("nonsense", 69, "nonsense"),
    ],
)
def test_a_cluster_that_is_not_there_is_told(work: Path, address: str, code: int, told: str) -> None:
    found = run_at(address, work, "exact")
    assert (found.code, told in found.err) == (code, True), found.err


def test_a_machine_of_no_cluster_is_told(work: Path) -> None:
    alone = ("unshare", "--pid", "--fork", "--mount-proc")  # Ray looks for clusters among all processes
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no process can be alone here")
    env = surroundings(RAY_TMPDIR=str(work))
    run = subprocess.run([*alone, *SEAL, *JUDGE, "exact", "--ray", "auto"], cwd=work, env=env, capture_output=True)
    assert (run.returncode, b"--ray auto: " in run.stderr) == (69, True), run.stderr.decode()


def test_a_reader_that_leaves_ends_the_run_silently(address: str, work: Path) -> None:
    command = f"seal judge lines.jsonl --judge tests.ray.judges:Careful --journal kept --ray {address} --workers 2"
    found = pipe(f"export RAY_AUTH_MODE=disabled; {command} | head -n 1", cwd=work)
    assert (found.code, found.out.count("\n")) == (141, 1), found.err
    assert "Traceback" not in found.err


def test_a_cluster_of_this_machine_ends_with_its_run(work: Path) -> None:
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    env = surroundings(RAY_TMPDIR=folder, RAY_worker_niceness="0")
    command = [*SEAL, *JUDGE, "tests.ray.judges:Careful", "--ray", "local"]
    run = subprocess.Popen(command, cwd=work, env=env, stderr=subprocess.PIPE)
    while not read_lines(work / "out.jsonl.part"):
        assert run.poll() is None, run.communicate()[1].decode()
        time.sleep(0.01)
    assert find_listeners(folder) == {"127.0.0.1"}
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)
    assert run.returncode == 143
    assert wait_for_none(folder) == []
    found = subprocess.run(command, cwd=work, env=env, capture_output=True)
    assert (found.returncode, b"goes on:" in found.stderr) == (0, True), found.stderr.decode()
    assert wait_for_none(folder) == []
    assert len(read_lines(work / "out.jsonl")) == 12
    shutil.rmtree(folder)


def read_lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def find_processes(folder: str) -> list[psutil.Process]:
    """Those of the cluster that has its files there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("RAY_TMPDIR") == folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def find_listeners(folder: str) -> set[str]:
    """The addresses at which they can be reached."""
    there = [each for process in find_processes(folder) for each in process.net_connections("tcp")]
    return {each.laddr.ip.removeprefix("::ffff:") for each in there if each.status == psutil.CONN_LISTEN}


def wait_for_none(folder: str) -> list[psutil.Process]:
    """Those that are there after ten seconds."""
    until = time.monotonic() + 10
    while (found := find_processes(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    return found
