"""`seal` within the process of the tests: a third of a second less for each command. Files stand for its streams."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seal_cli.app import run_app
from tests.cli.conftest import Finished


def run_inside(*arguments: object, stdin: str | bytes = "", cwd: Path) -> Finished:
    """The command to its end, in this folder. For stages that neither fork nor load a model."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(data)
        given.seek(0)
        with _streams(given, out, err), _at_home(cwd):
            code = _code(list(map(str, arguments)))
        out.seek(0)
        err.seek(0)
        return Finished(code, out.read().decode(), err.read().decode())


def _code(arguments: list[str]) -> int:
    try:
        return run_app(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


@contextmanager
def _streams(*files: Any) -> Iterator[None]:
    """Descriptors 0, 1 and 2, and Python's names for them."""
    kept, names = [os.dup(number) for number in range(3)], (sys.stdin, sys.stdout, sys.stderr)
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False, encoding="utf-8")  # noqa: SIM115
        for number, mode in enumerate("rww")
    )
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = names
        for number, own in enumerate(kept):
            os.dup2(own, number)
            os.close(own)


@contextmanager
def _at_home(folder: Path) -> Iterator[None]:
    """The working folder, and the handlers of signals as they were."""
    before, handlers = Path.cwd(), {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
