"""llama.cpp's server in a process of its own, for as long as a block lasts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT
from tests.vllm.server import die_with_parent, end


@contextmanager
def serving_llama(
    log: Path, model: Path, *adapters: Path, python: str = sys.executable, threads: int = 1, parallel: int = 1
) -> Iterator[str]:
    """Its address, with /v1. Raises RuntimeError with the end of its log where it does not start.

    `python`: of an environment that has it; `parallel`: prompts at once.
    """
    command = [python, "-m", "tests.llamacpp.serve", str(threads), str(parallel), *map(str, (model, *adapters))]
    with log.open("wb") as file:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        told = server.stdout.readline().decode().strip() if server.stdout else ""
        if not told:
            raise RuntimeError(f"llama.cpp's server did not start:\n{log.read_text(errors='replace')[-3000:]}")
        yield f"{told}/v1"
    finally:
        end(server)
        if server.stdout:
            server.stdout.close()
