"""`seal` as a process, and the files that it is given.

`seal` and `pipe` fork it from a process that has its imports; SEAL is the command from its start.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stages.records.frozen import FrozenModel
from stages.records.jsonl import to_json
from tests.conftest import ROOT
from tests.forked import CALM, READ_ON_IMPORT, forked_seal, run_forked

SEAL = (sys.executable, "-m", "seal_cli")
SMALL_LORA = ("--rank", "2", "--alpha", "4", "--epochs", "2", "--learning-rate", "1e-2")


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """stdout, every line of which must be a JSON object."""
        found = [json.loads(line) for line in self.out.split("\n")[:-1]]
        assert all(isinstance(line, dict) for line in found)
        return found


def surroundings(**more: str) -> dict[str, str]:
    return {**os.environ, **CALM, "PYTHONPATH": str(ROOT), **more}


def seal(*arguments: object, stdin: str | bytes | None = None, cwd: Path | None = None, **env: str) -> Finished:
    """Runs the command to its end. Without stdin it reads an empty one."""
    data = stdin.encode() if isinstance(stdin, str) else stdin or b""
    words, around = list(map(str, arguments)), surroundings(**env)
    if any(name.startswith(READ_ON_IMPORT) for name in env):
        run = subprocess.run([*SEAL, *words], input=data, capture_output=True, cwd=cwd, env=around, timeout=240)
        return Finished(run.returncode, run.stdout.decode(), run.stderr.decode())
    code, out, err = run_forked(words, data, (cwd or Path()).absolute(), around)
    return Finished(code, out.decode(), err.decode())


def pipe(line: str, *, cwd: Path) -> Finished:
    """A shell line in which `seal` is our command; its code is that of the last stage that failed."""
    script = f'set -o pipefail; seal() {{ {forked_seal()} "$@"; }}; {line}'
    run = subprocess.run(
        ["bash", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, cwd=cwd, env=surroundings(), timeout=400
    )
    return Finished(run.returncode, run.stdout.decode(), run.stderr.decode())


def jsonl(lines: Iterable[FrozenModel]) -> str:
    return "".join(to_json(line) + "\n" for line in lines)


def passages(count: int) -> str:
    """A source of `count` small tasks, one JSON object a line."""
    rows = []
    for n in range(count):
        question = {"question": f"What colour is inn {n}?", "answer": ("red", "blue", "green")[n % 3]}
        rows.append({"title": f"Inn {n}", "context": f"Inn number {n} has a colour.", "questions": [question]})
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tasks as people have them."""
    path = tmp_path_factory.mktemp("source") / "inns.jsonl"
    path.write_text(passages(12))
    return path
