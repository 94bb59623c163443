"""`seal` without its start-up: a process that has imported what a stage imports, and forks for each command.

The child has the streams, folder, environment and process group of a process of its own, and ends as one. What a stage
imports is imported at its first command: `tasks` does not wait for torch. fork_client.py is the command's other end.

    python -m tests.fork_server SOCKET        serves until its stdin ends
"""

import atexit
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

STAGES = (
    *("tasks", "generate", "adapt", "eval", "judge", "filter", "sft", "report", "merge", "gc", "doctor"),
    *("quiz", "rate"),
)
LIGHT = (
    *("seal_cli.app", "seal_cli.runs.drive", "seal_cli.runs.engines", "seal_cli.runs.omissions", "typer._adapters"),
    *("seal_cli.terminal.line_view", "stages.checks.machine", "stages.checks.model", "stages.checks.server"),
    *(f"{where}.{name}" for name in STAGES for where in ("seal_cli.commands", "stages")),
)
MODEL = (
    *("transformers.models.llama.modeling_llama", "transformers.models.qwen3.modeling_qwen3"),
    *("transformers.models.auto.tokenization_auto", "transformers.models.encoder_decoder"),
    *("transformers.generation.utils", "stages.engines.hf"),
)
TRAINER = ("peft", "peft.tuners.lora", "stages.trainers.batched.trainer", "stages.trainers.peft", "torch.optim.adamw")
SERVICE = ("stages.services.client",)
HEAVY: dict[str, Sequence[str]] = {
    "generate": MODEL + SERVICE,
    "quiz": MODEL + SERVICE,
    "rate": MODEL + SERVICE,
    "judge": SERVICE,
    "adapt": MODEL + TRAINER,
    "eval": MODEL + TRAINER,
    "report": ("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    "ray-worker": (*MODEL, *TRAINER, *SERVICE, "jsonschema", "requests", "psutil"),
    "sft": (*MODEL, *TRAINER, "trl", "trl.trainer.sft_trainer", "datasets", "stages.trainers.sft"),
}
MAIN = {"ray-worker": "tests.ray.worker"}  # by the first argument; else it is the command
REQUEST = 4  # bytes of its length


class Server:
    """One command per connection: a request in, its wait status out. A client that leaves ends its command."""

    def __init__(self, path: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.ended, self.wakes = socket.socketpair()
        for end in (self.ended, self.wakes):
            end.setblocking(False)
        self.clients: dict[int, socket.socket] = {}  # by the command's process
        self.look = selectors.DefaultSelector()
        for source in (sys.stdin, self.listener, self.ended):
            self.look.register(source, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until stdin ends."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakes.fileno())
        while True:
            for key, _ in self.look.select():
                if key.fileobj is sys.stdin:
                    self._end_all()
                    return
                if key.fileobj is self.listener:
                    self._begin(self.listener.accept()[0])
                elif key.fileobj is self.ended:
                    self._reap()
                elif key.data in self.clients:
                    self._hear(key.data, self.clients[key.data])

    def _begin(self, client: socket.socket) -> None:
        data, streams, _, _ = socket.recv_fds(client, REQUEST, 3)
        (length,) = struct.unpack("!I", data)
        request = json.loads(client.recv(length, socket.MSG_WAITALL))
        for name in LIGHT + tuple(HEAVY.get(next(iter(request["arguments"]), ""), ())):
            with suppress(ImportError):  # matplotlib is an extra
                importlib.import_module(name)
        if "transformers.conversion_mapping" in sys.modules:  # compiles hundreds of patterns at its first model
            sys.modules["transformers.conversion_mapping"].get_checkpoint_conversion_mapping("llama")
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            signal.set_wakeup_fd(-1)
            self._let_go(client)
            live(request, streams)
        self.clients[pid] = client
        self.look.register(client, selectors.EVENT_READ, pid)
        for stream in streams:
            os.close(stream)

    def _hear(self, pid: int, client: socket.socket) -> None:
        """A signal for the command, a byte; or the client has left."""
        if signum := client.recv(1):
            os.kill(pid, signum[0])
        else:
            kill_group(pid, signal.SIGTERM)
            self.look.unregister(client)

    def _let_go(self, client: socket.socket) -> None:
        self.look.close()
        for end in (self.listener, self.ended, self.wakes, client, *self.clients.values()):
            end.close()

    def _reap(self) -> None:
        self.ended.recv(1 << 12)
        for pid, client in list(self.clients.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if not found:
                continue
            del self.clients[pid]
            if client in {key.fileobj for key in self.look.get_map().values()}:
                self.look.unregister(client)
                client.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
            client.close()

    def _end_all(self) -> None:
        for pid in self.clients:
            kill_group(pid, signal.SIGKILL)


def kill_group(leader: int, signum: int) -> None:
    """Not before the process leads its group; nothing where it is gone."""
    with suppress(ProcessLookupError):
        while os.getpgid(leader) != leader:
            time.sleep(0.0001)
        os.killpg(leader, signum)


def live(request: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """Runs the command as the main program of a fresh interpreter would, and ends as that would."""
    code = 1
    gc.enable()
    try:
        settle(request, streams)
        code = code_of()
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        if sys.stdout:
            sys.stdout.flush()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code & 255)


def settle(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Arguments, folder, environment, streams, signals and exit functions of its own."""
    for number in range(3):
        os.close(number)
    for number, stream in zip(request["streams"], streams, strict=False):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    there = request["streams"]
    sys.stdin = open(0, closefd=False) if 0 in there else None  # type: ignore[assignment]  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False) if 1 in there else None  # type: ignore[assignment]  # noqa: SIM115
    errors = {"buffering": 1, "errors": "backslashreplace", "closefd": False}
    sys.stderr = open(2, "w", **errors) if 2 in there else None  # type: ignore[call-overload]  # noqa: SIM115
    os.chdir(request["folder"])
    sys.path.insert(0, request["folder"])  # as `python -m` has it
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["seal", *request["arguments"]]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit._clear()


def code_of() -> int:
    """How the interpreter would end the program."""
    program = importlib.import_module(MAIN.get("".join(sys.argv[1:2]), "seal_cli.app"))
    try:
        program.main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


if __name__ == "__main__":
    gc.disable()  # imports are all that it does
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
    server = Server(sys.argv[1])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve()
