"""A command that the fork server makes cannot be told from one that starts by itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.forked import CALM, READ_ON_IMPORT, forked_seal, remove

REAL = f"{sys.executable} -m seal_cli"


def ends(seal: str, line: str, folder: Path) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr (seconds cut off) of a shell line in which `seal` is the command."""
    env = {**CALM, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    script = f'set -o pipefail; seal() {{ {seal} "$@"; }}; {line}'
    run = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, timeout=60, check=False)
    return run.returncode, run.stdout, run.stderr.rpartition(b", ")[0]


LINES = (
    "seal report --help",
    "seal tasks",
    "seal tasks nowhere.json",
    "cat line.jsonl | seal tasks - | head -c 9",
    "seal tasks - <&-",
    "seal tasks notes.md 2>&-",
    "seal tasks notes.md >/dev/full",
    "cd sub; seal tasks ../notes.md -o out.jsonl; cat out.jsonl",
)


@pytest.mark.parametrize("line", LINES)
def test_codes_streams_and_folders_are_those_of_a_process_of_its_own(tmp_path: Path, line: str) -> None:
    found = []
    for seal in (REAL, str(forked_seal())):
        folder = tmp_path / str(len(found))
        (folder / "sub").mkdir(parents=True)
        (folder / "notes.md").write_text("The door is red.\n")
        (folder / "line.jsonl").write_text('{"title": "t", "context": "c", "questions": []}\n')
        found.append(ends(seal, line, folder))
    assert found[0] == found[1]


def test_a_command_ends_with_who_stands_for_it() -> None:
    client = subprocess.Popen([forked_seal(), "tasks", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout and client.stdin
    client.send_signal(signal.SIGKILL)
    assert client.stdout.read() == b""  # its end is there: nobody holds the other side
    assert client.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_gets_the_signals_of_who_stands_for_it(tmp_path: Path, signum: int, code: int) -> None:
    if signal.getsignal(signum) == signal.SIG_IGN:
        pytest.skip("who started the tests has it ignored, as nohup does, and so does a command")
    os.mkfifo(tmp_path / "lines")
    command = [forked_seal(), "filter", tmp_path / "lines"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as client, (tmp_path / "lines").open("w"):
        client.send_signal(signum)  # it has opened its input, and waits for a line
        assert client.stderr
        assert b"Traceback" not in client.stderr.read()
    assert client.returncode == code


def test_what_is_read_on_import_makes_a_process_of_its_own() -> None:
    assert not any(name.startswith(READ_ON_IMPORT) for name in ("OPENAI_API_KEY", "NO_COLOR", "TERM"))
    assert all(name.startswith(READ_ON_IMPORT) for name in ("HF_HUB_OFFLINE", "PYTHONHASHSEED", "OMP_NUM_THREADS"))


def test_a_forked_child_that_runs_exit_functions_leaves_the_server_alone() -> None:
    path = forked_seal()
    child = os.fork()
    if child == 0:
        remove(path.parent, os.getppid())
        os._exit(0)
    os.waitpid(child, 0)
    assert path.is_file()
