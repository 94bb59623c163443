"""The engine in a forked worker, as the commands run it: quiet, out of the network's reach, and gone when told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.vllm.conftest import NEEDS_VLLM

pytestmark = NEEDS_VLLM
WORK = """
import os, signal, sys
from seal_cli.runs.worker import run_worker

def work():
    sys.stdin.close()
    from stages.models.libraries import quiet_libraries
    from stages.interfaces import Request
    from stages.settings import Sampling
    from stages.models.loading import Device
    from stages.engines.vllm import VLLMEngine
    import psutil

    quiet_libraries()
    engine = VLLMEngine(sys.argv[1], device=Device("auto", "float32"), max_rank=8)
    requests = [Request(str(n), "Who?", Sampling(0.0, 1.0, 450)) for n in range(3000)]
    answers = engine.sample([Request("first", "Who?", Sampling(0.0, 1.0, 3))])
    hosts = {each.laddr.ip for each in psutil.Process().net_connections("inet")}
    told = os.getpid(), next(answers).finish, *sorted(hosts)
    os.write(int(sys.argv[2]), " ".join(map(str, told)).encode() + b"\\n")
    for answer in engine.sample(requests):
        pass

assert "torch" not in sys.modules
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(run_worker(work, None, []))
"""


def test_a_forked_worker_is_quiet_and_ends_at_sigterm(llama: Path) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-c", WORK, str(llama), str(writer)]
    parent = subprocess.Popen(
        command, cwd=ROOT, pass_fds=[writer], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(writer)
    with os.fdopen(reader) as told:
        worker, _, found = told.readline().partition(" ")
    time.sleep(0.5)  # into the work
    parent.send_signal(signal.SIGTERM)
    since = time.monotonic()
    out, err = parent.communicate(timeout=20)
    assert found == "length 127.0.0.1\n", err.decode()
    assert time.monotonic() - since < 4  # less than the grace that the worker is given before it is killed
    assert parent.returncode == 143
    assert not Path("/proc", worker).exists()
    assert (out, err) == (b"", b"")
