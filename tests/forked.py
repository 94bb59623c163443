"""The command `seal` by way of the fork server: real streams, signals and exit codes, without the start-up."""

import atexit
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

CALM = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "NO_COLOR": "1"}
READ_ON_IMPORT = ("CUDA", "HF_", "MKL_", "OMP_", "PYTHON", "TORCH", "TRANSFORMERS")  # what a forked child has read


@cache
def forked_seal() -> Path:
    """The executable. The first call in a test process starts its server, which ends with that process."""
    folder = tempfile.TemporaryDirectory(prefix="seal-")
    path, socket = Path(folder.name) / "seal", Path(folder.name) / "socket"
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
    atexit.register(folder.cleanup)
    atexit.register(server.stdin.close)
    return path
