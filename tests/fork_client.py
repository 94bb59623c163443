"""Stands for a `seal` process: hands its streams, folder and environment to the fork server and ends as the child ends.

Signals that it gets meanwhile go to the child.

python -IS tests/fork_client.py SOCKET ARGUMENT …
"""

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is somebody to pass them on to
    streams = [number for number in range(3) if is_open(number)]
    while os.open(os.devnull, os.O_RDWR) < 3:  # nothing of ours gets the number of a stream that is closed
        pass
    server = ask(sys.argv[1], sys.argv[2:], os.getcwd(), os.environ, {number: number for number in streams})  # noqa: PTH109
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: server.send(bytes([number])))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    for stream in range(3):
        os.close(stream)
    if (code := hear(server)) < 0:
        with suppress(OSError):  # there is no other way than the default for SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 255)


def ask(
    path: str, arguments: Sequence[str], folder: str, environment: Mapping[str, str], streams: Mapping[int, int]
) -> socket.socket:
    """The connection of a command that runs; `streams`: its descriptors, and ours that they are copies of."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    about = {"arguments": [*arguments], "folder": folder, "environment": {**environment}, "streams": [*streams]}
    request = json.dumps(about).encode()
    socket.send_fds(server, [struct.pack("!I", len(request))], list(streams.values()) or [server.fileno()])
    server.sendall(request)
    return server


def hear(server: socket.socket) -> int:
    """The command's exit code, once it has ended; negative where a signal killed it."""
    return int(struct.unpack("!i", server.recv(4, socket.MSG_WAITALL))[0])


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
