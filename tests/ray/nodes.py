"""Nodes of a cluster for tests, each a program of its own that ends with whoever started it.

Their workers are forked (worker.py), and nothing of theirs is where other clusters of this machine look.

    python -m tests.ray.nodes CPUS [ADDRESS]        begins a cluster, or joins one; serves until its stdin ends
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from tests.cli.conftest import surroundings
from tests.conftest import ROOT
from tests.forked import forked_seal
from tests.ray.worker import SERVER

OPEN = {
    **{"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
    # The end of a node, or of the head, is noticed in seconds, elsewhere in half a minute.
    **{"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"},
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}


@dataclass(frozen=True)
class Node:
    """One that runs: the cluster's address, and the processes by their names (`raylet`, of a head `gcs_server`)."""

    address: str
    processes: dict[str, int]

    def kill(self, name: str) -> None:
        os.kill(self.processes[name], SIGKILL)


@contextmanager
def start_node(*prefix: str, cpus: int, address: str = "") -> Iterator[Node]:
    """A node. Without the address of a cluster it is the head of a new one.

    `prefix`: a command that hides something from the node; its workers are then started as Ray does it.
    """
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short: sockets have their names from it
    words = [*prefix, sys.executable, "-m", "tests.ray.nodes", str(cpus), *filter(None, [address])]
    forked = {} if prefix else {SERVER: str(forked_seal().with_name("socket"))}
    env = surroundings(**OPEN, RAY_TMPDIR=folder, **forked)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    program = subprocess.Popen(words, cwd=ROOT, env=env, text=True, **pipes)  # type: ignore[call-overload]
    try:
        where, *processes = program.stdout.readline().split()
        yield Node(where, {name: int(pid) for name, pid in (each.split("=") for each in processes)})
    finally:
        with suppress(BrokenPipeError):
            program.stdin.close()
        program.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def serve(cpus: int, address: str | None) -> None:
    """Be a node, and say where it is and what its processes are."""
    from ray._private.node import Node as RayNode
    from ray._private.parameter import RayParams

    small = {"num_cpus": cpus, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    few = {"no_monitor": True, "include_log_monitor": False, "include_dashboard": False}
    ports = {"min_worker_port": 0, "max_worker_port": 0, "node_manager_port": 0, "dashboard_agent_listen_port": None}
    forked = {"setup_worker_path": str(Path(__file__).with_name("worker.py"))} if SERVER in os.environ else {}
    params = RayParams(gcs_address=address, **small, **few, **ports, **forked)
    node = RayNode(params, head=address is None, shutdown_at_exit=True, spawn_reaper=True)
    there = [f"{name}={each[0].process.pid}" for name, each in node.all_processes.items()]
    print(node.gcs_address, *there, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2] if sys.argv[2:] else None)
