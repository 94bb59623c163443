"""Programs that judge, made of Python code, and what became of them."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.judges.base import Case
from stages.judges.command import CommandJudge

START = "import sys, json\ncases = (json.loads(line) for line in sys.stdin)\n"
SAY = "def say(**line):\n    print(json.dumps(line), flush=True)\n"
EQUAL = "for case in cases:\n    say(id=case['id'], correct=case['gold'] == case['prediction'])\n"
RIGHT, WRONG = Case("q", "Velm", "Velm"), Case("q", "Velm", "Ada")

Program = Callable[..., CommandJudge]


def judges_in(folder: Path) -> Program:
    """What makes a judge of Python code, with a file in this folder."""

    def make(code: str, **named: float) -> CommandJudge:
        file = folder / "grade.py"
        file.write_text(START + SAY + code)
        return CommandJudge(f"{sys.executable} {file}", **named)

    return make


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is inside takes less time than this: far more than it needs, and less than what must not be waited for."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def soon(holds: Callable[[], bool]) -> bool:
    """Whether this holds within a moment."""
    for _ in range(500):
        if holds():
            return True
        time.sleep(0.02)
    return False


def is_gone(pid: int) -> bool:
    """Whether a process has ended, or does so within a moment."""
    return soon(lambda: not is_there(pid))


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_in(file: Path) -> int:
    """What a program writes into a file as soon as it runs."""
    assert soon(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())
