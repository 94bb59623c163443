"""The command `seal` by way of the fork server: real streams, signals and exit codes, without the start-up."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.conftest import ROOT
from tests.fork_client import ask, hear

CALM = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "NO_COLOR": "1"}
READ_ON_IMPORT = (
    "CUDA",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB",
    "MKL_",
    "OMP_",
    "OPENAI_LOG",
    "PYTHON",
    "TORCH",
    "TRANSFORMERS",
)  # read already


@cache
def forked_seal() -> Path:
    """The executable. The first call in a test process starts its server, which ends with that process."""
    folder = Path(tempfile.mkdtemp(prefix="seal-"))
    path, socket = folder / "seal", folder / "socket"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", socket],
        cwd=ROOT,
        env={**os.environ, **CALM, "MKL_CBWR": "AUTO,STRICT"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin and server.stdout
    assert server.stdout.readline() == b"ready\n"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {ROOT}/tests/fork_client.py {socket} "$@"\n')
    path.chmod(0o755)
    atexit.register(remove, folder, os.getpid())
    atexit.register(server.stdin.close)
    return path


def run_forked(
    arguments: Sequence[str], data: bytes, folder: Path, environment: Mapping[str, str]
) -> tuple[int, bytes, bytes]:
    """(code, stdout, stderr) of a command that reads the data from a pipe; without a client in between."""
    pipes = [os.pipe() for _ in range(3)]
    theirs = {0: pipes[0][0], 1: pipes[1][1], 2: pipes[2][1]}
    socket = str(forked_seal().with_name("socket"))
    with ThreadPoolExecutor(2) as pool, ask(socket, arguments, str(folder), environment, theirs) as server:
        server.settimeout(240)
        for end in theirs.values():
            os.close(end)
        out, err = (pool.submit(read_all, end) for end in (pipes[1][0], pipes[2][0]))
        with suppress(BrokenPipeError), os.fdopen(pipes[0][1], "wb") as stdin:
            stdin.write(data)
        return hear(server), out.result(), err.result()


def read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def remove(folder: Path, owner: int) -> None:
    """Removes the folder, but not in a forked child, which may run its parent's exit functions."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
