"""A small cluster of this machine for all tests, with a head that outlives them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.records.jsonl import encode_line
from tests.cli.conftest import Finished, surroundings
from tests.invented import a_line, numbered

NEEDS_RAY = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed here (make test-ray)"),
]
ALONE = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Head:
    """The head of a cluster: its address, and how runs reach it."""

    address: str

    def seal(self, *arguments: object, cwd: Path, **env: str) -> Finished:
        """Run the command to its end, with two workers of this cluster."""
        run = self.start(*arguments, cwd=cwd, **env)
        out, err = run.communicate(timeout=240)
        return Finished(run.returncode, out.decode(), err.decode())

    def start(self, *arguments: object, cwd: Path, **env: str) -> "subprocess.Popen[bytes]":
        words = [sys.executable, "-m", "seal_cli", *map(str, arguments), "--ray", self.address, "--workers", "2"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, cwd=cwd, env=surroundings(**ALONE, **env), **pipes)  # type: ignore[call-overload, no-any-return]

    @contextmanager
    def add_node(self, *prefix: str, cpus: int) -> Iterator[None]:
        """Add a node to the cluster, started by way of a command."""
        words = (sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self.address}", "--block")
        more = ("--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", "--object-store-memory=100000000")
        node = subprocess.Popen(
            [*prefix, *words, *more, "--disable-usage-stats"],
            env=surroundings(**ALONE),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            assert node.stdout
            said = iter(node.stdout.readline, b"")
            assert any(b"will now block" in line for line in said), "the node did not start"
            yield
        finally:
            node.terminate()
            node.wait(60)


def ray(*arguments: str) -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=surroundings(**ALONE))


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """The cluster, which is left running from one test to the next."""
    ray(
        *("start", "--head", "--node-ip-address=127.0.0.1", "--port=6391", "--num-cpus=4", "--disable-usage-stats"),
        *("--include-dashboard=false", "--object-store-memory=100000000"),
    )
    yield Head("127.0.0.1:6391")
    ray("stop", "--force")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with score lines of twelve tasks, T0 to T11."""
    (tmp_path / "deaths").mkdir()
    tasks = [numbered(f"T{number}", 3) for number in range(12)]
    lines = [encode_line(a_line(task, (True, False, None))) for task in tasks]
    (tmp_path / "lines.jsonl").write_bytes(b"".join(lines))
    return tmp_path
