"""A real vLLM server on a free port of this machine, for as long as a block lasts."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

READY_S = 180.0  # until it answers
END_S = 10.0  # until it is killed
DEATH_SIGNAL = 1  # Linux: prctl(PR_SET_PDEATHSIG)
ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": "lo",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}


@contextmanager
def serving(
    model: Path, log: Path, *, name: str = "base", max_rank: int = 16, slots: int = 8, updating: bool = True
) -> Iterator[str]:
    """The server's address without /v1. It calls the model `name` and takes adapters, at run time if `updating`.

    On a CPU, requests without an adapter are answered with the adapter in the last slot, if there is one, wherever
    another request in the batch has an adapter: keep more slots than adapters are loaded in all.
    """
    port = free_port()
    settings = {
        "model": model,
        "served-model-name": name,
        "host": "127.0.0.1",
        "port": port,
        "dtype": "float32",
        "max-lora-rank": max_rank,
        "max-loras": slots,
        "gpu-memory-utilization": 0.3,  # other tests need some too
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enable-lora", "--enforce-eager"]
    command += [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    environment = {**os.environ, **ENVIRONMENT, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": str(updating)}
    with log.open("wb") as file:
        server = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(server, url, log)
        yield url
    finally:
        end(server)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)


def wait_for(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until it is healthy. Raises RuntimeError with the end of its log where it does not get there."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and server.poll() is None:
        with suppress(URLError, OSError), urlopen(f"{url}/health", timeout=5) as reply:  # noqa: S310
            if reply.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the vLLM server did not start:\n{log.read_text(errors='replace')[-3000:]}")


def end(server: subprocess.Popen[bytes]) -> None:
    """Ends it and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(END_S)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def call(url: str, path: str, body: Any = None) -> tuple[int, Any]:
    """(status, JSON or text) of a GET, or of a POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{url}{path}", data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urlopen(request, timeout=60) as reply:  # noqa: S310
            status, text = reply.status, reply.read().decode()
    except HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text
